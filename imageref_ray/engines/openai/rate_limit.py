"""How fast an endpoint is asked: outcomes of calls in, a slot for the next call out.

slot ─▶ call ─▶ answered:    one more may be in flight       (additive increase)
             └▶ failed:      half as many may be in flight   (multiplicative decrease, once a burst)
             └▶ Retry-After: no call begins before that time
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imageref_ray.core.config.engine import RateLimitConfig


def backoff(config: RateLimitConfig, failures: int) -> float:
    """Seconds to wait after so many failures: drawn up to a bound that doubles each time ("full jitter")."""
    bound = config.first_wait_s * 2.0 ** min(failures - 1, 32)
    return random.uniform(0, min(config.longest_wait_s, bound))


class ConcurrencyLimit:
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
    """Admits calls, as many at a time as its `limit` allows and none before the time that the endpoint asked for."""

    def __init__(self, most: int, rate_limit: RateLimitConfig) -> None:
        self.limit = ConcurrencyLimit(most, rate_limit.start, rate_limit.window_s)
        self._jitter_s = rate_limit.first_wait_s
        self._in_flight = 0
        self._opens_at = -math.inf
        self._slot_free = asyncio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """A slot for one call, waited for; gives the moment it begins (seconds, monotonic)."""
        while self._in_flight >= self.limit.allowed:
            self._slot_free.clear()
            await self._slot_free.wait()
        self._in_flight += 1
        try:
            while (wait := self._opens_at - time.monotonic()) > 0:
                # The jitter keeps waiting calls from starting all at once.
                await asyncio.sleep(wait + random.uniform(0, self._jitter_s))
            yield time.monotonic()
        finally:
            self._in_flight -= 1
            self._slot_free.set()

    def answered(self) -> None:
        """A call was answered: the limit grows if calls come near it; one that is not reached needs no growth."""
        if 2 * self._in_flight >= self.limit.allowed:
            self.limit.grow()

    def failed(self, began: float) -> None:
        """A call that began at `began` failed because the endpoint is overloaded or broken."""
        self.limit.cut(began, time.monotonic())

    def hold(self, seconds: float) -> None:
        """Begin no call for so long: what one call was asked to wait holds for all."""
        self._opens_at = max(self._opens_at, time.monotonic() + seconds)
