"""How good a placement is: labels and placements in, five numbers with intervals out.

An event's labels say how relevant (1 to 3) each image is at each slot; its placement says which image
stands at which slot. Everything here is pure and independent of the order of events, slots and files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from imageref_ray.dataset.paper_formats import Placed, Relevance

Verdict = Literal["right", "fair", "wrong", "missed", "empty", "unlabelled"]

METRICS = ("recall_1", "recall_3", "precision", "f1", "score")


@dataclass(frozen=True, slots=True)
class EventScore:
    """One event's values; `inserted` and `hits` count images at labelled slots, `labelled` slots that an image fits."""

    recall_1: float
    recall_3: float
    precision: float
    score: float
    inserted: int
    hits: int
    labelled: int


def first_uses(placed: Placed) -> dict[int, str]:
    """Every image at the first of its slots only, in slot order."""
    seen: set[str] = set()
    kept: dict[int, str] = {}
    for slot in sorted(placed):
        if placed[slot] not in seen:
            seen.add(placed[slot])
            kept[slot] = placed[slot]
    return kept


def best_total(relevance: Relevance, least: int = 1, weighted: bool = True) -> int:
    """What the best answer reaches: the maximum-weight matching of slots and images, each used at most once.

    An edge is an image whose relevance at the slot is at least `least`; its weight is that relevance, or 1 where
    not `weighted` (the maximum-cardinality matching). Unmatched counts 0.
    """
    slots = sorted(relevance)
    images = sorted({image for slot in slots for image in relevance[slot]})
    weights = np.zeros((len(slots), len(images)), dtype=np.int64)
    for row, slot in enumerate(slots):
        for image, value in relevance[slot].items():
            if value >= least:
                weights[row, images.index(image)] = value if weighted else 1
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return int(weights[rows, columns].sum())


def assess(relevance: Relevance, placed: Placed) -> EventScore:
    """Score one event; images at slots without a label are not judged, a repeated image counts where it stands first.

    recall_3 and recall_1 are hits (relevance 3, any relevance) over the most hits possible; precision is hits over
    images inserted; score is the gain (the relevance, -1 for a wrong image) over the best gain. Each is 1 where its
    denominator is 0.
    """
    values = [relevance[slot].get(image, 0) for slot, image in first_uses(placed).items() if slot in relevance]
    hits = sum(value > 0 for value in values)
    return EventScore(
        recall_1=_ratio(hits, best_total(relevance, weighted=False)),
        recall_3=_ratio(sum(value == 3 for value in values), best_total(relevance, least=3, weighted=False)),
        precision=_ratio(hits, len(values)),
        score=_ratio(sum(value or -1 for value in values), best_total(relevance)),
        inserted=len(values),
        hits=hits,
        labelled=sum(bool(images) for images in relevance.values()),
    )


def verdicts(relevance: Relevance, placed: Placed) -> dict[int, Verdict]:
    """Slot → what a reader should be told: right (3), fair (1 or 2), wrong, empty, or missed: empty where an image
    belongs (3) that does not stand at such a place elsewhere."""
    kept = first_uses(placed)
    settled = {image for slot, image in kept.items() if relevance.get(slot, {}).get(image) == 3}
    told: dict[int, Verdict] = {}
    for slot in sorted(set(relevance) | set(placed)):
        fits = relevance.get(slot, {})
        if slot not in relevance:
            told[slot] = "unlabelled"
        elif slot in placed:
            value = fits.get(placed[slot], 0) if slot in kept else 0
            told[slot] = "right" if value == 3 else "fair" if value else "wrong"
        else:
            lacking = any(value == 3 and image not in settled for image, value in fits.items())
            told[slot] = "missed" if lacking else "empty"
    return told


def f1(precision: float, recall: float) -> float:
    """2·P·R / (P + R) of the means over events; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def summarise(
    labels: Mapping[str, Relevance],
    answers: Mapping[str, Placed | None],
    paper: bool = False,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Means over all labelled events with 95 % bootstrap intervals, counts, and the share of unparsed answers.

    `answers[id]` is None where the answer could not be parsed. Such an event, and one without any answer
    (`missing`), counts as an empty answer; in paper mode both are dropped. Answers without labels are ignored.
    Raises ValueError where no event is left.
    """
    unparsed = sum(id in answers and answers[id] is None for id in labels)
    missing = sum(id not in answers for id in labels)
    kept = sorted(id for id in labels if not paper or answers.get(id) is not None)
    if not kept:
        raise ValueError(f"none of {len(labels)} labelled events has an answer that can be scored")
    scores = [assess(labels[id], answers.get(id) or {}) for id in kept]
    table = np.array([[s.recall_1, s.recall_3, s.precision, s.score] for s in scores])
    return {
        "events": len(kept),
        **_means(table),
        "unparsed": unparsed / len(labels),
        "unparsed_events": unparsed,
        "missing_events": missing,
        "inserted": sum(s.inserted for s in scores),
        "hits": sum(s.hits for s in scores),
        "labelled": sum(s.labelled for s in scores),
        "intervals": _intervals(table, seed, resamples),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _means(table: np.ndarray[Any, Any]) -> dict[str, float]:
    recall_1, recall_3, precision, score = (math.fsum(column) / len(table) for column in table.T)
    return {
        "recall_1": recall_1,
        "recall_3": recall_3,
        "precision": precision,
        "f1": f1(precision, recall_3),
        "score": score,
    }


def _intervals(table: np.ndarray[Any, Any], seed: int, resamples: int) -> dict[str, list[float]]:
    """Percentile bootstrap over events: how often each event is drawn, times its values."""
    events = len(table)
    draws = np.random.default_rng(seed).multinomial(events, [1 / events] * events, size=resamples)
    recall_1, recall_3, precision, score = (draws @ table / events).T
    both = precision + recall_3
    harmonic = np.divide(2 * precision * recall_3, both, out=np.zeros_like(both), where=both > 0)
    samples: Sequence[Any] = (recall_1, recall_3, precision, harmonic, score)
    bounds = {name: np.percentile(values, [2.5, 97.5]) for name, values in zip(METRICS, samples, strict=True)}
    return {name: [float(low), float(high)] for name, (low, high) in bounds.items()}
