"""Lengths and data sets of the samples → the batches of the whole run, the same plan on every rank.

A round is one batch per rank, all of similar length, so that no rank waits for another. Every sample is used once
per epoch (with copies: that many times); samples that do not fill a round are carried over to the next epoch, so
none is dropped and the mixture's ratios hold. With ratios, every round is from one data set, drawn by its ratio, and
each data set has epochs of its own.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, NamedTuple

WINDOW = 64  # rounds sorted by length together: similar lengths within a round, rounds still in random order


class Use(NamedTuple):
    """One use of a sample: the sample's index, the number of the use in the run (from 0), and its tokens then."""

    sample: int
    number: int
    tokens: int


Groups = Mapping[str, Sequence[int]]
"""What rounds are made within (a data set, or everything) → its samples."""

Epoch = Callable[[Iterable[int], int], list[Use]]
"""The samples, and the number of an epoch → their uses in it."""


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
    tokens: Callable[[int, int], int],
    groups: Sequence[str],
    copies: Sequence[int],
    shape: BatchShape,
    seed: int,
    ratios: Mapping[str, float] | None = None,
) -> Iterator[list[list[Use]]]:
    """Rounds without end; a round is one list of uses of samples per rank.

    `tokens(i, n)` are sample i's tokens in its n-th use, `groups[i]` and `copies[i]` its data set and uses per epoch.
    `ratios` (data set → ratio, with `group_by: dataset`): a round is from a set with probability ratio / sum of the
    ratios of all sets that have a sample.
    """
    assert any(copies), "no samples to plan"
    samples: dict[str, list[int]] = defaultdict(list)
    for sample, times in enumerate(copies):
        if times:
            samples[groups[sample] if shape.group_by == "dataset" else ""].append(sample)

    def uses(members: Iterable[int], epoch: int) -> list[Use]:
        return [
            Use(sample, number, tokens(sample, number))
            for sample in members
            for number in range(epoch * copies[sample], (epoch + 1) * copies[sample])
        ]

    generator = random.Random(seed)
    if ratios:
        assert shape.group_by == "dataset", "only rounds of one data set can be drawn by ratio"
        rounds = _drawn(samples, uses, shape, ratios, generator)
    else:
        rounds = _by_epoch(samples, uses, shape, generator)
    for together in rounds:
        yield [together[rank :: shape.ranks] for rank in range(shape.ranks)]


def _by_epoch(samples: Groups, uses: Epoch, shape: BatchShape, generator: random.Random) -> Iterator[list[Use]]:
    """Rounds epoch by epoch, those of all groups in random order."""
    leftover: dict[str, list[Use]] = defaultdict(list)
    for epoch in count():
        rounds: list[list[Use]] = []
        for group, members in samples.items():
            fresh = uses(members, epoch)
            generator.shuffle(fresh)
            group_rounds, leftover[group] = _into_rounds(leftover[group] + fresh, shape)
            rounds += group_rounds
        generator.shuffle(rounds)
        yield from rounds


def _drawn(
    samples: Groups, uses: Epoch, shape: BatchShape, ratios: Mapping[str, float], generator: random.Random
) -> Iterator[list[Use]]:
    """Rounds of one group each, the group drawn by its ratio."""
    streams = {
        group: _by_epoch({group: members}, uses, shape, random.Random(generator.random()))
        for group, members in samples.items()
    }
    groups, weights = list(streams), [ratios[group] for group in streams]
    while True:
        (group,) = generator.choices(groups, weights)
        yield next(streams[group])


def _into_rounds(pool: list[Use], shape: BatchShape) -> tuple[list[list[Use]], list[Use]]:
    """Rounds of one group, longest samples first within a window, and the samples that do not fill a round."""
    rounds: list[list[Use]] = []
    rest: list[Use] = []
    mean = max(1, sum(use.tokens for use in pool) // max(1, len(pool)))
    window = WINDOW * shape.round_size(mean)
    for start in range(0, len(pool), window):
        part = rest + pool[start : start + window]
        if shape.group_by != "none":
            part.sort(key=lambda use: -use.tokens)
        at = 0
        while at < len(part) and (size := _next_round(part, at, shape)):
            rounds.append(part[at : at + size])
            at += size
        rest = part[at:]
    return rounds, rest


def _next_round(part: list[Use], at: int, shape: BatchShape) -> int:
    """Number of samples from `at` on in the next round; 0 if too few are left."""
    size = shape.round_size(part[at].tokens)
    if shape.group_by == "none":  # not sorted: shrink until the longest among them fits too
        while (fits := shape.round_size(max(use.tokens for use in part[at : at + size]))) < size:
            size = fits
    return size if at + size <= len(part) else 0
