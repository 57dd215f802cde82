"""VQA metrics: answers and annotators' answers in, two VQA accuracies and multiple-choice accuracy out.

    "The cats." ─normalise─▶ "cats" ─┬▶ official: mean over annotators left out of min(1, others who agree / 3)
                                     └▶ release: min(1, share of annotators who agree / 0.3)

`official` and its normalisation (contractions, numbers, articles, punctuation) are the VQA challenge's (Antol et
al. 2015), which leaves texts as they are where all annotators agree; `release` is the VIGC release's variant. Results
always name the variant.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from imageref_ray.core.records import VisualQuestion
from imageref_ray.evaluation.bootstrap import bounds, draws
from imageref_ray.sources.vqa_sets import ANNOTATORS, TYPES

_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll "
    "why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)
CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word for word in _CONTRACTED.split() for at, char in enumerate(word) if char == "'"
} | {"somebody'd": "somebodyd"}
"""Contraction with one apostrophe missing → the full form; the last entry is the other way round, as published."""

NUMBERS = {"none": "0"} | {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
ARTICLES = ("a", "an", "the")
UNTYPED = "–"

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32
"""Most full stops removed of an answer, as published (`re.UNICODE`, which is 32, is passed where the count belongs)."""

_THOUSANDS = re.compile(r"\d,\d")


class Choice(NamedTuple):
    """The likeliest choice (index) by total and by mean log-likelihood of its tokens."""

    total: int
    mean: int


def normalise(answer: str) -> str:
    """An answer as the VQA challenge compares it: lower case, digits for number words, no articles or punctuation.

    A punctuation mark is removed if it is next to a space anywhere in the answer, or if the answer has a number such as
    1,000; else it becomes a space. A full stop is removed unless a digit follows.
    """
    text = _trimmed(answer)
    has_thousands = bool(_THOUSANDS.search(text))
    stripped = text
    for mark in _PUNCTUATION:
        remove = has_thousands or f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if remove else " ")
    words = [NUMBERS.get(word, word) for word in _PERIOD.sub("", stripped, count=_PERIODS).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def official(answer: str, labels: Sequence[str]) -> float:
    """The VQA challenge's accuracy, 0 to 1: the mean over annotators of min(1, agreeing others / 3).

    Texts are normalised only where the annotators differ: where all say "The Cat.", "cat" is wrong. `labels` are the
    annotators' answers, one each. Raises ValueError where there are no labels.
    """
    _check_labels(labels)
    given, annotated = _trimmed(answer), [_trimmed(label) for label in labels]
    if len(set(annotated)) > 1:
        given, annotated = normalise(given), [normalise(label) for label in annotated]
    hits = [label == given for label in annotated]
    return math.fsum(min(1.0, (sum(hits) - hit) / 3) for hit in hits) / len(hits)


def release(answer: str, labels: Sequence[str]) -> float:
    """The VIGC release's accuracy, 0 to 1: min(1, summed shares of the labels that match / 0.3); 0 without any text.

    Raises ValueError where there are no labels.
    """
    _check_labels(labels)
    if not answer.strip():
        return 0.0
    normalised = normalise(answer)
    return min(1.0, sum(normalise(label) == normalised for label in labels) / (0.3 * len(labels)))


def choose(logprobs: Sequence[Sequence[float]]) -> Choice:
    """Multiple choice from `logprobs[i]`, the log-probabilities of choice i's tokens; of equals the first is taken.

    Raises ValueError where there is no choice, or one without tokens.
    """
    if not logprobs or not all(logprobs):
        empty = next((i for i, tokens in enumerate(logprobs) if not tokens), None)
        problem = "no choices" if empty is None else f"choice {empty} has no tokens"
        raise ValueError(f"{problem}: every choice needs the log-probability of at least one token")
    totals = [math.fsum(tokens) for tokens in logprobs]
    means = [total / len(tokens) for total, tokens in zip(totals, logprobs, strict=True)]
    return Choice(totals.index(max(totals)), means.index(max(means)))


def labels(question: VisualQuestion) -> list[str]:
    """The annotators' answers, one each: weights must be counts of annotators. Raises ValueError for other weights."""
    if any(answer.weight != int(answer.weight) or answer.weight < 1 for answer in question.answers):
        raise ValueError(
            f"question {question.id}: its answers' weights are not counts of annotators; read it from annotations"
        )
    return [answer.text for answer in question.answers for _ in range(int(answer.weight))]


