"""Placement metrics: labels and placements in, five metrics with intervals out.

An event's labels say how relevant (1 to 3) each image is at each slot; its placement says which image is at which
slot. All functions are pure and independent of the order of events, slots and files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from imageref_ray.dataset.paper_formats import Placed, Relevance
from imageref_ray.evaluation.bootstrap import Array, bounds, draws

Verdict = Literal["right", "fair", "wrong", "missed", "empty", "unlabelled"]

METRICS = ("recall_1", "recall_3", "precision", "f1", "score")


@dataclass(frozen=True, slots=True)
class EventScore:
    """One event's metrics; `inserted`, `hits` count images at labelled slots, `reachable` the most hits that an answer
    can have there, `labelled` slots that an image fits."""

    recall_1: float
    recall_3: float
    precision: float
    score: float
    inserted: int
    hits: int
    reachable: int
    labelled: int


def first_uses(placed: Placed) -> dict[int, str]:
    """Every image at the first of its slots only, in slot order."""
    seen: set[str] = set()
    first: dict[int, str] = {}
    for slot in sorted(placed):
        if placed[slot] not in seen:
            seen.add(placed[slot])
            first[slot] = placed[slot]
    return first


def best_total(relevance: Relevance, minimum: int = 1, weighted: bool = True) -> int:
    """The best possible total: the maximum-weight matching of slots and images, each used at most once.

    An edge is an image whose relevance at the slot is at least `minimum`; its weight is that relevance, or 1 if not
    `weighted` (then it is the maximum-cardinality matching). Unmatched slots and images count 0.
    """
    slots = sorted(relevance)
    images = sorted({image for slot in slots for image in relevance[slot]})
    weights = np.zeros((len(slots), len(images)), dtype=np.int64)
    for row, slot in enumerate(slots):
        for image, value in relevance[slot].items():
            if value >= minimum:
                weights[row, images.index(image)] = value if weighted else 1
    rows, columns = linear_sum_assignment(weights, maximize=True)
    return int(weights[rows, columns].sum())


def assess(relevance: Relevance, placed: Placed, unknown: int = 0, paper: bool = False) -> EventScore:
    """Score one event; images at slots without a label are not judged, a repeated image counts at its first slot only.

    recall_3 and recall_1 are hits (relevance 3, any relevance) over the most hits possible; precision is hits over
    images inserted; score is the gain (the relevance, -1 for a wrong image) over the best gain, but not below -1. Each
    is 1 where its denominator is 0, except the score of wrong images where none fits. `unknown` references to images
    that do not exist are wrong images. In `paper` mode they do not count, and the score has no lower bound.
    """
    values = [relevance[slot].get(image, 0) for slot, image in first_uses(placed).items() if slot in relevance]
    values += [] if paper else [0] * unknown
    hits = sum(value > 0 for value in values)
    gain, best = sum(value or -1 for value in values), best_total(relevance)
    reachable = best_total(relevance, weighted=False)
    return EventScore(
        recall_1=_ratio(hits, reachable),
        recall_3=_ratio(sum(value == 3 for value in values), best_total(relevance, minimum=3, weighted=False)),
        precision=_ratio(hits, len(values)),
        score=_ratio(gain, best) if paper else max(-1.0, _ratio(gain, best or min(1, len(values)))),
        inserted=len(values),
        hits=hits,
        reachable=reachable,
        labelled=sum(bool(images) for images in relevance.values()),
    )


def verdicts(relevance: Relevance, placed: Placed) -> dict[int, Verdict]:
    """Slot → verdict: right (relevance 3), fair (1 or 2), wrong, unlabelled, empty, or missed: empty although an image
    of relevance 3 exists that is not placed right at another slot."""
    first = first_uses(placed)
    placed_right = {image for slot, image in first.items() if relevance.get(slot, {}).get(image) == 3}
    by_slot: dict[int, Verdict] = {}
    for slot in sorted(set(relevance) | set(placed)):
        fitting = relevance.get(slot, {})
        if slot not in relevance:
            by_slot[slot] = "unlabelled"
        elif slot in placed:
            value = fitting.get(placed[slot], 0) if slot in first else 0
            by_slot[slot] = "right" if value == 3 else "fair" if value else "wrong"
        else:
            missed = any(value == 3 and image not in placed_right for image, value in fitting.items())
            by_slot[slot] = "missed" if missed else "empty"
    return by_slot


def f1(precision: float, recall: float) -> float:
    """2·P·R / (P + R) of the means over events; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def summarise(
    labels: Mapping[str, Relevance],
    placements: Mapping[str, Placed | None],
    paper: bool = False,
    seed: int = 0,
    resamples: int = 2000,
    unknown: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Means over all labelled events with 95 % bootstrap intervals, counts, and the share of unparsed answers.

    `placements[id]` is None where the answer could not be parsed. Such an event, and one without any answer
    (`missing`), counts as an answer without images; in paper mode both are dropped. Placements of events without
    labels are ignored. `unknown[id]` references to images that do not exist count as wrong. Where nothing at all is
    inserted, precision is None (nothing was measured) and F1 is 0; in paper mode precision is 1. `micro_precision` is
    hits over images inserted; `missed`, how many more hits were possible. Raises ValueError where no event is left.
    """
    unparsed = sum(id in placements and placements[id] is None for id in labels)
    missing = sum(id not in placements for id in labels)
    scored = sorted(id for id in labels if not paper or placements.get(id) is not None)
    if not scored:
        raise ValueError(f"none of {len(labels)} labelled events has an answer that can be scored")
    scores = [assess(labels[id], placements.get(id) or {}, (unknown or {}).get(id, 0), paper) for id in scored]
    table = np.array([[s.recall_1, s.recall_3, s.precision, s.score] for s in scores])
    inserted, hits = sum(s.inserted for s in scores), sum(s.hits for s in scores)
    means, intervals = _means(table), _intervals(table, seed, resamples)
    if not inserted and not paper:
        means |= {"precision": None, "f1": 0.0}
        del intervals["precision"], intervals["f1"]
    return {
        "events": len(scored),
        **means,
        "unparsed": unparsed / len(labels),
        "unparsed_events": unparsed,
        "missing_events": missing,
        "inserted": inserted,
        "hits": hits,
        "missed": sum(s.reachable for s in scores) - hits,
        "micro_precision": hits / inserted if inserted else None,
        "labelled": sum(s.labelled for s in scores),
        "intervals": intervals,
    }


def event_values(
    labels: Mapping[str, Relevance],
    placements: Mapping[str, Placed | None],
    unknown: Mapping[str, int],
    paper: bool = False,
) -> dict[str, dict[str, float | None]]:
    """Event id → the metrics that `summarise` takes the means of, with its arguments; F1 is made of the means.

    Empty for an event that is left out; where no event has an image at a labelled slot, all precisions are None.
    """
    kept = {id: labels[id] for id in labels if not paper or placements.get(id) is not None}
    scores = {id: assess(kept[id], placements.get(id) or {}, unknown.get(id, 0), paper) for id in kept}
    nothing = {"precision": None} if not paper and not any(score.inserted for score in scores.values()) else {}
    names = ("recall_1", "recall_3", "precision", "score")
    values = {id: {name: getattr(score, name) for name in names} | nothing for id, score in scores.items()}
    return {id: values.get(id, {}) for id in labels}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _means(table: Array) -> dict[str, float | None]:
    recall_1, recall_3, precision, score = (math.fsum(column) / len(table) for column in table.T)
    return {
        "recall_1": recall_1,
        "recall_3": recall_3,
        "precision": precision,
        "f1": f1(precision, recall_3),
        "score": score,
    }


def _intervals(table: Array, seed: int, resamples: int) -> dict[str, list[float] | None]:
    """Percentile bootstrap over events."""
    drawn = np.concatenate([draw @ table for draw in draws(len(table), seed, resamples)]) / len(table)
    recall_1, recall_3, precision, score = drawn.T
    total = precision + recall_3
    f1_values = np.divide(2 * precision * recall_3, total, out=np.zeros_like(total), where=total > 0)
    resampled = (recall_1, recall_3, precision, f1_values, score)
    return {name: bounds(values) for name, values in zip(METRICS, resampled, strict=True)}
