"""The only file that imports ray.data: rows → CPU step → autoscaling pool of engine actors → status rows.

    rows ─▶ work queue ─▶ prepare (a tenth of a CPU) ─▶ actors (an engine, many coroutines) ─▶ status rows ─▶ driver
                                                             ├─▶ Parquet parts, written where the engine is
                                                             └─◀▶ reply cache

Rows carry paths and hashes. Results never travel back: an actor commits them, the driver reads them when all is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from imageref_ray import engines
from imageref_ray.batch import attempts, cluster, ledger, reply_cache, store, work_queue
from imageref_ray.batch.manifest import write_json
from imageref_ray.batch.outcome import REASON
from imageref_ray.batch.progress import COSTS, Display
from imageref_ray.batch.shared_actors import (
    RemoteLedger,
    RemoteReplyCache,
    last_named,
    start_ledger,
    start_reply_cache,
)
from imageref_ray.batch.watchdog import Stalled, Stopped, Watchdog, signals
from imageref_ray.batch.work_queue import WorkQueue
from imageref_ray.batch.worker import BATCH, Pass, Row, Worker, packed, prepared
from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import DiskError, make_folder
from imageref_ray.core.records import Failure
from imageref_ray.core.text import well_formed
from imageref_ray.engines.base import EngineDied, EngineError

LOG = "run.log"
PREPARE_CPUS, PREPARE_MOST = 0.1, 16
"""CPUs of one process of the CPU step: few, so that one fits beside engines that take nearly all. And how many of these
processes there may be for each engine that the pool may have: a cluster's first size is not its last."""

GROW_AT = 0.9
"""Share of a pool's slots in use from which another engine is started. Ray Data's own default, 1.75, is for actors that
accept more blocks than they work on; ours work on all of their blocks, so their share never exceeds 1."""

_TEXT, _NUMBER = pa.string(), pa.int64()
_PACKED = pa.struct([("id", _TEXT), ("tries", _NUMBER), ("row", _TEXT), ("failures", _TEXT)])
_BLOCK = pa.schema([("rows", pa.list_(_PACKED))])
"""A block is one row, so that a batch of one row is a block, however many records it holds: Ray Data wants a batch size
where GPUs are asked for, and joins or splits blocks to meet it."""
_STATUS = pa.schema([("id", _TEXT), ("ok", pa.bool_()), ("skipped", pa.bool_()), *((name, _NUMBER) for name in COSTS)])


