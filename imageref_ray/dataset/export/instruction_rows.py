"""Questions about images, annotated or generated → training rows (InternVL annotation lines) of three tasks.

    vig   instruction ─▶ "Question: … Answer: …"
    vic   question (of a knowledge task: with a request for a short answer) ─▶ answer
    vqg   answer, with a request for its question ─▶ question

If a question has several answers, one is sampled by weight per row; the random seed depends on the question.
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
"""The mixture ratios of the release's data sets, each of them used once as vig and once as vic."""


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
    """`draws` rows per question and use: `{"id", "image", "conversations"}`, image paths relative to `root`.

    Answers are sampled from the `topk` with the highest weight, if at least `score_thr`; a question without any such
    answer becomes a failure.
    """
    for question in questions:
        answers = eligible(question.answers, topk, score_thr)
        if not answers:
            best = max((answer.weight for answer in question.answers), default=0.0)
            message = f"no answer has a weight of {score_thr:g} or more, the highest is {best:g}; lower score_thr"
            yield Failure(question.id, STAGE, "NoAnswer", message)
            continue
        for use in uses:
            for draw in range(draws):
                name = f"{question.id}:{use}:{draw}"
                yield _row(name, use, question, answers, pack, root, random.Random(f"{seed}:{name}"))


def eligible(answers: Sequence[Answer], topk: int | None, score_thr: float) -> list[Answer]:
    """The answers that may be sampled, highest weight first; of equals the earlier."""
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
        prompt, reply = instruct.wording(pack, question.task, rng), instruct.pair(pack, question.question, answer)
    elif use == "vic":
        prompt, reply = instruct.short(pack, question.question, rng) if knowledge else question.question, answer
    else:
        prompt, reply = instruct.reverse(pack, answer, rng), question.question
    turns = [*map(_turn, instruct.turn(pack, question.image, prompt)), {"from": "gpt", "value": reply}]
    return {"id": name, "image": [path(question.image, root)], "conversations": turns}


def _turn(message: Message) -> dict[str, str]:
    texts = [TAG if isinstance(part, Image) else part.replace(TAG, "< image>") for part in message.parts]
    return {"from": "system" if message.role == "system" else "human", "value": "".join(texts)}
