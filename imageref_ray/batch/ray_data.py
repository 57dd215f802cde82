"""The only file that imports ray.data: rows → CPU step → autoscaling pool of engine actors → status rows.

    rows ─▶ todo file ─▶ prepare (a tenth of a CPU) ─▶ actors (an engine, many coroutines) ─▶ status rows ─▶ driver
                                                            ├─▶ Parquet parts, written where the engine is
                                                            └─◀▶ the book of shared replies

Rows carry paths and hashes. Results never travel back: an actor commits them, the driver reads them when all is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imageref_ray import engines
from imageref_ray.batch import attempts, cluster, reply_cache, store, work_queue
from imageref_ray.batch.manifest import write_json
from imageref_ray.batch.progress import COSTS, Display
from imageref_ray.batch.watchdog import Stalled, Stopped, Watch, signals
from imageref_ray.batch.work_queue import Todo
from imageref_ray.batch.worker import BATCH, Pass, Row, Worker, packed, prepared
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Usage
from imageref_ray.engines.base import EngineDied, EngineError

LOG, REASON, REPLIES = "run.log", "reason.json", "replies.sqlite"
PREPARE_CPUS, PREPARE_MOST = 0.1, 16
"""Of one process of the CPU step: little, so that one fits beside engines that take nearly all. And how many there are
at most for each engine that the pool may have: what a cluster has at first does not say what it will have."""

GROW_AT = 0.9
"""Share of a pool's slots in use from which another engine is started. Ray Data's own default, 1.75, is for actors that
take in more blocks than they work on; ours work on all that they are given, so theirs never exceeds 1."""

_TEXT, _NUMBER = pa.string(), pa.int64()
_PACKED = pa.struct([("id", _TEXT), ("attempt", _NUMBER), ("row", _TEXT), ("failures", _TEXT)])
_BLOCK = pa.schema([("rows", pa.list_(_PACKED))])
"""A block is one row, so that a batch of one row is a block, however many records it holds: Ray Data wants a batch size
where GPUs are asked for, and joins or splits blocks to meet it."""
_STATUS = pa.schema([("id", _TEXT), ("ok", pa.bool_()), ("skipped", pa.bool_()), *((name, _NUMBER) for name in COSTS)])


def run_pass(task: Pass, rows: Iterable[Row | Failure], again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run `task` over every row (plain JSON values with an `"id"`) that is not accounted for yet; returns `summary`.

    Accounted for are records that are committed and records in the quarantine, but for those whose id is in `again`.
    Failures among the rows were found before the pass: they go to its quarantine. Rows are read one by one and held on
    disk. Raises ConfigError for what the user can mend, EngineError when the
    engine fails or nothing moves, Stopped when it was asked to end; what one record raises is in the quarantine.
    Call it again after any end: it goes on.
    """
    task.directory.mkdir(parents=True, exist_ok=True)
    task = dataclasses.replace(task, attempt=attempts.begin(task.directory))
    store.sweep(task.directory)
    (task.directory / REASON).unlink(missing_ok=True)
    held = store.account(task.directory)
    new: list[Failure] = []
    work = work_queue.write(task.directory, _left(task, rows, held, new, again), BATCH)
    store.Store(task.directory, task.attempt).write([], new)
    if work.count:
        if task.budget and (reason := task.budget(held.spent)):
            raise Stopped(f"{reason}: no engine was started for the {work.count} records that are left")
        engines.check(task.engine)
        _run(dataclasses.replace(task, heaviest=work.heaviest), work, held.spent)
    work_queue.clear(task.directory)
    return summary(task.directory)


def _left(
    task: Pass, rows: Iterable[Row | Failure], held: store.Account, new: list[Failure], again: frozenset[str]
) -> Iterator[tuple[dict[str, Any], float | None]]:
    """The packed rows that are not accounted for, with their weights; failures not known yet are put into `new`."""
    known, tried = set(held.failures), store.tries(held.failures)
    for row in rows:
        if isinstance(row, Failure):
            new.extend([row] if row not in known else [])
        elif (id := str(row["id"])) not in held.done and (id not in tried or id in again):
            yield packed(row, tried.get(id, 0) + 1), task.weight(row) if task.weight else None


