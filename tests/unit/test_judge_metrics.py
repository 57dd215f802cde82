"""From a judge's values to numbers about systems: means, relative scores, win rates, agreement."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import minimize  # type: ignore[import-untyped]

from imageref_ray.evaluation.agreement_metrics import agreement
from imageref_ray.evaluation.judge_metrics import (
    RIDGE,
    Judged,
    fit,
    length_terms,
    mean_values,
    merge_pair,
    ranking,
    summarise_pairs,
    summarise_ratings,
)


def rated(values: Sequence[float | None]) -> dict[str, Judged]:
    return {str(n): Judged({} if value is None else {"rating": value}) for n, value in enumerate(values)}


def pairs(wins: Sequence[float], longer: Sequence[int], flipped: int = 0) -> dict[str, Judged]:
    rows = zip(wins, longer, strict=True)
    return {str(n): Judged({"win": win}, n < flipped, more) for n, (win, more) in enumerate(rows)}


def test_the_mean_is_of_the_rated_and_the_rest_is_counted() -> None:
    found = summarise_ratings(rated([8, 6, None, 7]), ["rating"], resamples=200)
    assert (found["rating"], found["answers"], found["unrated_answers"], found["unrated"]) == (7, 3, 1, 0.25)
    low, high = found["intervals"]["rating"]
    assert 6 <= low < 7 < high <= 8
    backwards = dict(reversed(rated([8, 6, None, 7]).items()))
    assert summarise_ratings(backwards, ["rating"], resamples=200) == found


def test_where_nothing_is_rated_nothing_is_known() -> None:
    found = summarise_ratings(rated([None, None]), ["rating"])
    assert (found["rating"], found["answers"], found["unrated"], found["intervals"]) == (None, 0, 1, {})
    assert summarise_ratings({}, ["rating"])["unrated"] is None
    pair = summarise_pairs(rated([None]))
    assert (pair["win_rate"], pair["length_controlled"], pair["flip_rate"]) == (None, None, None)
    assert ranking({"a": found, "b": {"rating": 2.0}, "c": {"rating": 3.0}}, "rating") == ["c", "b", "a"]


def test_a_relative_score_is_the_ratio_of_the_means() -> None:
    scores = {"1": {"reference": 8.0, "answer": 4.0}, "2": {"reference": 4.0, "answer": 4.0}}
    judged = {id: Judged(values) for id, values in scores.items()}
    found = summarise_ratings(judged, ["reference", "answer"], ratio=True, resamples=500)
    assert found["relative"] == pytest.approx(100 * 8 / 12)
    assert found["intervals"]["relative"] == [50, 100]


def test_a_pair_is_won_where_both_orders_say_so() -> None:
    assert merge_pair([{"win": 1}, {"win": 1}]) == ({"win": 1}, False)
    assert merge_pair([{"win": 0.5}, {"win": 0.5}]) == ({"win": 0.5}, False)
    assert merge_pair([{"win": 1}, {"win": 0}]) == ({"win": 0.5}, True)
    assert merge_pair([{"win": 1}, {"win": 0.5}]) == ({"win": 0.5}, True)
    assert merge_pair([{"win": 1}, {}]) == ({}, False)
    assert mean_values([{"a": 1.0}, {}, {"a": 4.0}]) == {"a": 2.5}
    assert mean_values([{}, {}]) == mean_values([]) == {}


def test_wins_ties_losses_and_flips_are_counted() -> None:
    found = summarise_pairs(pairs([1, 1, 0.5, 0], [0, 0, 0, 0], flipped=1), resamples=200)
    assert (found["wins"], found["ties"], found["losses"], found["flip_rate"]) == (2, 1, 1, 25)
    assert found["win_rate"] == 62.5
    assert found["length_controlled"] == pytest.approx(62.5, abs=0.2)  # lengths say nothing; the penalty costs a little
    low, high = found["intervals"]["length_controlled"]
    assert low < 62.5 < high


def test_wins_by_length_are_worth_half() -> None:
    rng = random.Random(1)
    longer = [rng.choice([100, 400, 700, -300]) for _ in range(1000)]
    chances = [1 / (1 + math.exp(-2 * term)) for term in length_terms(longer)]
    wins = [float(rng.random() < chance) for chance in chances]
    found = summarise_pairs(pairs(wins, longer), resamples=100)
    assert found["win_rate"] > 58
    low, high = found["intervals"]["length_controlled"]
    assert 45 < found["length_controlled"] < 55 and low < 50 < high


def test_a_system_that_always_wins_does_so_at_any_length() -> None:
    longer = [100, 400, 700, -300] * 25
    for win in (0.0, 1.0):
        found = summarise_pairs(pairs([win] * 100, longer), resamples=50)
        assert found["win_rate"] == 100 * win
        assert found["length_controlled"] == pytest.approx(100 * win, abs=0.2)


def test_the_regression_is_the_one_that_is_promised() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        lengths = length_terms(rng.integers(-300, 500, size=60).tolist())
        wins = rng.choice([0, 0.5, 1], p=[0.3, 0.2, 0.5], size=60)
        weights = rng.integers(0, 4, size=(3, 60)).astype(float)
        fitted = fit(wins, lengths, weights)
        near = fit(wins, lengths, weights, start=fit(wins, lengths, np.ones((1, 60))))
        assert near == pytest.approx(fitted, abs=1e-6)
        for row, found in zip(weights, fitted, strict=True):

            def loss(c: np.ndarray, row=row, wins=wins, lengths=lengths) -> float:
                p = 1 / (1 + np.exp(-(c[0] + c[1] * lengths)))
                likelihood = wins * np.log(p) + (1 - wins) * np.log(1 - p)
                return float(-(row * likelihood).sum() + RIDGE * (c @ c) / 2)

            assert found == pytest.approx(minimize(loss, np.zeros(2), tol=1e-10).x, abs=1e-3)


def test_equal_differences_in_length_explain_nothing() -> None:
    assert length_terms([7, 7, 7]).tolist() == [0, 0, 0]


def textbook_kappa(x: Sequence[float], y: Sequence[float], quadratic: bool) -> float:
    """Cohen's kappa over a table of categories, with weights of disagreement."""
    kinds, n = sorted({*x, *y}), len(x)
    observed = expected = 0.0
    for i in kinds:
        for j in kinds:
            weight = (i - j) ** 2 if quadratic else float(i != j)
            observed += weight * sum((a, b) == (i, j) for a, b in zip(x, y, strict=True)) / n
            expected += weight * list(x).count(i) * list(y).count(j) / n**2
    return 1 - observed / expected


