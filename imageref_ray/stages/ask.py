"""Image → instructions: questions with draft answers, and short candidate answers to knowledge questions.

image ─ask─▶ question + draft, `count` times ─▶ correct        (conversation, detail, reasoning)
                                             └▶ candidates     (okvqa, a_okvqa)
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import replace

from imageref_ray.core.records import Answer, Image, Instruction, Usage
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.stages import parsing
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack

QUESTION = Sampling(temperature=1.0, min_tokens=10, max_tokens=200)
"""How knowledge questions are drawn; the text comes after a given first word."""

SHORT = Sampling(temperature=1.0, min_tokens=1, max_tokens=10)
"""How candidate answers are drawn."""

CANDIDATES = 5


async def ask(
    image: Image,
    generate: Generate,
    pack: InstructPack,
    task: str,
    sampling: Sampling,
    count: int = 1,
    seed: int = 0,
) -> tuple[Instruction, ...]:
    """`count` instructions about the image, in one request; for a knowledge task in one request per drawn first word.

    A reply that is no question and answer, was cut off, or asks what an earlier one asked, is kept as it is with its
    `problem`, and costs nothing further. The first holds the usage of a shared request. Raises ValueError for
    several greedy replies, which would all be the same.
    """
    if count > 1 and sampling.temperature == 0 and TASKS.get(task) != "knowledge":
        raise ValueError(f"{count} questions at temperature 0 are all the same; raise the temperature or ask for one")
    wording = instruct.wording(pack, task)
    if TASKS[task] == "knowledge":
        drawn = [random.Random(f"{seed}:{task}:{image.id}:{k}") for k in range(count)]
        openings = [instruct.first_word(pack, task, rng) for rng in drawn]
    else:
        drawn, openings = [random.Random(f"{seed}:{task}:{image.id}")], [""]
    asked = instruct.turn(pack, image, wording)
    requests = [
        Request(asked, _seeded(sampling, rng), prefix=opening, n=count // len(drawn))
        for rng, opening in zip(drawn, openings, strict=True)
    ]
    replies = await every(generate, requests)
    openings = [opening for opening in openings for _ in range(count // len(drawn))]
    told = [(text, reason) for reply in replies for text, reason in zip(reply.texts, reply.finish_reasons, strict=True)]
    costs = [usage for reply in replies for usage in (reply.usage, *[Usage()] * (len(reply.texts) - 1))]
    blank = Instruction("", image, task, wording)
    made = [
        _read(replace(blank, id=f"{image.id}:{task}:{k}", usage=cost), opening + text, reason, sampling)
        for k, (opening, (text, reason), cost) in enumerate(zip(openings, told, costs, strict=True))
    ]
    return _without_repeats(made)


async def candidates(
    item: Instruction, generate: Generate, pack: InstructPack, sampling: Sampling = SHORT, count: int = CANDIDATES
) -> Instruction:
    """The question alone, asked for `count` short answers in one request; the heaviest is the answer.

    Weights are the release's, exp(mean log-probability of an answer's tokens)³ × 100; identical answers are one with
    their summed weight. An engine without log-probabilities gives every answer the weight 1.
    """
    if item.problem:
        return item
    messages = instruct.turn(pack, item.image, instruct.short(pack, item.question))
    reply = await generate(Request(messages, sampling, n=count, logprobs=1))
    found = merged(reply)
    best = found[0].text if found else ""
    problem = "" if found else f"none of {count} answers to the question holds a word"
    usage = item.usage + reply.usage
    return replace(item, candidates=found, answer=best, corrected=best, problem=problem, usage=usage)


def merged(reply: Reply) -> tuple[Answer, ...]:
    """A reply's distinct answers, heaviest first; case and a final full stop make no difference."""
    weights = [_weight(tokens) for tokens in reply.logprobs] or [1.0] * len(reply.texts)
    found: dict[str, Answer] = {}
    for text, weight in zip(reply.texts, weights, strict=True):
        answer = " ".join(text.split()).rstrip(".").strip()
        if any(char.isalnum() for char in answer):
            known = found.setdefault(answer.casefold(), Answer(answer, 0.0))
            found[answer.casefold()] = replace(known, weight=known.weight + weight)
    return tuple(sorted(found.values(), key=lambda answer: -answer.weight))


def _seeded(sampling: Sampling, rng: random.Random) -> Sampling:
    """Drawn the same way in every run, so that runs which differ in what comes later have the same drafts."""
    return replace(sampling, seed=rng.getrandbits(31)) if sampling.temperature > 0 else sampling


def _weight(logprobs: Sequence[float]) -> float:
    return 100 * math.exp(3 * math.fsum(logprobs) / len(logprobs)) if logprobs else 0.0


def _read(blank: Instruction, text: str, reason: str, sampling: Sampling) -> Instruction:
    if reason == "length":
        problem = f"the reply was cut off at {sampling.max_tokens} tokens; raise max_tokens"
        return replace(blank, draft=text, problem=problem)
    try:
        found = parsing.qa(text)
    except parsing.ParseError as error:
        return replace(blank, draft=text, problem=str(error))
    return replace(blank, question=found.question, draft=found.answer)


def _without_repeats(made: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """The same, a question met before marked as a problem (words count, not case or marks)."""
    seen: dict[str, str] = {}
    kept = []
    for item in made:
        if not item.problem:
            words = "".join(char if char.isalnum() else " " for char in item.question.casefold())
            first = seen.setdefault(" ".join(words.split()), item.id)
            item = item if first == item.id else replace(item, problem=f"asks what {first} asks")
        kept.append(item)
    return tuple(kept)


async def every(generate: Generate, requests: Sequence[Request]) -> list[Reply]:
    """All replies; the first failure is raised after all have ended, so that no request outlives its record."""
    replies = []
    for reply in await asyncio.gather(*map(generate, requests), return_exceptions=True):
        if isinstance(reply, BaseException):
            raise reply
        replies.append(reply)
    return replies
