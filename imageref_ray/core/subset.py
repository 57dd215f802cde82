"""Items with ids → a random subset: independent of their order, and nearly the same after more are added."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def choose(items: Iterable[T], count: int, seed: int, name: Callable[[T], str]) -> list[T]:
    """The `count` items whose names have the lowest hashes under `seed`: every subset of that size is equally likely.

    At most `count` items are in memory at a time, so `items` may be a stream over a large run.
    """
    return heapq.nsmallest(count, items, key=lambda item: hashlib.sha256(f"{seed}:{name(item)}".encode()).digest())
