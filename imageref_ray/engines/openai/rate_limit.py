"""How fast an endpoint is asked: outcomes of calls in, room for the next call out.

slot ─▶ call ─▶ answered: one more may be in flight       (additive increase)
             └▶ failed:   half as many may be in flight   (multiplicative decrease, once a burst)
             └▶ told to wait: nobody begins before the time that was named
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an endpoint is asked; the defaults suit public endpoints and a vLLM server alike.

    `start`: calls in flight at the beginning. `window_s`: failures of calls that began less than this after a
    decrease are part of the same burst. `first_wait_s` doubles with every failure of a request up to
    `longest_wait_s`.
    """

    start: int = 8
    window_s: float = 1.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def backoff(self, failures: int) -> float:
        """Seconds to wait after so many failures: any up to a bound that doubles each time ("full jitter")."""
        bound = self.first_wait_s * 2.0 ** min(failures - 1, 32)
        return random.uniform(0, min(self.longest_wait_s, bound))


class Limit:
    """How many calls may be in flight: 1 to `most`, by additive increase and multiplicative decrease (AIMD)."""

    def __init__(self, most: int, start: int, window_s: float) -> None:
        self._most, self._window_s = most, window_s
        self._value = float(min(start, most))
        self._cut_at = -math.inf

    @property
    def allowed(self) -> int:
        return int(self._value)

    def grow(self) -> None:
        """A call was answered. Until the first decrease one more each time, then one more per round of calls."""
        step = 1 / self._value if self._cut_at > -math.inf else 1
        self._value = min(self._most, self._value + step)

    def cut(self, began: float, now: float) -> None:
        """A call that began at `began` (seconds, monotonic) failed: halve, unless a failure of its burst did so."""
        if began >= self._cut_at + self._window_s:
            self._value = max(1.0, self._value / 2)
            self._cut_at = now


class Gate:
    """Lets calls through, as many at a time as its `limit` allows and none before the endpoint wants one."""

    def __init__(self, most: int, pace: Pace) -> None:
        self.limit = Limit(most, pace.start, pace.window_s)
        self._jitter_s = pace.first_wait_s
        self._in_flight = 0
        self._opens_at = -math.inf
        self._room = asyncio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Room for one call, as long as it takes to get; gives the moment it begins (seconds, monotonic)."""
        while self._in_flight >= self.limit.allowed:
            self._room.clear()
            await self._room.wait()
        self._in_flight += 1
        try:
            while (wait := self._opens_at - time.monotonic()) > 0:
                # The jitter keeps those that wait here from starting all at once.
                await asyncio.sleep(wait + random.uniform(0, self._jitter_s))
            yield time.monotonic()
        finally:
            self._in_flight -= 1
            self._room.set()

    def answered(self) -> None:
        """The limit grows where it is what holds the calls back; one that nobody reaches says nothing."""
        if 2 * self._in_flight >= self.limit.allowed:
            self.limit.grow()

    def failed(self, began: float) -> None:
        """A call that began at `began` met an endpoint with too much to do."""
        self.limit.cut(began, time.monotonic())

    def hold(self, seconds: float) -> None:
        """Begin no call for so long: the endpoint said so, and it said it to all of us."""
        self._opens_at = max(self._opens_at, time.monotonic() + seconds)
