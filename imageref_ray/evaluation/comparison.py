"""Systems' metrics event by event in; their means and differences, and how far chance explains these, out.

Two systems are compared over the events that both have values in, as pairs:

* the difference of the means, with a 95 % percentile interval from the paired bootstrap: events are drawn, each with
  both systems' values (Efron and Tibshirani 1993);
* p, two-sided, from paired approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): how often a difference as
  large arises when the systems' values are swapped in a random half of the events. It also holds for F1, which is made
  of means over events and has no value of its own in any. `holm` corrects the p of many differences (Holm 1979);
* the least detectable difference: one of this size is found (p < 0.05) in 80 % of test sets like this, (1.96 + 0.84)
  standard errors of the difference (Miller 2024, Adding Error Bars to Evals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from imageref_ray.evaluation.bootstrap import Array, batches, draws

Values = Mapping[str, Mapping[str, float | None]]
"""Event id → metric → value. No metric: the event is left out. None in every event: there is nothing to measure."""

RESAMPLES, SWAPS = 2_000, 10_000
"""Samples of the bootstrap, and swaps of the test: no p is below 1 / (SWAPS + 1)."""

POWER = 1.959964 + 0.841621
"""Standard errors of a difference that is found with 80 % power at a two-sided level of 5 %."""

SAME = 1e-12
"""Numbers this close are equal: sums in another order differ in their last digits."""


class Estimate(NamedTuple):
    """A metric's mean over events with its 95 % interval; None where there is nothing to measure."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How far b is above a in one metric, over `events` paired events. None: one of them has nothing to measure.

    `detectable` is also None where all events differ alike; `wins` (events in which b has more), `ties` and `losses`
    for F1. `p_holm` is p corrected for all differences that are reported together (`correct`).
    """

    metric: str
    events: int
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    detectable: float | None = None
    wins: int | None = None
    ties: int | None = None
    losses: int | None = None
    p_holm: float | None = None


@dataclass(frozen=True, slots=True)
class _Table:
    """Events times metrics. What is not `measured` holds 1, as the precision of an answer without images."""

    metrics: tuple[str, ...]
    rows: Array
    measured: tuple[bool, ...]


def estimate(values: Values, seed: int = 0) -> dict[str, Estimate]:
    """Every metric over the events that have values, with F1 where precision and recall_3 are among them."""
    table = _table(values, sorted(id for id in values if values[id]))
    if not len(table.rows):
        return {}
    drawn = np.concatenate(
        [_measures(table, by @ table.rows / len(by[0])) for by in draws(len(table.rows), seed, RESAMPLES)]
    )
    return {
        metric: Estimate(value, None if value is None else _interval(drawn[:, i]))
        for i, (metric, value) in enumerate(_observed(table).items())
    }


def compare(a: Values, b: Values, seed: int = 0) -> list[Difference]:
    """b against a in every metric, over the events in which both have values; nothing where there is no such event.

    Raises ValueError where they have other metrics.
    """
    ids = sorted(id for id in a if a[id] and b.get(id))
    left, right = _table(a, ids), _table(b, ids)
    if left.metrics != right.metrics:
        raise ValueError(f"{', '.join(left.metrics)} cannot be compared with {', '.join(right.metrics)}")
    if not ids:
        return []
    drawn = [
        _measures(right, by @ right.rows / len(ids)) - _measures(left, by @ left.rows / len(ids))
        for by in draws(len(ids), seed, RESAMPLES)
    ]
    p = _randomisation(left, right, seed)
    return [
        _difference(_counted(left, right, metric), _observed(left)[metric], _observed(right)[metric], samples, p[i])
        for i, (metric, samples) in enumerate(zip(with_f1(left.metrics), np.concatenate(drawn).T, strict=True))
    ]


def correct(differences: Sequence[Difference]) -> list[Difference]:
    """The same differences with `p_holm`."""
    known = [i for i, one in enumerate(differences) if one.p is not None]
    by_index = dict(zip(known, holm([differences[i].p or 0.0 for i in known]), strict=True))
    return [replace(one, p_holm=by_index.get(i)) for i, one in enumerate(differences)]


def with_f1(metrics: Sequence[str]) -> tuple[str, ...]:
    """The events' metrics and, after them, F1 where precision and recall_3 are among them."""
    return (*metrics, "f1") if {"precision", "recall_3"} <= set(metrics) else tuple(metrics)


def holm(p: Sequence[float]) -> list[float]:
    """Each p corrected for all of them: the chance of any false finding stays below the level (Holm 1979)."""
    corrected, floor = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        floor = max(floor, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = floor
    return corrected


def _difference(one: Difference, a: float | None, b: float | None, drawn: Array, p: float) -> Difference:
    """`one` with its means and, where both are measured, all that follows from them."""
    if a is None or b is None:
        return replace(one, a=a, b=b)
    error = float(drawn.std(ddof=1))
    detectable = POWER * error if error > SAME else None
    return replace(one, a=a, b=b, difference=b - a, interval=_interval(drawn), p=float(p), detectable=detectable)


def _counted(left: _Table, right: _Table, metric: str) -> Difference:
    """The metric's wins, ties and losses."""
    if metric not in left.metrics:
        return Difference(metric, len(left.rows))
    change = (right.rows - left.rows)[:, left.metrics.index(metric)]
    wins, losses = int((change > SAME).sum()), int((change < -SAME).sum())
    return Difference(metric, len(change), wins=wins, ties=len(change) - wins - losses, losses=losses)


def _table(values: Values, ids: Sequence[str]) -> _Table:
    metrics = tuple(values[ids[0]]) if ids else ()
    cells = [[values[id].get(metric) for metric in metrics] for id in ids]
    measured = tuple(any(row[i] is not None for row in cells) for i in range(len(metrics)))
    rows = np.array([[1.0 if value is None else value for value in row] for row in cells], dtype=np.float64)
    return _Table(metrics, rows, measured)


def _observed(table: _Table) -> dict[str, float | None]:
    """Metric → mean, F1 too, in the order of `_measures`; None where it is not measured."""
    measured = dict(zip(table.metrics, table.measured, strict=True))
    means = zip(with_f1(table.metrics), _measures(table, table.rows.mean(axis=0)), strict=True)
    return {metric: float(mean) if measured.get(metric, True) else None for metric, mean in means}


def _measures(table: _Table, means: Array) -> Array:
    """Means of the metrics (..., metrics) → the same with F1 as the last; F1 is 0 where precision is not measured."""
    if "f1" not in with_f1(table.metrics):
        return means
    at = table.metrics.index("precision")
    precision, recall = means[..., at], means[..., table.metrics.index("recall_3")]
    total = precision + recall if table.measured[at] else np.zeros_like(recall)
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(recall), where=total > 0)
    return np.concatenate([means, f1[..., None]], axis=-1)


def _randomisation(left: _Table, right: _Table, seed: int) -> Array:
    """p of every difference: the share of random swaps with one at least as large, these data among them."""
    rng, events = np.random.default_rng(seed), len(left.rows)
    a, b, change = left.rows.mean(axis=0), right.rows.mean(axis=0), (right.rows - left.rows) / events
    observed = _measures(right, b) - _measures(left, a)
    as_large = np.ones(len(observed))
    for size in batches(SWAPS, events):
        moved = rng.integers(0, 2, size=(size, events), dtype=np.int8).astype(np.float64) @ change
        swapped = _measures(right, b - moved) - _measures(left, a + moved)
        as_large += (np.abs(swapped) >= np.abs(observed) - SAME).sum(axis=0)
    return as_large / (SWAPS + 1)


def _interval(drawn: Array) -> tuple[float, float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
