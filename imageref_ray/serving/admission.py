"""How much of it: requests a key has running, requests a key sends a minute, requests that wait for the engine.

All of it is counted in one replica: n replicas let n times as much through.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable

from imageref_ray.core.config import KeyConfig
from imageref_ray.serving.errors import RETRY_AFTER, WireError

Release = Callable[[], None]


class Admission:
    """The requests of one replica: `engine` at once, and at most `queued` that wait."""

    def __init__(self, engine: int, queued: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = asyncio.Semaphore(engine)
        self._queued, self._clock = queued, clock
        self._open: Counter[str] = Counter()
        self._budgets: dict[str, tuple[float, float]] = {}
        self.running = self.waiting = 0

    def enter(self, key: KeyConfig) -> Release:
        """Count a request of this key until the result is called. Raises WireError (429)."""
        if key.concurrency and self._open[key.name] >= key.concurrency:
            raise _refusal(f"{key.concurrency} requests of this key are running, as many as it may", RETRY_AFTER)
        if key.per_minute:
            self._spend(key.name, key.per_minute)
        self._open[key.name] += 1
        return lambda: self._open.subtract((key.name,))

    def _spend(self, name: str, per_minute: int) -> None:
        """Take one from the key's budget, which fills evenly up to a minute's. Raises WireError (429)."""
        now = self._clock()
        left, at = self._budgets.get(name, (float(per_minute), now))
        left = min(per_minute, left + (now - at) * per_minute / 60)
        if left < 1:
            wait = (1 - left) * 60 / per_minute
            raise _refusal(f"more than {per_minute} requests a minute with this key", wait)
        self._budgets[name] = (left - 1, now)

    async def turn(self) -> Release:
        """Wait until the engine has room; it is taken until the result is called. Raises WireError (429)."""
        if self._free.locked():
            if self.waiting >= self._queued:
                raise _refusal(f"{self.waiting} requests wait already", RETRY_AFTER, "queue_full")
            self.waiting += 1
            try:
                await self._free.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._free.acquire()
        self.running += 1
        return self._end

    def _end(self) -> None:
        self.running -= 1
        self._free.release()


def _refusal(reason: str, wait: float, code: str = "rate_limit_exceeded") -> WireError:
    seconds = max(1, math.ceil(wait))
    message = f"{reason}; ask again in {seconds} s"
    return WireError(message, status=429, code=code, headers={"retry-after": str(seconds)})
