"""A judge's values in, numbers about systems out: means, relative scores, win rates, each with a bootstrap interval.

All functions are pure and independent of the order of questions. The bootstrap draws questions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imageref_ray.evaluation.bootstrap import Array, bounds, draws

PAIR = ("win_rate", "length_controlled", "flip_rate")
"""The numbers about pairs, in per cent."""

RIDGE = 0.01
"""Weight of the penalty (θ² + φ²) / 2: without it, a system that always wins has no finite θ."""

NEWTON_STEPS = 30
RESAMPLE_STEPS = 6
LONGEST_STEP = 3.0
"""Steps of a fit, of one that starts near its end, and the longest step, in logits."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer as judged: its values by measure, empty where the judge gave none.

    Of a pair: `flipped`, whether the two orders had different verdicts, and `longer`, by how many characters the
    answer is longer than the baseline's.
    """

    values: Mapping[str, float]
    flipped: bool = False
    longer: int = 0


def merge_pair(orders: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], bool]:
    """The value `win` of both orders, and whether they differ: then it is a tie. Empty where either has none."""
    if not all(orders):
        return {}, False
    wins = [order["win"] for order in orders]
    flipped = len(set(wins)) > 1
    return {"win": 0.5 if flipped else wins[0]}, flipped


def mean_values(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over those that have values; empty where none has."""
    known = [one for one in values if one]
    return {name: math.fsum(one[name] for one in known) / len(known) for name in (known[0] if known else ())}


def summarise_ratings(
    judged: Mapping[str, Judged], measures: Sequence[str], ratio: bool = False, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """The mean of every measure over the rated answers (question id → answer), None where none is rated.

    With `ratio`, also `relative`: 100 × the second measure's mean over the first's (which are above 0), as in LLaVA's
    benchmark.
    """
    rated = [judged[id].values for id in sorted(judged) if judged[id].values]
    names = [*measures, *(["relative"] if ratio else [])]
    if not rated:
        return {**_counts(judged), **dict.fromkeys(names), "intervals": {}}
    table = np.array([[values[name] for name in measures] for values in rated])
    resampled = np.concatenate([draw @ table for draw in draws(len(rated), seed, resamples)]) / len(rated)
    observed = np.array([math.fsum(column) / len(rated) for column in table.T])
    if ratio:
        observed = np.append(observed, _relative(observed))
        resampled = np.column_stack([resampled, _relative(resampled)])
    return {
        **_counts(judged),
        **{name: float(value) for name, value in zip(names, observed, strict=True)},
        "intervals": {name: bounds(values) for name, values in zip(names, resampled.T, strict=True)},
    }


def summarise_pairs(judged: Mapping[str, Judged], seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Win rates over the baseline in per cent, a tie counting half; and how often the order decided (`flip_rate`, %).

    `length_controlled` is the win rate if both answers were equally long, as far as a logistic regression can tell
    (after AlpacaEval 2, Dubois et al. 2024, without its term for a question's difficulty, which needs a leaderboard):
    P(win) = σ(θ + φ · tanh(Δ / std Δ)), Δ the characters that the answer is longer, ties as half wins, the penalty
    RIDGE · (θ² + φ²) / 2; it is 100 · σ(θ). All are None where no pair is rated.
    """
    rated = [judged[id] for id in sorted(judged) if judged[id].values]
    names = PAIR[:2]
    if not rated:
        return {**_counts(judged), **dict.fromkeys(PAIR), "intervals": {}}
    wins = np.array([one.values["win"] for one in rated])
    lengths = length_terms([one.longer for one in rated])
    fitted = fit(wins, lengths, np.ones((1, len(rated))))
    observed = math.fsum(wins) / len(rated), _sigmoid(fitted[:, 0])[0]
    resampled = [
        np.stack([draw @ wins / len(rated), _sigmoid(fit(wins, lengths, draw, fitted)[:, 0])])
        for draw in draws(len(rated), seed, resamples)
    ]
    intervals = 100 * np.concatenate(resampled, axis=1)
    return {
        **_counts(judged),
        **{name: 100 * float(value) for name, value in zip(names, observed, strict=True)},
        "flip_rate": 100 * sum(one.flipped for one in rated) / len(rated),
        "wins": int((wins == 1).sum()),
        "ties": int((wins == 0.5).sum()),
        "losses": int((wins == 0).sum()),
        "intervals": {name: bounds(values) for name, values in zip(names, intervals, strict=True)},
    }


def length_terms(longer: Sequence[int]) -> Array:
    """tanh(Δ / std Δ) of every pair, 0 where all differences in length are the same."""
    differences = np.array(longer, dtype=float)
    spread = differences.std()
    return np.tanh(differences / spread) if spread else np.zeros_like(differences)


def fit(wins: Array, lengths: Array, weights: Array, start: Array | None = None) -> Array:
    """(θ, φ) of the regression in `summarise_pairs` for every row of `weights` [fits, pairs], by Newton's method.

    From `start`, the fit of all pairs, a resample's fit is a few steps away.
    """
    features = np.stack([np.ones_like(lengths), lengths], axis=1)
    squares = features[:, [0, 0, 1]] * features[:, [0, 1, 1]]
    fitted = np.zeros((len(weights), 2)) if start is None else np.repeat(start, len(weights), axis=0)
    for _ in range(NEWTON_STEPS if start is None else RESAMPLE_STEPS):
        expected = _sigmoid(fitted @ features.T)
        gradient = (weights * (wins - expected)) @ features - RIDGE * fitted
        curvature = (weights * expected * (1 - expected)) @ squares
        matrix = curvature[:, [0, 1, 1, 2]].reshape(-1, 2, 2) + RIDGE * np.eye(2)
        step = np.linalg.solve(matrix, gradient[..., None])[..., 0]
        fitted = fitted + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
    return fitted


def ranking(systems: Mapping[str, Mapping[str, Any]], measure: str) -> list[str]:
    """The systems' names, best first; those without a value last."""
    return sorted(systems, key=lambda name: (systems[name][measure] is None, -(systems[name][measure] or 0), name))


def _counts(judged: Mapping[str, Judged]) -> dict[str, Any]:
    """`answers` that are rated, `unrated_answers` without a readable rating and their share (`unrated`)."""
    rated = sum(bool(one.values) for one in judged.values())
    unrated = len(judged) - rated
    return {"answers": rated, "unrated": unrated / len(judged) if judged else None, "unrated_answers": unrated}


def _relative(means: Array) -> Array:
    """100 × second over first, along the last axis."""
    return 100 * means[..., 1] / means[..., 0]


def _sigmoid(logits: Array) -> Array:
    return 0.5 * (1 + np.tanh(logits / 2))
