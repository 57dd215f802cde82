"""What an engine died over: which batch and which record it was is found out without blaming another.

A batch over which an engine died runs again with nothing beside it; over which two died, a record at a time; a record
over which one died then is what kills. Notes on disk tell an engine's successor what was begun and never ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imageref_ray.batch.store import Store


class Suspects:
    """The batches and records that one engine runs, over the notes of its `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn, self._one_by_one = asyncio.Lock(), asyncio.Lock()
        self._beside, self._quiet = 0, asyncio.Event()
        self._quiet.set()

    @asynccontextmanager
    async def batch(self, name: str) -> AsyncIterator[bool]:
        """Room for a batch; gives whether its records must run `alone`."""
        deaths = await asyncio.to_thread(self._store.begun, name)
        async with self._room(for_itself=deaths > 0):
            await asyncio.to_thread(self._store.begin, name)
            yield deaths > 1
            self._store.end(name)

    @asynccontextmanager
    async def alone(self, record_id: str) -> AsyncIterator[bool]:
        """Room for one record at a time; gives whether an engine died when this one ran like this before."""
        name = ("alone", record_id)
        async with self._one_by_one:
            if await asyncio.to_thread(self._store.begun, *name):
                yield True
                return
            await asyncio.to_thread(self._store.begin, *name)
            yield False
            await asyncio.to_thread(self._store.end, *name)

    @asynccontextmanager
    async def _room(self, for_itself: bool) -> AsyncIterator[None]:
        """Beside other batches; or for itself: once those that run have ended, and none begins before it ends."""
        async with self._turn:
            if for_itself:
                await self._quiet.wait()
                yield
                return
            self._beside += 1
            self._quiet.clear()
        try:
            yield
        finally:
            self._beside -= 1
            if not self._beside:
                self._quiet.set()
