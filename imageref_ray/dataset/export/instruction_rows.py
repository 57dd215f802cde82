"""Questions about images, annotated or generated → training rows (InternVL annotation lines) of three tasks.

    vig   instruction ─▶ "Question: … Answer: …"
    vic   question (of a knowledge task: with a request for a short answer) ─▶ answer
    vqg   answer, with a request for its question ─▶ question

A row has one wording and one answer, drawn by weight; the random seed depends on the question. All that it may have is
beside it as `alternatives` (`dataset/mixture.py`), so that our training draws anew at every use.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from imageref_ray.core.records import Answer, Failure, Image, Instruction, VisualQuestion
from imageref_ray.dataset.export.rows import TAG, path, untagged
from imageref_ray.dataset.mixture import ANSWER_TAG, Alternatives
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack

Use = Literal["vig", "vic", "vqg"]
STAGE = "export"

RATIOS = {"reasoning": 277, "detail": 152, "conversation": 507, "a_okvqa": 131, "okvqa": 300}
"""The mixture ratios of the release's data sets, each of them used once as vig and once as vic."""

WORDED_AS = {"vqav2": "conversation"}
"""Annotated sets that are no task of `instruct` → the task whose wordings ask for such questions."""

SHORT = {*WORDED_AS, *(task for task, kind in TASKS.items() if kind == "knowledge")}
"""Tasks whose answers are a few words, so that a question asks for a short answer."""

REQUEST = "<request>"
"""Where a frame has its request."""


def as_questions(items: Iterable[Instruction], corrected: bool = True) -> Iterator[VisualQuestion | Failure]:
    """Generated instructions as annotated questions, with the corrected answer or the draft, or all candidates.

    An instruction with a problem or without an answer becomes a failure.
    """
    for item in items:
        text = item.corrected if corrected else item.draft
        answers = item.candidates or ((Answer(text),) if text else ())
        if item.problem or not answers:
            no_answer = (
                f"no {'corrected answer' if corrected else 'draft'} (correction ended: {item.ended or 'not started'})"
            )
            yield Failure(item.id, STAGE, "NoAnswer", item.problem or no_answer)
        else:
            yield VisualQuestion(item.id, item.image, item.task, item.question, answers)


def rows(
    questions: Iterable[VisualQuestion],
    uses: Sequence[Use],
    pack: InstructPack,
    root: Path,
    *,
    seed: int = 42,
    draws: int = 1,
    topk: int | None = None,
    score_thr: float = 0.0,
) -> Iterator[dict[str, Any] | Failure]:
    """`draws` rows per question and use: `{"id", "image", "conversations", "alternatives"?}`.

    Ids are `<question>:<use>:<draw>`, image paths are relative to `root`. `alternatives` are left out where there is
    but one wording and one answer. Answers are those of the `topk` with the highest weight, if at least `score_thr`; a
    question without any such answer becomes a failure.
    """
    frame = [_turn(message) for message in instruct.turn(pack, Image("", ""), REQUEST)]
    framed = lru_cache(partial(_framed, frame[-1]["value"]))  # vig and vqg ask all questions of a task alike
    for question in questions:
        answers = eligible(question.answers, topk, score_thr)
        if not answers:
            best = max((answer.weight for answer in question.answers), default=0.0)
            message = f"no answer has a weight of {score_thr:g} or more, the highest is {best:g}; lower score_thr"
            yield Failure(question.id, STAGE, "NoAnswer", message)
            continue
        image = [path(question.image, root)]
        for use in uses:
            choices = _alternatives(use, question, answers, pack, framed)
            for draw in range(draws):
                name = f"{question.id}:{use}:{draw}"
                turns = _draw(choices, random.Random(f"{seed}:{name}"))
                row = {"id": name, "image": image, "conversations": [*frame[:-1], *turns]}
                several = len(choices.human) * len(choices.answers) > 1
                yield {**row, "alternatives": vars(choices)} if several else row


def eligible(answers: Sequence[Answer], topk: int | None, score_thr: float) -> list[Answer]:
    """The answers that may be sampled, highest weight first; of equals the earlier."""
    heaviest = sorted(answers, key=lambda answer: -answer.weight)[:topk]
    return [answer for answer in heaviest if answer.text.strip() and answer.weight > 0 and answer.weight >= score_thr]


def _alternatives(
    use: Use,
    question: VisualQuestion,
    answers: Sequence[Answer],
    pack: InstructPack,
    framed: Callable[[tuple[str, ...]], tuple[str, ...]],
) -> Alternatives:
    """All that a question may become in training; `framed` makes human turns of requests."""
    asked = question.question.replace(ANSWER_TAG, "< answer>")
    if use == "vig":
        task = WORDED_AS.get(question.task, question.task)
        requests, reply = instruct.wordings(pack, task), instruct.pair(pack, asked, ANSWER_TAG)
    elif use == "vic":
        requests, reply = instruct.shorts(pack, asked) if question.task in SHORT else (asked,), ANSWER_TAG
    else:
        requests, reply = instruct.reverses(pack, ANSWER_TAG), asked
    return Alternatives(
        framed(requests),
        untagged(reply),
        tuple(untagged(answer.text) for answer in answers),
        tuple(answer.weight for answer in answers),
    )


def _framed(frame: str, requests: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(frame.replace(REQUEST, untagged(request)) for request in requests)


def _draw(choices: Alternatives, rng: random.Random) -> list[dict[str, str]]:
    (answer,) = rng.choices(choices.answers, choices.weights)
    human = rng.choice(choices.human).replace(ANSWER_TAG, answer)
    return [{"from": "human", "value": human}, {"from": "gpt", "value": choices.gpt.replace(ANSWER_TAG, answer)}]


def _turn(message: Message) -> dict[str, str]:
    texts = [TAG if isinstance(part, Image) else untagged(part) for part in message.parts]
    return {"from": "system" if message.role == "system" else "human", "value": "".join(texts)}
