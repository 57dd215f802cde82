"""A set's questions and a model's answers → the rows of `events.jsonl`; values are in per cent, as in the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from imageref_ray.core.records import VisualQuestion
from imageref_ray.evaluation.events import Event
from imageref_ray.evaluation.vqa_metrics import Choice, choose, has_right_choice, labels, official, release

UNLABELLED = "left out: no annotators' answers"
UNKNOWN_CHOICE = "left out: no choices, or the right one is not known"


def direct_events(
    name: str, questions: Sequence[VisualQuestion], answers: Mapping[str, str], problems: Mapping[str, str]
) -> Iterator[Event]:
    """One event per question: both accuracies, 0 without an answer (`problems[id]` says why)."""
    for question in questions:
        annotated, answer = labels(question), answers.get(question.id, "")
        scores = (
            (official(answer, annotated), release(answer, annotated)) if annotated and answer.strip() else (0.0, 0.0)
        )
        yield Event(
            id=question.id,
            mode=f"{name}, direct",
            values=dict(zip(("official", "release"), (100 * score for score in scores), strict=True))
            if annotated
            else {},
            problem=_problem(question.id in answers, problems.get(question.id, "")) if annotated else UNLABELLED,
            question=question.question,
            answer=answer,
            expected=", ".join(dict.fromkeys(annotated)),
            images=(question.image,),
        )


def choice_events(
    name: str,
    questions: Sequence[VisualQuestion],
    logprobs: Mapping[str, Sequence[Sequence[float]]],
    problems: Mapping[str, str],
) -> Iterator[Event]:
    """One event per question: 100 where the likeliest choice is the right one, by total and by mean likelihood."""
    for question in questions:
        known = has_right_choice(question)
        chosen = choose(logprobs[question.id]) if question.id in logprobs else None
        right = [100.0 * (index == question.correct) for index in chosen or (-1, -1)]
        yield Event(
            id=question.id,
            mode=f"{name}, choice",
            values=dict(zip(Choice._fields, right, strict=True)) if known else {},
            problem=_problem(chosen is not None, problems.get(question.id, "")) if known else UNKNOWN_CHOICE,
            question=question.question,
            answer=" / ".join(dict.fromkeys(question.choices[index] for index in chosen or ())),
            expected=question.choices[question.correct] if known else "",
            images=(question.image,),
        )


def _problem(answered: bool, problem: str) -> str:
    return "" if answered else problem or "no answer"
