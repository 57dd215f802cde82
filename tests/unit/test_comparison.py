"""Differences of systems: held against plain loops, exact for equals, corrected as published."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from imageref_ray.evaluation.comparison import POWER, RESAMPLES, Difference, compare, correct, estimate, holm
from imageref_ray.evaluation.placement_metrics import f1


def values(seed: int, shift: float, events: int = 12) -> dict[str, dict[str, float | None]]:
    """Random metrics of a few events; a greater shift is a better system."""
    rng = random.Random(seed)
    return {
        str(n): {name: min(1.0, round(rng.random() + shift, 1)) for name in ("recall_3", "precision", "score")}
        for n in range(events)
    }


def by_metric(differences: list[Difference]) -> dict[str, Difference]:
    return {one.metric: one for one in differences}


def mean(system: dict[str, dict[str, float | None]], ids: list[str], metric: str) -> float:
    """A metric of the drawn events, by the definition."""
    if metric == "f1":
        return f1(mean(system, ids, "precision"), mean(system, ids, "recall_3"))
    return sum(system[id][metric] or 0.0 for id in ids) / len(ids)


def test_the_bootstrap_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    a, b = values(1, 0.0), values(2, 0.2)
    ids = sorted(a)
    draws = np.random.default_rng(5).multinomial(len(ids), [1 / len(ids)] * len(ids), size=RESAMPLES)
    found = by_metric(compare(a, b, seed=5))
    for metric in ("recall_3", "precision", "score", "f1"):
        drawn = []
        for counts in draws:
            sample = [id for id, count in zip(ids, counts, strict=True) for _ in range(count)]
            drawn.append(mean(b, sample, metric) - mean(a, sample, metric))
        one = found[metric]
        assert one.difference == pytest.approx(mean(b, ids, metric) - mean(a, ids, metric))
        assert one.interval == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
        assert one.detectable == pytest.approx(POWER * np.std(drawn, ddof=1))


@pytest.mark.parametrize("metric", ["score", "f1"])
def test_p_is_near_the_exact_one_of_all_swaps(metric: str) -> None:
    a, b = values(3, 0.0, events=10), values(4, 0.15, events=10)
    ids = list(a)
    observed = abs(mean(b, ids, metric) - mean(a, ids, metric))
    as_large = 0
    for swaps in itertools.product((False, True), repeat=len(ids)):
        one = {id: b[id] if swap else a[id] for id, swap in zip(ids, swaps, strict=True)}
        other = {id: a[id] if swap else b[id] for id, swap in zip(ids, swaps, strict=True)}
        as_large += abs(mean(other, ids, metric) - mean(one, ids, metric)) >= observed - 1e-12
    exact = as_large / 2 ** len(ids)
    assert 0.01 < exact < 0.9
    assert by_metric(compare(a, b))[metric].p == pytest.approx(exact, abs=0.02)


def test_a_system_against_itself_has_no_difference_at_all() -> None:
    for one in compare(values(1, 0.0), values(1, 0.0)):
        assert (one.difference, one.interval, one.p, one.detectable) == (0.0, (0.0, 0.0), 1.0, None)
        assert one.metric == "f1" or (one.wins, one.ties, one.losses) == (0, 12, 0)


def test_the_other_way_round_everything_is_turned() -> None:
    there, back = (by_metric(compare(*pair)) for pair in itertools.permutations([values(1, 0.0), values(2, 0.2)]))
    for metric, one in there.items():
        other = back[metric]
        assert other.difference == pytest.approx(-(one.difference or 0))
        assert other.p == pytest.approx(one.p)
        assert (other.wins, other.losses) == (one.losses, one.wins)


def test_wins_and_losses_are_events_of_the_second() -> None:
    a = {str(n): {"score": value} for n, value in enumerate((0.0, 0.5, 0.5, 1.0))}
    b = {str(n): {"score": value} for n, value in enumerate((1.0, 1.0, 0.5, 0.0))}
    (one,) = compare(a, b)
    assert (one.wins, one.ties, one.losses) == (2, 1, 1) and one.difference == 0.125


def test_events_without_values_leave_the_pair_and_the_order_does_not_matter() -> None:
    a, b = values(1, 0.0), values(2, 0.2)
    shorter = {**b, "3": {}}
    assert compare(a, shorter)[0].events == 11
    assert compare(a, {}) == [] == compare({"1": {}}, {"1": {}})
    assert compare(dict(reversed(a.items())), b) == compare(a, b)


def test_where_nothing_is_measured_there_is_no_difference_and_f1_is_0() -> None:
    silent = {id: {**row, "precision": None} for id, row in values(1, 0.0).items()}
    found = by_metric(compare(silent, values(2, 0.2)))
    assert found["precision"].difference is None and found["precision"].p is None and found["precision"].a is None
    assert found["f1"].a == 0 and found["f1"].difference == found["f1"].b
    estimates = estimate(silent)
    assert estimates["precision"] == (None, None) and estimates["f1"] == (0.0, (0.0, 0.0))


def test_holm_corrects_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2, 0.9, 0.5]) == pytest.approx([0.6, 1.0, 1.0])
    assert holm([]) == []


def test_only_what_was_tested_counts_for_the_correction() -> None:
    rows = [Difference("a", 9, p=0.01), Difference("b", 9), Difference("c", 9, p=0.04)]
    assert [one.p_holm for one in correct(rows)] == [0.02, None, 0.04]