def summarise(
    questions: Iterable[VisualQuestion], answers: Mapping[str, str], seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Both accuracies in per cent over all questions, with 95 % bootstrap intervals and counts; the same for the
    questions of every type (`by_answer_type`, `by_question_type`) where the set has types.

    `answers` is question id → text; a question without one counts as answered wrongly (`missing`), one without labels
    is left out (`unlabelled`); `few_labels` have fewer than ten. Raises ValueError where no question is left.
    """
    counts: Counter[str] = Counter()
    judged: list[VisualQuestion] = []
    scores: list[tuple[float, ...]] = []
    for question in questions:
        answer, annotated = answers.get(question.id), labels(question)
        counts["missing"] += answer is None
        counts["unlabelled"] += not annotated
        counts["few_labels"] += 0 < len(annotated) < ANNOTATORS
        if annotated:
            judged.append(question)
            scores.append((0.0, 0.0) if answer is None else (official(answer, annotated), release(answer, annotated)))
    if not scores:
        raise ValueError(f"none of {counts['unlabelled']} questions has annotated answers; give a labelled set")
    return {**_accuracies(scores, seed, resamples), **_sorted(counts), **_by_type(judged, scores, seed, resamples)}


def _accuracies(scores: Sequence[tuple[float, ...]], seed: int, resamples: int) -> dict[str, Any]:
    return {"questions": len(scores), **_means(scores, ("official", "release"), seed, resamples)}


def _by_type(
    questions: Sequence[VisualQuestion], scores: Sequence[tuple[float, ...]], seed: int, resamples: int
) -> dict[str, Any]:
    """`by_…` → type → accuracies, the commonest type first; nothing for a kind of type that no question has."""
    tables: dict[str, Any] = {}
    for kind in TYPES:
        groups: dict[str, list[tuple[float, ...]]] = {}
        for question, pair in zip(questions, scores, strict=True):
            groups.setdefault(getattr(question, kind) or UNTYPED, []).append(pair)
        if groups.keys() - {UNTYPED}:
            types = sorted(groups, key=lambda name: (-len(groups[name]), name))
            tables[f"by_{kind}"] = {name: _accuracies(groups[name], seed, resamples) for name in types}
    return tables


def summarise_choices(
    questions: Iterable[VisualQuestion],
    logprobs: Mapping[str, Sequence[Sequence[float]]],
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Multiple-choice accuracy in per cent by total and by mean log-likelihood, with 95 % bootstrap intervals.

    `logprobs` is question id → choice → its tokens' log-probabilities; a question without them counts as answered
    wrongly (`missing`), one without choices or a known right one is left out (`unlabelled`). Raises ValueError where
    no question is left, or a question's log-probabilities are not those of its choices.
    """
    counts = Counter({"missing": 0, "unlabelled": 0})
    scores = []
    for question in questions:
        if not has_right_choice(question):
            counts["unlabelled"] += 1
        elif question.id not in logprobs:
            counts["missing"] += 1
            scores.append((0.0, 0.0))
        else:
            choice_logprobs = logprobs[question.id]
            if len(choice_logprobs) != len(question.choices):
                raise ValueError(
                    f"question {question.id}: {len(choice_logprobs)} log-likelihoods, {len(question.choices)} choices"
                )
            chosen = choose(choice_logprobs)
            scores.append((float(chosen.total == question.correct), float(chosen.mean == question.correct)))
    if not scores:
        raise ValueError(f"none of {counts['unlabelled']} questions has choices and a right one; give a labelled set")
    return {"questions": len(scores), **_means(scores, Choice._fields, seed, resamples), **_sorted(counts)}


def has_right_choice(question: VisualQuestion) -> bool:
    """Whether this is a multiple-choice question whose right choice is known."""
    return 0 <= question.correct < len(question.choices)


def _trimmed(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _check_labels(labels: Sequence[str]) -> None:
    if not labels:
        raise ValueError("no labels: an accuracy needs the answer of at least one annotator")


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}


def _means(scores: Sequence[tuple[float, ...]], names: Sequence[str], seed: int, resamples: int) -> dict[str, Any]:
    """Name → mean in per cent, and `intervals`: percentile bootstrap over questions."""
    table = 100 * np.array(scores)
    drawn = np.concatenate([draw @ table for draw in draws(len(table), seed, resamples)]) / len(table)
    means = {name: math.fsum(column) / len(table) for name, column in zip(names, table.T, strict=True)}
    return means | {"intervals": {name: bounds(values) for name, values in zip(names, drawn.T, strict=True)}}