def run_pass(task: Pass, rows: Iterable[Row | Failure], again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run `task` over every row (plain JSON values with an `"id"`) that has no outcome yet; returns `summary`.

    Records that are committed or quarantined have an outcome; those in the quarantine whose id is in `again` run again.
    Failures among the rows happened before the pass: they go to its quarantine. Rows are read one by one into a file.
    Raises ConfigError for what the user can fix, EngineError when the engine fails or no record is finished for too
    long, Stopped when it was asked to stop; an error of one record is in the quarantine. Call it again to resume.
    """
    make_folder(task.directory)
    task = dataclasses.replace(task, attempt=attempts.begin(task.directory))
    store.sweep(task.directory)
    (task.directory / REASON).unlink(missing_ok=True)
    account = store.account(task.directory)
    new: list[Failure] = []
    queue = work_queue.write(task.directory, _remaining(task, rows, account, new, again), BATCH)
    store.Store(task.directory, task.attempt).write([], new)
    if queue.count:
        _check_budget(task, account, queue.count)
        engines.check(task.engine)
        _run(dataclasses.replace(task, heaviest=queue.heaviest), queue, account)
    work_queue.clear(task.directory)
    return summary(task.directory)


def _check_budget(task: Pass, account: store.Account, remaining: int) -> None:
    """Raise Stopped where the budget has no room for any of the remaining records."""
    ledger.take_over(task.directory, account)
    if task.budget:
        used = task.budget.used(account.spent + ledger.lost(task.directory), task.directory)
        if reason := task.budget.refusal(used, ledger.mean_cost(task.budget, task.directory, account)):
            raise Stopped(f"{reason}: no engine was started for the {remaining} remaining records")


def _remaining(
    task: Pass, rows: Iterable[Row | Failure], account: store.Account, new: list[Failure], again: frozenset[str]
) -> Iterator[tuple[dict[str, Any], float | None]]:
    """The packed rows without an outcome, with their weights; failures not known yet are appended to `new`."""
    known, tries = set(account.failures), store.tries(account.failures)
    for row in rows:
        if isinstance(row, Failure):
            new.extend([row] if row not in known else [])
        elif (id := str(row["id"])) not in account.done and (id not in tries or id in again):
            yield packed(row, tries.get(id, 0) + 1), task.weight(row) if task.weight else None


def summary(directory: Path, before: Sequence[Path] = ()) -> dict[str, Any]:
    """What is on disk: records, quarantined (whole records), problems (error → failures, the commonest first), costs
    and seconds so far.

    Costs and seconds include those of the passes in `before`.
    """
    account = store.account(directory)
    failures = account.failures
    usage = sum((store.spent(one) for one in before), account.spent)
    seconds = sum(store.seconds(one) for one in (directory, *before))
    return {
        "records": len(account.done),
        "quarantined": len({failure.record_id for failure in failures if not failure.item}),
        "problems": dict(_by_count(Counter(failure.error for failure in failures))),
        **{name: getattr(usage, name) for name in COSTS},
        "seconds": round(seconds, 2),
        "tokens_per_second": round(usage.generated_tokens / seconds, 1) if seconds else 0.0,
    }


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _run(task: Pass, queue: WorkQueue, account: store.Account) -> None:
    log = task.directory / LOG

    def ask_to_stop(reason: str) -> None:
        attempts.ask_to_stop(task.directory, task.attempt)
        display.print(f"{reason}: finishing the records in flight (press Ctrl-C again to stop at once)")

    watchdog = Watchdog(task.patience_s, ask_to_stop, partial(store.idle, task.directory))
    with (
        cluster.output_to(log) as screen,
        cluster.connected(log),
        Display(task.name, queue.count, log, screen) as display,
        signals(watchdog.stop),
    ):
        book = start_ledger(task.budget, task.directory, account) if task.budget else None
        try:
            for statuses in watchdog.watch(_statuses(task, queue, book)):
                display.update(statuses)
                skipped = any(status["skipped"] for status in statuses)
                if book and skipped and not watchdog.reason and (reason := ray.get(book.refusal.remote())):
                    watchdog.stop(reason)
        except Stalled as error:
            raise EngineError(f"{error}: {display.state}; {cluster.state()} (log: {log})") from None
        except (RayError, RuntimeError) as error:
            raise _cause(error, task.directory) from error
    if watchdog.reason:
        raise Stopped(f"{watchdog.reason}: {display.state}; run the same command again to resume")


def _statuses(task: Pass, queue: WorkQueue, book: Any = None) -> Iterator[list[dict[str, Any]]]:
    """Status rows as they come, one list per batch; `book` is the actor with the budget's ledger."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # For every batch in flight a thread would add up the whole process's memory pages once a second: an engine has many
    # of both, and this took a sixth of two cores.
    context.memory_usage_poll_interval_s = None
    context.autoscaling_config.actor_pool_util_upscaling_threshold = GROW_AT
    least, most = task.engine.actors
    width = _width(task, queue)
    blocks = [{"first": n, "end": min(n + width, queue.batches)} for n in range(0, queue.batches, width)]
    data = ray.data.from_items(blocks, override_num_blocks=len(blocks))
    data = data.map_batches(
        partial(_prepare, task, queue),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=PREPARE_CPUS,
        concurrency=_preparing(most),
    )
    # Three times what fills the engine, since a block stays until its slowest record is done, and what awaits a commit.
    slots = -(-(3 * task.engine.concurrency + task.commit_records) // (width * queue.size))
    pool = ray.data.ActorPoolStrategy(
        min_size=least,
        max_size=most,
        max_tasks_in_flight_per_actor=slots,
        max_concurrent_calls_per_actor=slots,
    )
    data = data.map_batches(
        _EngineActor,
        fn_constructor_args=(task, start_reply_cache(task), book),
        batch_size=1,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=_cpus(task.engine.cpus, least),
        num_gpus=task.engine.gpus or None,
        accelerator_type=task.engine.accelerator_type,
        runtime_env={"env_vars": task.engine.env} if task.engine.env else None,
    )
    for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield batch.to_pylist()


def _width(task: Pass, queue: WorkQueue) -> int:
    """Batches in a block: half of what an engine runs at once, since Ray Data moves only some tens of blocks a second
    and stores kilobytes for each, but so few that every engine of the pool gets at least four blocks."""
    return max(1, min(task.engine.concurrency // (2 * queue.size), queue.batches // (4 * task.engine.actors[1])))


def _prepare(task: Pass, queue: WorkQueue, batch: pa.Table) -> pa.Table:
    (block,) = batch.to_pylist()
    rows = [row for number in range(block["first"], block["end"]) for row in work_queue.read(queue, number)]
    return pa.Table.from_pylist([{"rows": [prepared(task, row) for row in rows]}], schema=_BLOCK)


class _EngineActor:
    """One engine and the coroutines over it, in one Ray actor."""

    def __init__(self, task: Pass, cache: Any, book: Any) -> None:
        cluster.redirect_output(task.directory / LOG)
        self._reason = task.directory / REASON
        with self._reporting():
            replies = reply_cache.SqliteReplyCache(cache) if isinstance(cache, Path) else RemoteReplyCache(cache)
            self._worker = Worker(task, engines.make(task.engine), replies, RemoteLedger(book) if book else None)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        with self._reporting():
            (block,) = batch.to_pylist()
            return pa.Table.from_pylist(await self._worker.run(block["rows"]), schema=_STATUS)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Write the reason of a failure where the driver reads it: Ray passes on only an error's text."""
        try:
            yield
        except EngineDied:
            with suppress(OSError):  # a full disk has no room for the log either
                traceback.print_exc()
            os._exit(1)  # Ray replaces this actor and runs its batches again
        except Exception as error:
            kind = "config" if isinstance(error, ConfigError) else "engine"
            told = ConfigError | EngineError | DiskError
            text = str(error) if isinstance(error, told) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk: what Ray passes on has to do
                write_json(self._reason, {"kind": kind, "message": well_formed(" ".join(text.split()))})
            raise


def _preparing(engines: int) -> int:
    """Most processes of the CPU step; without a cluster as many as there are CPUs: each takes seconds to start."""
    most = PREPARE_MOST * engines
    return most if os.environ.get("RAY_ADDRESS") else min(most, max(2, int(ray.cluster_resources().get("CPU", 0))))


def _cpus(wanted: float, actors: int) -> float:
    """CPUs of one actor: as wanted, or less where the smallest pool would leave none for the CPU step (a laptop)."""
    room = (ray.cluster_resources().get("CPU", 0) - 2 * PREPARE_CPUS) / actors
    return round(min(wanted, room), 2) if room > 0 and not os.environ.get("RAY_ADDRESS") else wanted


def _cause(error: BaseException, run: Path) -> Exception:
    """The reason that an actor wrote down, else the last error named in what Ray raised; both name the log."""
    if (run / REASON).is_file():
        reason = json.loads((run / REASON).read_text(encoding="utf-8"))
        if reason["kind"] == "config":
            return ConfigError(reason["message"])
        return EngineError(f"{reason['message']} (log: {run / LOG})")
    return EngineError(f"the run stopped: {last_named(error)} (log: {run / LOG})")
