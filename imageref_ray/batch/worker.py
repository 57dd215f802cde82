"""What runs beside an engine: rows in → many coroutines over one engine → committed results, status rows out.

Knows nothing of Ray. Every status row is about a record that is on disk, as a result or in the quarantine, or about
one that was not begun because the run is to stop. A batch that is run a second time runs only what is missing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageref_ray.batch import attempts, reply_cache
from imageref_ray.batch.attempts import StopFlag
from imageref_ray.batch.budget import Budget
from imageref_ray.batch.crash_isolation import CrashIsolation, narrowed
from imageref_ray.batch.ledger import Ledger
from imageref_ray.batch.metered_engine import MeteredEngine
from imageref_ray.batch.part_writer import PartWriter
from imageref_ray.batch.refused_images import naming
from imageref_ray.batch.store import Result, Store
from imageref_ray.core.config import ConfigError, EngineConfig
from imageref_ray.core.durable import DiskError
from imageref_ray.core.records import Failure, Usage, from_row, to_row
from imageref_ray.core.text import json_text, well_formed
from imageref_ray.engines.base import Engine, EngineError, Generate, ImageRefused, Reply, Request, RequestError, name_of

Row = dict[str, Any]
Work = Callable[[Row, Generate], Awaitable[Row]]
Prepare = Callable[[Row], tuple[Row, tuple[Failure, ...]]]

BATCH = 8
"""Fewest records handed to an actor at a time: few, so that a slow record delays few others."""

SPARES = 8
"""Engines beyond a pool's size that may be started while no record is finished; after that, no record is at fault."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of `work` over rows with one engine pool.

    `work` turns a row into a result row (a module-level function or a partial of one: it is sent to the actors), whose
    `left_out`, if it has any, are failures (as rows) of parts that the work went on without;
    `prepare` runs before it on a CPU, without the engine, and returns failures for the parts it leaves out. Rows are
    plain JSON values. With a `weight` (how long a row's prompts are, in any unit) the heaviest row goes first, and the
    run ends early, before it has cost much, if the engine refuses that row. With a `budget` no record begins that it
    has no room for (`ledger.py`), and then the run stops.
    """

    name: str
    directory: Path
    work: Work
    engine: EngineConfig
    prepare: Prepare | None = None
    commit_records: int = 32
    commit_seconds: float = 30.0
    weight: Callable[[Row], float] | None = None
    budget: Budget | None = None
    replies: Path | None = None
    """The reply cache's file; None: one in the run directory."""
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
def boundary(record_id: str, tries: int) -> Iterator[list[Failure]]:
    """THE record boundary: an error of one record becomes a quarantine row in the list that is given; an error of the
    system (the engine, the memory, the disk) is raised."""
    failures: list[Failure] = []
    try:
        yield failures
    except (EngineError, MemoryError, DiskError):
        raise
    except Exception as error:  # noqa: BLE001
        stage_name = str(getattr(error, "stage", "work"))
        message = " ".join(str(error).split()) or type(error).__name__
        failures.append(Failure(record_id, stage_name, name_of(error), message, attempt=tries))


def packed(row: Row, tries: int = 1) -> dict[str, Any]:
    """A row as Ray moves it: flat columns whose types never depend on the data; `tries` counts this try, too."""
    return {"id": well_formed(str(row["id"])), "tries": tries, "row": json_text(row), "failures": "[]"}


def prepared(task: Pass, packed_row: Mapping[str, Any]) -> dict[str, Any]:
    """`task.prepare` on a packed row; if it fails as a whole, its row is empty and a failure says why."""
    if task.prepare is None:
        return dict(packed_row)
    tries = int(packed_row["tries"])
    row: Row = {}
    with boundary(packed_row["id"], tries) as failures, stage("prepare"):
        row, parts = task.prepare(json.loads(packed_row["row"]))
        failures.extend(dataclasses.replace(part, attempt=tries) for part in parts)
    return {
        **packed_row,
        "row": json_text(row),
        "failures": json_text([to_row(failure) for failure in failures]),
    }


class ImagesNotSeen(RequestError):
    """Images were given, and the engine counted no token of them."""


def seeing(generate: Generate) -> Generate:
    """`generate` that raises ImagesNotSeen where the engine counts image tokens and a request's images have none."""

    async def checked(request: Request) -> Reply:
        reply = await generate(request)
        if request.images and reply.images_counted and not reply.usage.image_tokens:
            raise ImagesNotSeen(
                f"the engine counted no tokens for the {len(request.images)} images of a request, so the model answers "
                "without seeing them; set engine.model to a model that reads images, or serve it with its image "
                "processor and chat template (preflight: false runs it as it is)"
            )
        return reply

    return checked


def _status(record_id: str, ok: bool = False, usage: Usage | None = None, *, skipped: bool = False) -> dict[str, Any]:
    return {"id": record_id, "ok": ok, "skipped": skipped, **to_row(usage or Usage())}


def _crash(packed_row: Mapping[str, Any]) -> Failure:
    message = "the engine crashed at least 3 times while this record was in flight, the last time with no other record"
    return Failure(packed_row["id"], "work", "EngineDied", message, attempt=int(packed_row["tries"]))


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a record ended: with a result, or with failures of which one is the whole record's; and what it cost."""

    result: Result | None
    failures: Sequence[Failure]
    usage: Usage = field(default_factory=Usage)


class Worker:
    """Runs batches of packed rows over one engine, at most `engine.concurrency` requests and records at once.

    Batches over which an engine crashed run as `CrashIsolation` says; the record at fault goes to the quarantine.
    Raises EngineError where one engine after another crashes and no record is finished.
    """

    def __init__(
        self,
        task: Pass,
        engine: Engine,
        cache: reply_cache.ReplyCache | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._task, self._ledger, self._name = task, ledger, uuid.uuid4().hex
        self._store = Store(task.directory, task.attempt)
        _check_starts(self._store.ready(), narrowed(task.directory), task)
        self._stop = StopFlag(task.directory, task.attempt)
        self._engine = MeteredEngine(engine, task.engine, cache)
        self._writer = PartWriter(self._store, task.commit_records, task.commit_seconds)
        self._isolation = CrashIsolation(self._store)
        self._places = asyncio.Semaphore(task.engine.concurrency)
        self._heartbeat: asyncio.Task[None] | None = None

    async def run(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One status row for every row, once all of them are on disk. Raises EngineError when the engine fails."""
        if self._stopping():
            return [_status(row["id"], skipped=True) for row in rows]
        if not self._heartbeat:
            self._heartbeat = asyncio.create_task(self._beat())
        elif self._heartbeat.done():
            self._heartbeat.result()  # only an error ends it, and without it others take this engine for dead
        done = await self._writer.done()
        async with self._isolation.batch(rows[0]["id"]) as one_by_one:
            self._writer.expect(len(rows))
            return list(await asyncio.gather(*(self._record(row, row["id"] in done, one_by_one) for row in rows)))

    async def _record(self, packed_row: Mapping[str, Any], done: bool, one_by_one: bool) -> dict[str, Any]:
        """Run one record unless it is done, and wait until it is on disk; its status row."""
        turn = self._isolation.record(packed_row["id"]) if one_by_one and not done else nullcontext(False)
        async with turn as crashed:  # until it is on disk, so that the crash of the next one does not take it along
            try:
                outcome = None if done else await self._outcome(packed_row, crashed)
            except BaseException:
                self._writer.skip()
                raise
            if outcome is None:
                self._writer.skip()
                return _status(packed_row["id"], ok=done, skipped=not done)
            await self._writer.put(outcome.result, outcome.failures, at_once=one_by_one)
            if self._ledger:
                await self._ledger.committed(packed_row["id"])
        return _status(packed_row["id"], ok=outcome.result is not None, usage=outcome.usage)

    async def _outcome(self, packed_row: Mapping[str, Any], crashed: bool) -> _Outcome | None:
        """How a record ends, over which an engine `crashed` when it ran alone; None where it is not begun because the
        run is to stop."""
        left_out = [from_row(Failure, failure) for failure in json.loads(packed_row["failures"])]
        if any(not failure.item for failure in left_out):
            return _Outcome(None, left_out)
        async with self._places:
            if self._stopping():
                return None
            if crashed:
                return _Outcome(None, [*left_out, _crash(packed_row)])
            if self._ledger is None:
                return await self._try(packed_row, left_out)
            return await self._within_budget(self._ledger, packed_row, left_out)

    async def _within_budget(
        self, ledger: Ledger, packed_row: Mapping[str, Any], left_out: Sequence[Failure]
    ) -> _Outcome | None:
        """`_try` where the budget has room for the record; None where it has not."""
        id, weight = packed_row["id"], self._task.weight
        heavy = max(weight(json.loads(packed_row["row"])), 1.0) if weight else 1.0
        if not await ledger.reserve(self._name, id, int(packed_row["tries"]), heavy):
            attempts.ask_to_stop(self._task.directory, self._task.attempt)  # nothing begins any more, wherever it is
            return None
        outcome = None if self._stopping() else await self._try(packed_row, left_out)
        usage = outcome.usage if outcome else Usage()
        if self._task.budget and self._task.budget.uncounted(usage):
            raise ConfigError(
                "the engine does not count tokens, so that a budget of them would never be used up; remove max_budget, "
                "or use an endpoint whose replies have a usage"
            )
        await ledger.settle(id, usage)
        return outcome

    async def _try(self, packed_row: Mapping[str, Any], left_out: Sequence[Failure]) -> _Outcome:
        """The record's work on the engine, inside the record boundary."""
        bill: list[Usage] = []
        row: Row = {}
        with boundary(packed_row["id"], int(packed_row["tries"])) as failures:
            generate = naming(self._engine.billed(bill))
            generate = seeing(generate) if packed_row["id"] == self._task.heaviest else generate
            row = await self._task.work(json.loads(packed_row["row"]), generate)
            row = json.loads(json.dumps(row))  # what JSON cannot hold is this record's failure, not the part's
            parts = (from_row(Failure, part) for part in row.pop("left_out", ()))
            left_out = [*left_out, *(dataclasses.replace(part, attempt=int(packed_row["tries"])) for part in parts)]
        usage = sum(bill, Usage())
        if not failures:
            return _Outcome(Result(packed_row["id"], row, usage), left_out, usage)
        self._check_preflight(failures)
        return _Outcome(None, [*left_out, *(dataclasses.replace(failure, usage=usage) for failure in failures)], usage)

    def _check_preflight(self, failures: Sequence[Failure]) -> None:
        """Raise ConfigError if the engine refused the heaviest record, as it would refuse others, hours later, or does
        not see its images."""
        for failure in failures:
            if failure.record_id == self._task.heaviest and failure.error == ImagesNotSeen.__name__:
                raise ConfigError(f"{failure.record_id} ({failure.stage}): {failure.message}")
            refused = failure.error in (RequestError.__name__, ImageRefused.__name__)
            if failure.record_id == self._task.heaviest and refused:
                raise ConfigError(
                    f"the heaviest record, {failure.record_id}, does not fit the engine ({failure.stage}: "
                    f"{failure.message}); raise the engine's limits, make prompts shorter (in a build: max_images, "
                    "context_tokens), or set preflight: false to quarantine such records"
                )

    def _stopping(self) -> bool:
        """Whether nothing more is to be begun: the driver asked to stop, or results can no longer be written."""
        return self._writer.failed or self._stop.is_set()

    async def _beat(self) -> None:
        while True:
            await asyncio.to_thread(self._store.alive)
            await self._engine.alive()
            await asyncio.sleep(reply_cache.LEASE_S / 4)


def _check_starts(started: int, narrowed_down: int, task: Pass) -> None:
    """Raise EngineError if so many engines started since the last result that no single record can be at fault.

    A crash that narrowed the search down to one of the batches in flight (`narrowed_down` of them) does not count: each
    may hold a record at fault, and there are only as many as were in flight at once.
    """
    if started > task.engine.actors[1] + SPARES + narrowed_down:
        raise EngineError(f"{started - 1} engines crashed before finishing a record")
