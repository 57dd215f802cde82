"""Lengths and data sets of the samples in, the whole run's batches out: one plan, the same on every rank.

A round is one batch per rank, all of like length, so that no rank waits for another. Every sample is used once
per epoch (a repeated one as often as it repeats); what does not fill a round waits for the next epoch, so
nothing is dropped and the mixture's shares hold.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

WINDOW = 64  # rounds whose samples are sorted by length together: like lengths, and still a random order


@dataclass(frozen=True)
class Shape:
    """How batches are cut: up to `tokens` padded tokens per rank if given, else `samples` per rank."""

    ranks: int
    samples: int
    tokens: int | None
    group_by: Literal["length", "dataset", "none"]

    def take(self, longest: int) -> int:
        """Samples in a round whose longest has that many tokens."""
        return self.ranks * (self.samples if self.tokens is None else max(1, self.tokens // longest))


def plan(
    lengths: Sequence[int], groups: Sequence[str], copies: Sequence[int], shape: Shape, seed: int
) -> Iterator[list[list[int]]]:
    """Endless rounds; a round is one list of sample numbers per rank.

    `lengths[i]`, `groups[i]` and `copies[i]` are sample i's tokens, data set and uses per epoch.
    """
    assert any(copies), "no samples to plan"
    generator = random.Random(seed)
    waiting: dict[str, list[int]] = defaultdict(list)
    while True:
        pools: dict[str, list[int]] = defaultdict(list)
        for number, count in enumerate(copies):
            pools[groups[number] if shape.group_by == "dataset" else ""] += [number] * count
        rounds: list[list[int]] = []
        for group, fresh in pools.items():
            generator.shuffle(fresh)
            cut, waiting[group] = _cut(waiting[group] + fresh, lengths, shape)
            rounds += cut
        generator.shuffle(rounds)
        for numbers in rounds:
            yield [numbers[rank :: shape.ranks] for rank in range(shape.ranks)]


def _cut(pool: list[int], lengths: Sequence[int], shape: Shape) -> tuple[list[list[int]], list[int]]:
    """Rounds of one group, longest first within a window, and the rest that fills none."""
    rounds: list[list[int]] = []
    rest: list[int] = []
    mean = max(1, sum(lengths[number] for number in pool) // max(1, len(pool)))
    window = WINDOW * shape.take(mean)
    for start in range(0, len(pool), window):
        part = rest + pool[start : start + window]
        if shape.group_by != "none":
            part.sort(key=lambda number: -lengths[number])
        at = 0
        while at < len(part) and (count := _fit(part, at, lengths, shape)):
            rounds.append(part[at : at + count])
            at += count
        rest = part[at:]
    return rounds, rest


def _fit(part: list[int], at: int, lengths: Sequence[int], shape: Shape) -> int:
    """How many samples from `at` on make the next round; 0 if too few are left."""
    count = shape.take(lengths[part[at]])
    if shape.group_by == "none":  # not sorted: shrink until the longest among them fits too
        while (fits := shape.take(max(lengths[number] for number in part[at : at + count]))) < count:
            count = fits
    return count if at + count <= len(part) else 0
