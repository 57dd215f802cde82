"""What runs beside an engine: rows in → many coroutines over one engine → committed results, status rows out.

Knows nothing of Ray. Every status row that comes back stands for a record that is on disk, as a result or in
the quarantine: whoever is given a batch a second time runs only what is missing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageref_ray.commit import Result, Store
from imageref_ray.config import EngineConfig
from imageref_ray.engines.base import Engine, EngineError, Generate, Reply, Request
from imageref_ray.records import Failure, Usage, from_row, to_row

Row = dict[str, Any]
Work = Callable[[Row, Generate], Awaitable[Row]]
Prepare = Callable[[Row], tuple[Row, tuple[Failure, ...]]]

BATCH = 8
"""Records handed to an actor at a time: few, so that a slow record holds up little and a kill costs little."""

DEATHS = 3
"""So many engines may die over a batch; then its records are given up, or a run would end never."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk over rows with one engine pool.

    `work` makes a result row of a row (a module-level function or a partial of one: it travels to the actors);
    `prepare` runs before it on a CPU, without the engine, and reports parts left out. Rows are plain JSON values.
    """

    name: str
    directory: Path
    work: Work
    engine: EngineConfig
    prepare: Prepare | None = None
    commit_records: int = 32
    commit_seconds: float = 30.0

    @property
    def slots(self) -> int:
        """Batches an actor holds at once: twice what fills the engine, and those that wait for their commit."""
        return -(-(2 * self.engine.concurrency + self.commit_records) // BATCH)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Names the stage that a failure inside comes from (the innermost wins)."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, "stage"):
            error.stage = name  # type: ignore[attr-defined]
        raise


@contextmanager
def boundary(record_id: str, attempt: int, failures: list[Failure]) -> Iterator[None]:
    """THE record boundary: what one record raises becomes its quarantine row; a failing system still raises."""
    try:
        yield
    except (EngineError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        found = str(getattr(error, "stage", "work"))
        message = " ".join(str(error).split()) or type(error).__name__
        name = str(getattr(error, "error", type(error).__name__))
        failures.append(Failure(record_id, found, name, message, attempt=attempt))


def packed(row: Row, attempt: int = 1) -> dict[str, Any]:
    """A row as it travels: flat columns whose types never depend on the data."""
    return {"id": str(row["id"]), "attempt": attempt, "row": json.dumps(row, ensure_ascii=False), "failures": "[]"}


def prepared(task: Pass, travelling: Mapping[str, Any]) -> dict[str, Any]:
    """`task.prepare` on a packed row; if it fails as a whole, its row is empty and a failure says why."""
    attempt = int(travelling["attempt"])
    row: Row = {}
    failures: list[Failure] = []
    with boundary(travelling["id"], attempt, failures), stage("prepare"):
        assert task.prepare is not None
        row, parts = task.prepare(json.loads(travelling["row"]))
        failures.extend(dataclasses.replace(part, attempt=attempt) for part in parts)
    return {
        **travelling,
        "row": json.dumps(row, ensure_ascii=False),
        "failures": json.dumps([to_row(failure) for failure in failures], ensure_ascii=False),
    }


def _given_up(travelling: Mapping[str, Any], deaths: int) -> dict[str, Any]:
    """The row with a failure that keeps it from being run once more."""
    message = f"the engine's process died {deaths} times while this record was in flight"
    failure = Failure(travelling["id"], "work", "EngineDied", message, attempt=int(travelling["attempt"]))
    return {**travelling, "failures": json.dumps([*json.loads(travelling["failures"]), to_row(failure)])}


@dataclass
class _Open:
    """The part being filled; `written` is resolved once it is on disk."""

    written: asyncio.Future[None]
    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    records: int = 0


class Worker:
    """Runs batches of packed rows over one engine, at most `engine.concurrency` requests and records at once."""

    def __init__(self, task: Pass, engine: Engine) -> None:
        self._task, self._engine = task, engine
        self._store = Store(task.directory)
        self._requests = asyncio.Semaphore(task.engine.concurrency)
        self._records = asyncio.Semaphore(task.engine.concurrency)
        self._running = 0
        self._open: _Open | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def run(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One status row a row, given back when all of them are on disk. Raises EngineError when the engine fails."""
        async with self._lock:
            deaths = await asyncio.to_thread(self._store.begin, rows[0]["id"])
            done = await asyncio.to_thread(self._store.done)
        if deaths >= DEATHS:
            rows = [_given_up(row, deaths) for row in rows]
        self._running += len(rows)
        statuses = await asyncio.gather(*(self._record(row, row["id"] in done) for row in rows))
        self._store.end(rows[0]["id"])
        return list(statuses)

    async def _record(self, travelling: Mapping[str, Any], done: bool) -> dict[str, Any]:
        usage = Usage()
        failures = [from_row(Failure, failure) for failure in json.loads(travelling["failures"])]
        result: Result | None = None
        try:
            failed = any(not failure.item for failure in failures)
            if not done and not failed:
                async with self._records:
                    result, usage = await self._attempt(travelling, failures)
        finally:
            self._running -= 1
        if done:
            self._commit_if_idle()
        else:
            await self._kept(result, failures)
        errors = [failure.error for failure in failures]
        return {"id": travelling["id"], "ok": done or result is not None, "errors": json.dumps(errors), **to_row(usage)}

    async def _attempt(self, travelling: Mapping[str, Any], failures: list[Failure]) -> tuple[Result | None, Usage]:
        costs: list[Usage] = []

        async def generate(request: Request) -> Reply:
            async with self._requests:
                reply = await self._engine.generate(request)
            costs.append(reply.usage)
            return reply

        result: Result | None = None
        with boundary(travelling["id"], int(travelling["attempt"]), failures):
            row = await self._task.work(json.loads(travelling["row"]), generate)
            result = Result(travelling["id"], json.loads(json.dumps(row)), sum(costs, Usage()))
        return result, sum(costs, Usage())

    async def _kept(self, result: Result | None, failures: Sequence[Failure]) -> None:
        """Put a record into the open part and wait until that is on disk."""
        loop = asyncio.get_running_loop()
        if self._open is None:
            self._open = _Open(loop.create_future())
            loop.call_later(self._task.commit_seconds, self._commit, self._open)
        part = self._open
        part.records += 1
        part.failures.extend(failures)
        if result:
            part.results.append(result)
        if part.records >= self._task.commit_records:
            self._commit(part)
        self._commit_if_idle()
        await asyncio.shield(part.written)

    def _commit_if_idle(self) -> None:
        if self._running == 0 and self._open is not None:
            self._commit(self._open)

    def _commit(self, part: _Open) -> None:
        if part is self._open:
            self._open = None
            task = asyncio.get_running_loop().create_task(self._write(part))
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _write(self, part: _Open) -> None:
        try:
            async with self._lock:
                await asyncio.to_thread(self._store.write, part.results, part.failures)
        except OSError as error:
            part.written.set_exception(EngineError(f"results cannot be written to {self._task.directory}: {error}"))
        else:
            part.written.set_result(None)