def summary(directory: Path, before: Sequence[Path] = ()) -> dict[str, Any]:
    """What is on disk: records, quarantined (whole records), problems (reason → rows, the commonest first), costs and
    seconds so far.

    Costs and seconds are those of the passes in `before` as well.
    """
    held = store.account(directory)
    failures = held.failures
    usage = sum((store.spent(place) for place in before), held.spent)
    seconds = sum(store.seconds(place) for place in (directory, *before))
    return {
        "records": len(held.done),
        "quarantined": len({failure.record_id for failure in failures if not failure.item}),
        "problems": dict(_by_count(Counter(failure.error for failure in failures))),
        **{name: getattr(usage, name) for name in COSTS},
        "seconds": round(seconds, 2),
        "tokens_per_second": round(usage.generated_tokens / seconds, 1) if seconds else 0.0,
    }


def _by_count(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _run(task: Pass, work: Todo, spent: Usage) -> None:
    log = task.directory / LOG

    def ask(reason: str) -> None:
        attempts.ask_to_stop(task.directory, task.attempt)
        display.say(f"{reason}: finishing what is in flight (Ctrl-C again: stop at once)")

    watch = Watch(task.patience_s, ask, partial(store.idle, task.directory))
    with (
        cluster.noise_to(log) as screen,
        cluster.connected(log),
        Display(task.name, work.count, log, screen, spent) as display,
        signals(watch.stop),
    ):
        try:
            for statuses in watch.over(_statuses(task, work)):
                display.update(statuses)
                if task.budget and not watch.reason and (reason := task.budget(display.spent)):
                    watch.stop(reason)
        except Stalled as error:
            raise EngineError(f"{error}: {display.state}; {cluster.state()} (log: {log})") from None
        except (RayError, RuntimeError) as error:
            raise _cause(error, task.directory) from error
    if watch.reason:
        raise Stopped(f"{watch.reason}: {display.state}; the same command goes on")


def _statuses(task: Pass, work: Todo) -> Iterator[list[dict[str, Any]]]:
    """Status rows as they come, a list a batch."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # For every batch in flight a thread would add up the whole process's memory pages once a second: an engine has many
    # of both, and this took a sixth of two cores.
    context.memory_usage_poll_interval_s = None
    context.autoscaling_config.actor_pool_util_upscaling_threshold = GROW_AT
    least, most = task.engine.actors
    width = _width(task, work)
    blocks = [{"first": n, "end": min(n + width, work.batches)} for n in range(0, work.batches, width)]
    data = ray.data.from_items(blocks, override_num_blocks=len(blocks))
    data = data.map_batches(
        partial(_prepare, task, work),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=PREPARE_CPUS,
        concurrency=_preparing(most),
    )
    # Three times what fills the engine, for a block stays until its slowest record is done; and what awaits its commit.
    slots = -(-(3 * task.engine.concurrency + task.commit_records) // (width * work.size))
    pool = ray.data.ActorPoolStrategy(
        min_size=least,
        max_size=most,
        max_tasks_in_flight_per_actor=slots,
        max_concurrent_calls_per_actor=slots,
    )
    data = data.map_batches(
        _EngineActor,
        fn_constructor_args=(task, _book(task)),
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


def _width(task: Pass, work: Todo) -> int:
    """How many batches travel together: half of what an engine holds, since Ray Data moves some tens of blocks a second
    and keeps kilobytes of each, but never so many that an engine of the pool gets fewer than four blocks."""
    return max(1, min(task.engine.concurrency // (2 * work.size), work.batches // (4 * task.engine.actors[1])))


def _book(task: Pass) -> Any:
    """Where shared replies are kept: an actor beside the driver, for whoever runs an engine. A single engine on this
    machine opens the file itself: two calls to an actor cost as much as a short reply."""
    path = (task.replies or task.directory / REPLIES).absolute()
    alone = not os.environ.get("RAY_ADDRESS") and sum(node["Alive"] for node in ray.nodes()) == 1
    if alone and task.engine.actors[1] == 1:
        return path
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = ray.remote(reply_cache.Book).options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here)
    return keeper.remote(path)


def _prepare(task: Pass, work: Todo, batch: pa.Table) -> pa.Table:
    (block,) = batch.to_pylist()
    rows = [row for number in range(block["first"], block["end"]) for row in work_queue.read(work, number)]
    return pa.Table.from_pylist([{"rows": [prepared(task, row) for row in rows]}], schema=_BLOCK)


class _EngineActor:
    """One engine and the coroutines over it, in one Ray actor."""

    def __init__(self, task: Pass, book: Any) -> None:
        cluster.speak_to(task.directory / LOG)
        self._reason = task.directory / REASON
        with self._telling():
            shared = reply_cache.Book(book) if isinstance(book, Path) else _Book(book)
            self._worker = Worker(task, engines.make(task.engine), shared)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        with self._telling():
            (block,) = batch.to_pylist()
            return pa.Table.from_pylist(await self._worker.run(block["rows"]), schema=_STATUS)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Leave the reason of a failure where the driver finds it: of what Ray passes on, only text remains."""
        try:
            yield
        except EngineDied:
            traceback.print_exc()
            os._exit(1)  # Ray replaces this actor and gives its batches to others
        except Exception as error:
            kind = "config" if isinstance(error, ConfigError) else "engine"
            words = str(error) if isinstance(error, ConfigError | EngineError) else f"{type(error).__name__}: {error}"
            with suppress(OSError):  # a full disk: the text alone has to do
                write_json(self._reason, {"kind": kind, "message": " ".join(words.split())})
            raise


class _Book:
    """`memo.Memo` over the actor that holds the book."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def claim(self, key: str, owner: str) -> str | None:
        found: str | None = await self._ask("claim", key, owner)
        return found

    async def keep(self, key: str, value: str) -> None:
        """Not waited for: a reply that is lost on the way is asked for once more, and the next claim finds out why."""
        self._actor.keep.remote(key, value)

    async def drop(self, key: str) -> None:
        await self._ask("drop", key)

    async def alive(self, owner: str) -> None:
        await self._ask("alive", owner)

    async def _ask(self, method: str, *arguments: str) -> Any:
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except RayError as error:
            told = str(error).strip().splitlines()[0]
            raise EngineError(f"the shared replies cannot be read or written: {told}") from error


def _preparing(engines: int) -> int:
    """Processes of the CPU step at most; on this machine alone as many as it has CPUs: each takes seconds to start."""
    most = PREPARE_MOST * engines
    return most if os.environ.get("RAY_ADDRESS") else min(most, max(2, int(ray.cluster_resources().get("CPU", 0))))


def _cpus(wanted: float, actors: int) -> float:
    """CPUs of one actor: as wanted, less where the least pool would leave none for the step before it (a laptop)."""
    room = (ray.cluster_resources().get("CPU", 0) - 2 * PREPARE_CPUS) / actors
    return round(min(wanted, room), 2) if room > 0 and not os.environ.get("RAY_ADDRESS") else wanted


def _cause(error: BaseException, run: Path) -> Exception:
    """What an actor left as its reason, else the last error named in what Ray raised; both name the log."""
    if (run / REASON).is_file():
        reason = json.loads((run / REASON).read_text(encoding="utf-8"))
        if reason["kind"] == "config":
            return ConfigError(reason["message"])
        return EngineError(f"{reason['message']} (log: {run / LOG})")
    lines = str(error).strip().splitlines()
    named = [line for line in lines if re.match(r"(?!ray\.)[\w.]*(Error|Exception): ", line)]
    return EngineError(f"the run stopped: {(named or lines[:1])[-1]} (log: {run / LOG})")
