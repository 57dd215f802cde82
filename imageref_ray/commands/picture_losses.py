"""Records whose images were opened for a plan → what images that nobody opened may take from its totals.

A record asks less where an image of it proves unusable, and nothing where all do. Among few records that is not seen
where it is rare, so their number alone says how often it may be. If k of n records lose some, the number among m others
is predicted with the beta distributions whose quantiles are the exact interval of a proportion (Clopper and Pearson,
*The use of confidence or fiducial limits illustrated in the case of the binomial*, 1934): the quantiles of
beta-binomials. For none seen among n, and many others, the upper end is about 3.7 / n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

OUTSIDE = 0.025
"""The probability on either side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The share of their costs that records lose on average by unusable images, and its 95 % interval."""

    expected: float
    least: float
    most: float


def loss(shares: Sequence[float], others: int) -> Loss:
    """`shares`: of records of one kind, a random few, the share of their images that cannot be used. `others`: how many
    there are besides.

    What a record that is affected loses is the mean of those seen; for the upper end one more is counted, which loses
    everything.
    """
    from scipy.stats import betabinom  # type: ignore[import-untyped]  # half a second

    count, affected, total = len(shares), sum(share > 0 for share in shares), sum(shares)
    if not others:
        return Loss(0.0, 0.0, 0.0)
    low = betabinom.ppf(OUTSIDE, others, affected, count - affected + 1) if affected else 0.0
    high = betabinom.ppf(1 - OUTSIDE, others, affected + 1, count - affected) if affected < count else others
    mean = total / affected if affected else 0.0
    bounds = float(low) / others * mean, float(high) / others * (total + 1) / (affected + 1)
    expected = total / max(count, 1)
    return Loss(expected, min(bounds[0], expected), max(bounds[1], expected))


NONE: Mapping[str, Loss] = MappingProxyType({})
"""No record loses any image."""


def with_losses(
    totals: Array, half_widths: Array, predicted: Mapping[str, Array], losses: Mapping[str, Loss]
) -> tuple[Array, Array, Array]:
    """Totals, less what the records of each kind, `predicted` to cost so much, lose; and the ends of their intervals:
    on either side the distance to the bounds of the loss is added to `half_widths` in quadrature."""
    value, below, above = totals, half_widths**2, half_widths**2
    for kind, cost in predicted.items():
        lost = losses[kind]
        value = value - lost.expected * cost
        below = below + ((lost.most - lost.expected) * cost) ** 2
        above = above + ((lost.expected - lost.least) * cost) ** 2
    return value, value - np.sqrt(below), value + np.sqrt(above)
