"""Image → instructions: questions with draft answers, and short candidate answers to knowledge questions.

image ─ask─▶ question + draft, `count` times ─▶ correct        (conversation, detail, reasoning)
                                             └▶ candidates     (okvqa, a_okvqa)
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from imageref_ray.core.records import Answer, Image, Instruction, Usage
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.stages import parsing
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack

T = TypeVar("T")

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

    A reply that is not a question and its answer, was cut off, or asks what an earlier one asked, comes back with its
    `problem` and causes no more requests. The first instruction of a request has all of its usage. Raises ValueError
    for several greedy replies that nothing makes different: no first words are drawn.
    """
    if count > 1 and sampling.temperature == 0 and not pack.first_words.get(task):
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
    ended = [
        (text, reason) for reply in replies for text, reason in zip(reply.texts, reply.finish_reasons, strict=True)
    ]
    costs = [usage for reply in replies for usage in (reply.usage, *[Usage()] * (len(reply.texts) - 1))]
    blank = Instruction("", image, task, wording)
    items = [
        _read(replace(blank, id=f"{image.id}:{task}:{k}", usage=cost), opening + text, reason, sampling, pack)
        for k, (opening, (text, reason), cost) in enumerate(zip(openings, ended, costs, strict=True))
    ]
    return _without_repeats(items)


async def candidates(
    item: Instruction, generate: Generate, pack: InstructPack, sampling: Sampling = SHORT, count: int = CANDIDATES
) -> Instruction:
    """`count` short answers to the question alone, in one request; the one with the largest weight is the answer.

    Weights are those of the VIGC release, exp(mean log-probability of an answer's tokens)³ × 100; identical answers
    are merged and their weights added. Without log-probabilities every answer has the weight 1.
    """
    if item.problem:
        return item
    messages = instruct.turn(pack, item.image, instruct.short(pack, item.question))
    reply = await generate(Request(messages, sampling, n=count, logprobs=1))
    answers = merged(reply)
    best = answers[0].text if answers else ""
    problem = "" if answers else f"none of {count} answers to the question contains a word"
    usage = item.usage + reply.usage
    return replace(item, candidates=answers, answer=best, corrected=best, problem=problem, usage=usage)


def merged(reply: Reply) -> tuple[Answer, ...]:
    """A reply's distinct answers, largest weight first; case and a final full stop make no difference."""
    weights = [_weight(tokens) for tokens in reply.logprobs] or [1.0] * len(reply.texts)
    answers: dict[str, Answer] = {}
    for text, weight in zip(reply.texts, weights, strict=True):
        answer = " ".join(text.split()).rstrip(".。").strip()
        if any(char.isalnum() for char in answer):
            first = answers.setdefault(answer.casefold(), Answer(answer, 0.0))
            answers[answer.casefold()] = replace(first, weight=first.weight + weight)
    return tuple(sorted(answers.values(), key=lambda answer: -answer.weight))


def _seeded(sampling: Sampling, rng: random.Random) -> Sampling:
    """With a seed that is the same in every run, so that runs which differ in later steps have the same drafts."""
    return replace(sampling, seed=rng.getrandbits(31)) if sampling.temperature > 0 else sampling


def _weight(logprobs: Sequence[float]) -> float:
    return 100 * math.exp(3 * math.fsum(logprobs) / len(logprobs)) if logprobs else 0.0


def _read(blank: Instruction, text: str, reason: str, sampling: Sampling, pack: InstructPack) -> Instruction:
    if reason == "length":
        problem = f"the reply was cut off at {sampling.max_tokens} tokens; raise max_tokens"
        return replace(blank, draft=text, problem=problem)
    try:
        pair = parsing.qa(text, *instruct.labels(pack))
    except parsing.ParseError as error:
        return replace(blank, draft=text, problem=str(error))
    return replace(blank, question=pair.question, draft=pair.answer)


def _without_repeats(items: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """The same items, a question that came before marked as a problem (only words count, not case or punctuation)."""
    seen: dict[str, str] = {}
    checked = []
    for item in items:
        if not item.problem:
            words = "".join(char if char.isalnum() else " " for char in item.question.casefold())
            first = seen.setdefault(" ".join(words.split()), item.id)
            item = item if first == item.id else replace(item, problem=f"asks what {first} asks")
        checked.append(item)
    return tuple(checked)


async def every(generate: Generate, requests: Iterable[Request]) -> list[Reply]:
    """All replies, as `ended`."""
    return await ended(map(generate, requests))


async def ended(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results; the first failure is raised after all have ended, so that no request outlives its record."""
    results = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
