"""Finished records → parts on disk: `put` returns when the record's part is written, and raises when it cannot be.

put ─▶ open part ─┬─ `records` records in it ────┐
                  ├─ open for `seconds` ─────────┼─▶ Store.write ─▶ every `put` into the part returns
                  └─ no expected record is left ─┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from imageref_ray.batch import attempts
from imageref_ray.batch.store import Result, Store
from imageref_ray.core.durable import DiskError
from imageref_ray.core.records import Failure
from imageref_ray.engines.base import EngineError


@dataclass
class _Part:
    """The part being filled; `written` is resolved once its write has ended, whatever ended it."""

    written: asyncio.Future[None]
    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    records: int = 0


class PartWriter:
    """Fills and writes one worker's parts. `failed`: a write has failed, so no result can be kept any more."""

    def __init__(self, store: Store, records: int, seconds: float) -> None:
        self._store, self._records, self._seconds = store, records, seconds
        self._expected = 0
        self._open: _Part | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self.failed = False

    async def done(self) -> Set[str]:
        """Ids of the records that any writer has committed up to now."""
        async with self._lock:
            return await asyncio.to_thread(self._store.done)

    def expect(self, records: int) -> None:
        """Announce records that will come, each as one `put` or one `skip`."""
        self._expected += records

    async def put(self, result: Result | None, failures: Sequence[Failure], *, at_once: bool = False) -> None:
        """Add an expected record to the open part, which is full now if `at_once`, and wait until that is on disk.

        Raises EngineError when the write fails.
        """
        loop = asyncio.get_running_loop()
        if self._open is None:
            self._open = _Part(loop.create_future())
            loop.call_later(self._seconds, self._commit, self._open)
        part = self._open
        part.records += 1
        part.failures.extend(failures)
        if result:
            part.results.append(result)
        if at_once or part.records >= self._records:
            self._commit(part)
        self.skip()
        await asyncio.shield(part.written)

    def skip(self) -> None:
        """One expected record brings nothing. After the last one the open part is written: nothing more would come."""
        self._expected -= 1
        if not self._expected and self._open is not None:
            self._commit(self._open)

    def _commit(self, part: _Part) -> None:
        if part is self._open:
            self._open = None
            write = asyncio.get_running_loop().create_task(self._write(part))
            self._writes.add(write)
            write.add_done_callback(partial(self._written, part))

    async def _write(self, part: _Part) -> None:
        async with self._lock:
            await asyncio.to_thread(self._store.write, part.results, part.failures)

    def _written(self, part: _Part, write: asyncio.Task[None]) -> None:
        """Tell every waiting `put` how the write ended, whatever ended it: otherwise they would wait for ever."""
        self._writes.discard(write)
        if write.cancelled():
            part.written.cancel()
        elif (error := write.exception()) is None:
            part.written.set_result(None)
        else:
            self.failed = True
            part.written.set_exception(EngineError(self._reason(error)))

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, attempts.Superseded | DiskError):
            return str(error)
        name = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        return f"results cannot be written to {self._store.directory}: {name}{error}"
