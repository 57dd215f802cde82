"""Lengths and data sets of the samples → the batches of the whole run, the same plan on every rank.

A round is one batch per rank, all of similar length, so that no rank waits for another. Every sample is used once
per epoch (with copies: that many times); samples that do not fill a round are carried over to the next epoch, so
none is dropped and the mixture's ratios hold.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

WINDOW = 64  # rounds sorted by length together: similar lengths within a round, rounds still in random order


@dataclass(frozen=True)
class BatchShape:
    """The size of a batch: up to `tokens` padded tokens per rank if given, else `samples` per rank."""

    ranks: int
    samples: int
    tokens: int | None
    group_by: Literal["length", "dataset", "none"]

    def round_size(self, longest: int) -> int:
        """Samples in a round whose longest sample has that many tokens."""
        return self.ranks * (self.samples if self.tokens is None else max(1, self.tokens // longest))


def plan_rounds(
    lengths: Sequence[int], groups: Sequence[str], copies: Sequence[int], shape: BatchShape, seed: int
) -> Iterator[list[list[int]]]:
    """Rounds without end; a round is one list of sample indices per rank.

    `lengths[i]`, `groups[i]` and `copies[i]` are sample i's tokens, data set and uses per epoch.
    """
    assert any(copies), "no samples to plan"
    generator = random.Random(seed)
    leftover: dict[str, list[int]] = defaultdict(list)
    while True:
        pools: dict[str, list[int]] = defaultdict(list)
        for number, count in enumerate(copies):
            pools[groups[number] if shape.group_by == "dataset" else ""] += [number] * count
        rounds: list[list[int]] = []
        for group, fresh in pools.items():
            generator.shuffle(fresh)
            group_rounds, leftover[group] = _into_rounds(leftover[group] + fresh, lengths, shape)
            rounds += group_rounds
        generator.shuffle(rounds)
        for numbers in rounds:
            yield [numbers[rank :: shape.ranks] for rank in range(shape.ranks)]


def _into_rounds(pool: list[int], lengths: Sequence[int], shape: BatchShape) -> tuple[list[list[int]], list[int]]:
    """Rounds of one group, longest samples first within a window, and the samples that do not fill a round."""
    rounds: list[list[int]] = []
    rest: list[int] = []
    mean = max(1, sum(lengths[number] for number in pool) // max(1, len(pool)))
    window = WINDOW * shape.round_size(mean)
    for start in range(0, len(pool), window):
        part = rest + pool[start : start + window]
        if shape.group_by != "none":
            part.sort(key=lambda number: -lengths[number])
        at = 0
        while at < len(part) and (count := _next_round(part, at, lengths, shape)):
            rounds.append(part[at : at + count])
            at += count
        rest = part[at:]
    return rounds, rest


def _next_round(part: list[int], at: int, lengths: Sequence[int], shape: BatchShape) -> int:
    """Number of samples from `at` on in the next round; 0 if too few are left."""
    count = shape.round_size(lengths[part[at]])
    if shape.group_by == "none":  # not sorted: shrink until the longest among them fits too
        while (fits := shape.round_size(max(lengths[number] for number in part[at : at + count]))) < count:
            count = fits
    return count if at + count <= len(part) else 0
