"""Things with ids → a random few of them, the same whatever their order, and nearly the same when more come."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def choose(things: Iterable[T], count: int, seed: int, name: Callable[[T], str]) -> list[T]:
    """The `count` things whose names hash lowest under `seed`: every set of that size is equally likely.

    At most `count` things are held at a time, so `things` may be a stream over a large run.
    """
    return heapq.nsmallest(count, things, key=lambda thing: hashlib.sha256(f"{seed}:{name(thing)}".encode()).digest())
