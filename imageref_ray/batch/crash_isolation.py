"""Which record crashes its engine: batches in flight at a crash are narrowed down to the one record at fault.

    crashes over a batch   how it runs next
    0                      beside other batches
    1                      with no other batch beside it
    2                      one record at a time, each on disk before the next begins; a record over which the engine
                           crashes then is the one at fault

The engine that takes a crashed one's place knows what was in flight from marks on disk (`Store.begin`, `Store.end`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from imageref_ray.batch.store import IN_FLIGHT, Store


def narrowed(directory: Path) -> int:
    """How many batches of a run were begun twice without an end, the second time with no other batch beside them."""
    count = 0
    for mark in (directory / IN_FLIGHT).glob("*"):
        with suppress(FileNotFoundError):  # its batch has ended
            count += mark.stat().st_size > 1
    return count


class CrashIsolation:
    """Decides, by the marks in `store`, which of one engine's batches and records may run side by side."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn, self._one_by_one = asyncio.Lock(), asyncio.Lock()
        self._shared, self._none_shared = 0, asyncio.Event()
        self._none_shared.set()

    @asynccontextmanager
    async def batch(self, name: str) -> AsyncIterator[bool]:
        """Admits a batch when it may run; gives whether its records must run one at a time (`record`)."""
        crashes = await asyncio.to_thread(self._store.begun, name)
        async with self._admitted(exclusive=crashes > 0):
            await asyncio.to_thread(self._store.begin, name)
            yield crashes > 1
            self._store.end(name)

    @asynccontextmanager
    async def record(self, record_id: str) -> AsyncIterator[bool]:
        """Admits one record at a time; gives whether an engine crashed when this record ran alone before."""
        name = ("alone", record_id)
        async with self._one_by_one:
            if await asyncio.to_thread(self._store.begun, *name):
                yield True
                return
            await asyncio.to_thread(self._store.begin, *name)
            yield False
            await asyncio.to_thread(self._store.end, *name)

    @asynccontextmanager
    async def _admitted(self, exclusive: bool) -> AsyncIterator[None]:
        """Admits a shared batch beside others, an exclusive one when those have ended and before any new one begins."""
        async with self._turn:
            if exclusive:
                await self._none_shared.wait()
                yield
                return
            self._shared += 1
            self._none_shared.clear()
        try:
            yield
        finally:
            self._shared -= 1
            if not self._shared:
                self._none_shared.set()
