"""Two raters of the same answers in, their agreement out: Cohen's kappa with a bootstrap interval over questions.

Verdicts (win, tie, loss) are categories: kappa = (p − e) / (1 − e), p the share of equal ones, e what two raters who
use each verdict as often would have at random. Ratings are numbers: kappa with quadratic weights, which is
1 − mean (xᵢ − yᵢ)² / mean (xᵢ − yⱼ)² over all i and j, so that decimals need no categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from imageref_ray.evaluation.bootstrap import Array, bounds, draws

Key = tuple[str, str]
"""System, question id."""


def agreement(
    one: Mapping[Key, float], other: Mapping[Key, float], nominal: bool, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """`kappa` (None where both never vary), `interval`, `equal` (share, ratings rounded) over the answers both rated.

    Raises ValueError where there are none.
    """
    keys = sorted(one.keys() & other.keys())
    if not keys:
        raise ValueError("no answer is rated by both")
    x, y = np.array([one[key] for key in keys]), np.array([other[key] for key in keys])
    cells, kappa = _verdict_cells(x, y) if nominal else _rating_cells(x, y)
    questions = sorted({id for _, id in keys})
    row = {id: at for at, id in enumerate(questions)}
    table = np.zeros((len(questions), cells.shape[1]))
    np.add.at(table, [row[id] for _, id in keys], cells)
    resampled = np.concatenate([kappa(draw @ table) for draw in draws(len(questions), seed, resamples)])
    value = float(kappa(table.sum(axis=0)[None])[0])
    return {
        "answers": len(keys),
        "kappa": None if np.isnan(value) else value,
        "interval": bounds(resampled),
        "equal": float((x == y).mean() if nominal else (np.floor(x + 0.5) == np.floor(y + 0.5)).mean()),
    }


def _verdict_cells(x: Array, y: Array) -> tuple[Array, Any]:
    """One column per pair of verdicts, and kappa of their sums."""
    kinds = np.unique(np.concatenate([x, y]))
    size = len(kinds)
    cells = np.eye(size * size)[np.searchsorted(kinds, x) * size + np.searchsorted(kinds, y)]

    def kappa(sums: Array) -> Array:
        shares = sums.reshape(-1, size, size) / sums.sum(axis=1)[:, None, None]
        equal = np.trace(shares, axis1=1, axis2=2)
        chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
        return _ratio(equal - chance, 1 - chance)

    return cells, kappa


def _rating_cells(x: Array, y: Array) -> tuple[Array, Any]:
    """Count, x, y, x², y², xy of every answer, and kappa of their sums."""
    cells = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def kappa(sums: Array) -> Array:
        mean_x, mean_y, xx, yy, xy = (sums[:, 1:] / sums[:, :1]).T
        observed, chance = xx + yy - 2 * xy, xx + yy - 2 * mean_x * mean_y
        return _ratio(chance - observed, chance)

    return cells, kappa


def _ratio(part: Array, whole: Array) -> Array:
    """NaN where the whole is 0 (but for rounding)."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 1e-9)
