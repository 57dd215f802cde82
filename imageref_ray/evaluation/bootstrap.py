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
    for size in batches(resamples, questions):
        yield rng.multinomial(questions, shares, size=size)


def batches(samples: int, questions: int) -> Iterator[int]:
    """How many samples of all questions to take at once, so that memory stays bounded; `samples` in all."""
    most = max(1, MAX_CELLS // questions)
    yield from (min(most, samples - done) for done in range(0, samples, most))


def bounds(values: Array) -> list[float] | None:
    """The 95 % percentile interval; resamples without a value (NaN) are left out, None where none has one."""
    known = values[~np.isnan(values)]
    return [float(bound) for bound in np.percentile(known, [2.5, 97.5])] if len(known) else None
