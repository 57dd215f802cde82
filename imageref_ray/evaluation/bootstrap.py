"""Bootstrap over questions: how often each is drawn, and the interval of what is computed from the draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MAX_CELLS = 2**20
"""Numbers in memory at once, at most."""


def draws(questions: int, seed: int, resamples: int) -> Iterator[Array]:
    """How often each question is in each resample: arrays [some resamples, questions], `resamples` rows in all."""
    rng, shares = np.random.default_rng(seed), np.full(questions, 1 / questions)
    batch = max(1, MAX_CELLS // questions)
    for done in range(0, resamples, batch):
        yield rng.multinomial(questions, shares, size=min(batch, resamples - done))


def bounds(values: Array) -> list[float] | None:
    """The 95 % percentile interval; resamples without a value (NaN) are left out, None where none has one."""
    known = values[~np.isnan(values)]
    return [float(bound) for bound in np.percentile(known, [2.5, 97.5])] if len(known) else None
