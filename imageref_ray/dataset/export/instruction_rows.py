"""Questions about images, annotated or our own → training rows (InternVL annotation lines) of three tasks.

    vig   instruction ─▶ "Question: … Answer: …"
    vic   question (for a knowledge set worded for a short answer) ─▶ answer
    vqg   a wording that gives the answer ─▶ question

Where a question has several answers, one is drawn by weight for every use; all draws are seeded by the question.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from imageref_ray.core.records import Answer, Failure, Image, Instruction, VisualQuestion
from imageref_ray.dataset.export.rows import TAG, path
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack

Use = Literal["vig", "vic", "vqg"]
STAGE = "export"

RATIOS = {"reasoning": 277, "detail": 152, "conversation": 507, "a_okvqa": 131, "okvqa": 300}
"""The release's mixture of its sets, each of them once as vig and once as vic."""


def own(items: Iterable[Instruction], corrected: bool = True) -> Iterator[VisualQuestion | Failure]:
    """Our own output as annotations: the corrected answer or the draft; of a knowledge question all candidates.

    An instruction with a problem or without an answer is a failure that says so.
    """
    for item in items:
        text = item.corrected if corrected else item.draft
        answers = item.candidates or ((Answer(text),) if text else ())
        if item.problem or not answers:
            nothing = (
                f"no {'corrected answer' if corrected else 'draft'} (correction ended: {item.ended or 'not begun'})"
            )
            yield Failure(item.id, STAGE, "NoAnswer", item.problem or nothing)
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
    """`draws` rows a use of every question: `{"id", "image", "conversations"}`, image paths relative to `root`.

    Answers are drawn from the `topk` heaviest that weigh at least `score_thr`; a question that keeps none is a failure.
    """
    for question in questions:
        answers = kept(question.answers, topk, score_thr)
        if not answers:
            best = max((answer.weight for answer in question.answers), default=0.0)
            message = f"no answer weighs {score_thr:g} or more, the best {best:g}; lower score_thr"
            yield Failure(question.id, STAGE, "NoAnswer", message)
            continue
        for use in uses:
            for draw in range(draws):
                name = f"{question.id}:{use}:{draw}"
                yield _row(name, use, question, answers, pack, root, random.Random(f"{seed}:{name}"))


def kept(answers: Sequence[Answer], topk: int | None, score_thr: float) -> list[Answer]:
    """The answers that may be drawn, heaviest first; of equals the earlier."""
    heaviest = sorted(answers, key=lambda answer: -answer.weight)[:topk]
    return [answer for answer in heaviest if answer.weight > 0 and answer.weight >= score_thr]


def _row(
    name: str,
    use: Use,
    question: VisualQuestion,
    answers: Sequence[Answer],
    pack: InstructPack,
    root: Path,
    rng: random.Random,
) -> dict[str, Any]:
    (answer,) = rng.choices([answer.text for answer in answers], weights=[answer.weight for answer in answers])
    knowledge = TASKS.get(question.task) == "knowledge"
    if use == "vig":
        asked, told = instruct.wording(pack, question.task, rng), instruct.pair(question.question, answer)
    elif use == "vic":
        asked, told = instruct.short(pack, question.question, rng) if knowledge else question.question, answer
    else:
        asked, told = instruct.reverse(pack, answer, rng), question.question
    turns = [*map(_turn, instruct.turn(pack, question.image, asked)), {"from": "gpt", "value": told}]
    return {"id": name, "image": [path(question.image, root)], "conversations": turns}


def _turn(message: Message) -> dict[str, str]:
    texts = [TAG if isinstance(part, Image) else part.replace(TAG, "< image>") for part in message.parts]
    return {"from": "system" if message.role == "system" else "human", "value": "".join(texts)}
