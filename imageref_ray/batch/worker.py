"""What runs beside an engine: rows in → many coroutines over one engine → committed results, status rows out.

Knows nothing of Ray. Every status row that comes back stands for a record that is on disk, as a result or in
the quarantine, or for one that was not begun because the run is to stop: whoever is given a batch a second time
runs only what is missing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from imageref_ray.batch import attempts as attempts
from imageref_ray.batch import manifest, reply_cache
from imageref_ray.batch.crash_isolation import Suspects
from imageref_ray.batch.store import Result, Store
from imageref_ray.core.config import ConfigError, EngineConfig
from imageref_ray.core.records import Failure, Usage, from_row, json_text, to_row, well_formed
from imageref_ray.engines.base import Engine, EngineError, Generate, Reply, Request, RequestError

Row = dict[str, Any]
Work = Callable[[Row, Generate], Awaitable[Row]]
Prepare = Callable[[Row], tuple[Row, tuple[Failure, ...]]]

BATCH = 8
"""Least records handed to an actor at a time: few, so that a slow record holds up little."""

SPARES = 8
"""So many engines more than a pool holds may be started while no record is finished; then it is not the records."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One walk over rows with one engine pool.

    `work` makes a result row of a row (a module-level function or a partial of one: it travels to the actors);
    `prepare` runs before it on a CPU, without the engine, and reports parts left out. Rows are plain JSON values.
    With a `weight` (how long a row's prompts are, in any unit) the heaviest row goes first, and the run ends before
    it has cost much if the engine refuses that one. `budget` gives the reason to stop once too much is spent.
    """

    name: str
    directory: Path
    work: Work
    engine: EngineConfig
    prepare: Prepare | None = None
    commit_records: int = 32
    commit_seconds: float = 30.0
    weight: Callable[[Row], float] | None = None
    budget: Callable[[Usage], str] | None = None
    replies: Path | None = None
    """The file of shared replies; None: one in the directory."""
    patience_s: float = 1800.0
    """Seconds without a finished record after which the run is given up."""
    attempt: int = 0
    heaviest: str = ""
    """Both are filled in by `run_pass`: the number of this attempt, and the id of the heaviest row."""


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
    return {"id": well_formed(str(row["id"])), "attempt": attempt, "row": json_text(row), "failures": "[]"}


def prepared(task: Pass, travelling: Mapping[str, Any]) -> dict[str, Any]:
    """`task.prepare` on a packed row; if it fails as a whole, its row is empty and a failure says why."""
    attempt = int(travelling["attempt"])
    row: Row = {}
    failures: list[Failure] = []
    if task.prepare is None:
        return dict(travelling)
    with boundary(travelling["id"], attempt, failures), stage("prepare"):
        row, parts = task.prepare(json.loads(travelling["row"]))
        failures.extend(dataclasses.replace(part, attempt=attempt) for part in parts)
    return {
        **travelling,
        "row": json_text(row),
        "failures": json_text([to_row(failure) for failure in failures]),
    }


def _status(record_id: str, ok: bool = False, usage: Usage | None = None, *, skipped: bool = False) -> dict[str, Any]:
    return {"id": record_id, "ok": ok, "skipped": skipped, **to_row(usage or Usage())}


def _deadly(travelling: Mapping[str, Any]) -> Failure:
    message = "three engines or more died over this record, the last while it did nothing else"
    return Failure(travelling["id"], "work", "EngineDied", message, attempt=int(travelling["attempt"]))


@dataclass
class _Open:
    """The part being filled; `written` is resolved once it is on disk."""

    written: asyncio.Future[None]
    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    records: int = 0


class Worker:
    """Runs batches of packed rows over one engine, at most `engine.concurrency` requests and records at once.

    What engines died over is run as `Suspects` says; the record that is found to kill goes to the quarantine.
    Raises EngineError where one engine after another dies and nothing is finished.
    """

    def __init__(self, task: Pass, engine: Engine, shared: reply_cache.Memo | None = None) -> None:
        self._task, self._engine, self._memo = task, engine, shared
        self._name, self._identity = uuid.uuid4().hex, manifest.fingerprint(manifest.engine_settings(task.engine))
        self._store = Store(task.directory, task.attempt)
        self._heartbeat: asyncio.Task[None] | None = None
        made = self._store.ready()
        if made > task.engine.actors[1] + SPARES:
            raise EngineError(f"{made - 1} engines were started one after another, and none lived to finish a record")
        self._looked, self._stop = 0.0, False
        self._requests = asyncio.Semaphore(task.engine.concurrency)
        self._records = asyncio.Semaphore(task.engine.concurrency)
        self._suspects = Suspects(self._store)
        self._running = 0
        self._open: _Open | None = None
        self._writes: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def run(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One status row a row, given back when all of them are on disk. Raises EngineError when the engine fails."""
        if self._stopping():
            return [_status(row["id"], skipped=True) for row in rows]
        if not self._heartbeat:
            self._heartbeat = asyncio.create_task(self._beat())
        elif self._heartbeat.done():
            self._heartbeat.result()  # it only ends by an error, and others would take this engine for dead
        async with self._lock:
            done = await asyncio.to_thread(self._store.done)
        async with self._suspects.batch(rows[0]["id"]) as suspect:
            self._running += len(rows)
            return list(await asyncio.gather(*(self._record(row, row["id"] in done, suspect) for row in rows)))

    async def _record(self, travelling: Mapping[str, Any], done: bool, suspect: bool) -> dict[str, Any]:
        usage = Usage()
        failures = [from_row(Failure, failure) for failure in json.loads(travelling["failures"])]
        result: Result | None = None
        skipped = False
        try:
            failed = any(not failure.item for failure in failures)
            if not done and not failed:
                room = self._suspects.alone(travelling["id"]) if suspect else nullcontext(False)
                async with room as deadly, self._records:
                    skipped = self._stopping()
                    if deadly:
                        failures.append(_deadly(travelling))
                    elif not skipped:
                        result, usage = await self._attempt(travelling, failures)
        finally:
            self._running -= 1
        if done or skipped:
            self._commit_if_idle()
        else:
            await self._kept(result, failures)
        return _status(travelling["id"], done or result is not None, usage, skipped=skipped)

    async def _attempt(self, travelling: Mapping[str, Any], failures: list[Failure]) -> tuple[Result | None, Usage]:
        costs: list[Usage] = []

        async def ask(request: Request) -> Reply:
            async with self._requests:
                try:
                    reply = await self._engine.generate(request)
                except RequestError as error:
                    costs.append(error.usage)
                    raise
            costs.append(reply.usage)
            return dataclasses.replace(reply, texts=tuple(map(well_formed, reply.texts)))

        async def generate(request: Request) -> Reply:
            if not request.shared or self._memo is None:
                return await ask(request)
            return await reply_cache.once(
                self._memo, reply_cache.key(request, self._identity), self._name, partial(ask, request)
            )

        result: Result | None = None
        found: list[Failure] = []
        with boundary(travelling["id"], int(travelling["attempt"]), found):
            row = await self._task.work(json.loads(travelling["row"]), generate)
            result = Result(travelling["id"], json.loads(json.dumps(row)), sum(costs, Usage()))
        self._check_preflight(found)
        failures.extend(dataclasses.replace(failure, usage=sum(costs, Usage())) for failure in found)
        return result, sum(costs, Usage())

    def _check_preflight(self, failures: Sequence[Failure]) -> None:
        """Raise ConfigError where the engine refused the heaviest record: it would refuse others, hours later."""
        for failure in failures:
            if failure.record_id == self._task.heaviest and failure.error == RequestError.__name__:
                raise ConfigError(
                    f"the heaviest record, {failure.record_id}, does not fit the engine ({failure.stage}: "
                    f"{failure.message}); change the engine's limits, lower max_images or context_tokens, or set "
                    "preflight: false to leave such records in the quarantine"
                )

    def _stopping(self) -> bool:
        """Whether the driver wants an end (looked up at most twice a second)."""
        if not self._stop and time.monotonic() - self._looked > 0.5:
            self._looked = time.monotonic()
            self._stop = attempts.stopping(self._task.directory, self._task.attempt)
        return self._stop

    async def _beat(self) -> None:
        while True:
            await asyncio.to_thread(self._store.alive)
            if self._memo:
                await self._memo.alive(self._name)
            await asyncio.sleep(reply_cache.LEASE_S / 4)

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
            task.add_done_callback(partial(self._written, part))

    async def _write(self, part: _Open) -> None:
        async with self._lock:
            await asyncio.to_thread(self._store.write, part.results, part.failures)

    def _written(self, part: _Open, write: asyncio.Task[None]) -> None:
        """Tell those who wait how the write ended; any error ends the run, or they would wait for ever."""
        self._writes.discard(write)
        if write.cancelled():
            part.written.cancel()
        elif (error := write.exception()) is None:
            part.written.set_result(None)
        else:
            self._stop = True  # nothing more is asked for that could not be kept
            part.written.set_exception(EngineError(self._told(error)))

    def _told(self, error: BaseException) -> str:
        if isinstance(error, attempts.Superseded):
            return str(error)
        name = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        return f"results cannot be written to {self._task.directory}: {name}{error}"