@pytest.mark.parametrize("nominal", [True, False])
def test_kappa_is_the_textbooks(nominal: bool) -> None:
    rng = random.Random(3)
    choices = [0.0, 0.5, 1.0] if nominal else [float(n) for n in range(1, 11)]
    for size in (5, 40):
        x = [rng.choice(choices) for _ in range(size)]
        y = [value if rng.random() < 0.6 else rng.choice(choices) for value in x]
        keys = [("ab"[n % 2], str(n // 2)) for n in range(size)]  # two systems, the same questions
        one, other = dict(zip(keys, x, strict=True)), dict(zip(keys, y, strict=True))
        found = agreement(one, other, nominal, resamples=300)
        assert found["kappa"] == pytest.approx(textbook_kappa(x, y, not nominal))
        assert found["equal"] == pytest.approx(sum(a == b for a, b in zip(x, y, strict=True)) / size)
        assert found["interval"][0] <= found["kappa"] <= found["interval"][1]
        assert found["answers"] == size
        assert agreement(dict(reversed(one.items())), other, nominal, resamples=300) == found


def test_agreement_is_over_what_both_rated() -> None:
    one = {("a", "1"): 3.0, ("a", "2"): 9.0, ("a", "3"): 5.0}
    other = {("a", "2"): 9.0, ("a", "3"): 5.0, ("b", "1"): 1.0}
    found = agreement(one, other, nominal=False, resamples=50)
    assert (found["answers"], found["kappa"], found["equal"]) == (2, 1, 1)
    with pytest.raises(ValueError, match="no answer is rated by both"):
        agreement(one, {("b", "1"): 1.0}, nominal=False)


def test_raters_who_always_say_the_same_have_no_kappa() -> None:
    same = {("a", "1"): 7.0, ("a", "2"): 7.0}
    for nominal in (True, False):
        found = agreement(same, same, nominal, resamples=20)
        assert (found["kappa"], found["interval"], found["equal"]) == (None, None, 1)
