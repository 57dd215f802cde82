"""The only file that imports ray.data: rows → CPU step → autoscaling pool of engine actors → status rows.

    from_items ─▶ prepare (a fraction of a CPU) ─▶ actors (an engine, many coroutines) ─▶ status rows ─▶ driver
                                                     └─▶ Parquet parts, written where the engine is

Rows carry paths and hashes. Results never travel back: an actor commits them, the driver reads them when all is done.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError
from rich.console import Console

from imageref_ray import commit, engines
from imageref_ray.config import ConfigError
from imageref_ray.engines.base import EngineDied, EngineError
from imageref_ray.manifest import write_json
from imageref_ray.progress import COSTS, Display
from imageref_ray.records import Failure, Usage
from imageref_ray.worker import BATCH, Pass, Row, Worker, packed, prepared

LOG, REASON = "run.log", "reason.json"
PREPARE_CPUS = 0.1
_TEXT, _NUMBER = pa.string(), pa.int64()
_TRAVELLING = pa.schema([("id", _TEXT), ("attempt", _NUMBER), ("row", _TEXT), ("failures", _TEXT)])
_STATUS = pa.schema([("id", _TEXT), ("ok", pa.bool_()), ("errors", _TEXT), *((name, _NUMBER) for name in COSTS)])


def run_pass(task: Pass, rows: Iterable[Row], early: Sequence[Failure] = ()) -> dict[str, Any]:
    """Run `task` over every row (plain JSON values with an `"id"`) that is not committed yet; returns `summary`.

    `early` are failures found before the pass. Raises ConfigError for what the user can mend and EngineError when
    the engine fails; what one record raises is in the quarantine. Call it again after any end: it goes on.
    """
    task.directory.mkdir(parents=True, exist_ok=True)
    commit.sweep(task.directory)
    (task.directory / REASON).unlink(missing_ok=True)
    store = commit.Store(task.directory)
    known = set(commit.failures(task.directory))
    store.write([], [failure for failure in early if failure not in known])
    done, tried = store.done(), commit.attempts(task.directory)
    waiting = [packed(row, tried.get(str(row["id"]), 0) + 1) for row in rows if str(row["id"]) not in done]
    began = time.monotonic()
    tokens = 0
    if waiting:
        engines.check(task.engine)
        log = task.directory / LOG
        with _noise_to(log) as screen, cluster(log), Display(task.name, len(waiting), log, screen) as display:
            for statuses in _statuses(task, waiting):
                display.update(statuses)
                tokens += sum(status["generated_tokens"] for status in statuses)
    seconds = time.monotonic() - began
    speed = tokens / seconds if waiting else 0.0
    return summary(task.directory) | {"seconds": round(seconds, 2), "tokens_per_second": round(speed, 1)}


def summary(directory: Path) -> dict[str, Any]:
    """What is on disk: records, quarantined (whole records), problems (reason → rows), and the summed costs."""
    failures = commit.failures(directory)
    usage, records = Usage(), 0
    for result in commit.results(directory):
        usage, records = usage + result.usage, records + 1
    return {
        "records": records,
        "quarantined": len({failure.record_id for failure in failures if not failure.item}),
        "problems": dict(sorted(Counter(failure.error for failure in failures).items())),
        **{name: getattr(usage, name) for name in COSTS},
    }


@contextmanager
def _noise_to(log: Path) -> Iterator[Console]:
    """Whatever libraries print goes to `log`; the console that is given writes to the real stderr."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        _speak_to(log)
        with os.fdopen(os.dup(kept[2]), "w", encoding="utf-8") as screen:
            yield Console(file=screen)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, real in kept.items():
            os.dup2(real, number)
            os.close(real)


@contextmanager
def cluster(log: Path) -> Iterator[None]:
    """Ray, quiet: the connection that is open, else the cluster in RAY_ADDRESS, else one on this machine alone."""
    began = not ray.is_initialized()
    if began:
        address = os.environ.get("RAY_ADDRESS")
        local: dict[str, Any] = {"include_dashboard": False, "num_cpus": max(2, os.cpu_count() or 1)}
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else local),
            )
        except ConnectionError as error:
            raise ConfigError(f"no Ray cluster answers at {address} ({error}); check RAY_ADDRESS or unset it") from None
    handler = logging.FileHandler(log, encoding="utf-8")
    chatty = logging.getLogger("ray.data")
    before, chatty.handlers = chatty.handlers, [handler]
    try:
        yield
    finally:
        chatty.handlers = before
        handler.close()
        if began:
            ray.shutdown()


def _statuses(task: Pass, waiting: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Status rows as they come; a failure of the system is raised as what it is."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    data = ray.data.from_items(waiting, override_num_blocks=-(-len(waiting) // BATCH))
    if task.prepare:
        data = data.map_batches(
            partial(_prepare, task), batch_size=BATCH, batch_format="pyarrow", num_cpus=PREPARE_CPUS
        )
    least, most = task.engine.actors
    pool = ray.data.ActorPoolStrategy(
        min_size=least,
        max_size=most,
        max_tasks_in_flight_per_actor=task.slots,
        max_concurrent_calls_per_actor=task.slots,
    )
    data = data.map_batches(
        _EngineActor,
        fn_constructor_args=(task,),
        batch_size=BATCH,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=_cpus(task.engine.cpus, least),
        num_gpus=task.engine.gpus or None,
        runtime_env={"env_vars": task.engine.env} if task.engine.env else None,
    )
    try:
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield batch.to_pylist()
    except (RayError, RuntimeError) as error:
        raise _cause(error, task.directory) from error


def _prepare(task: Pass, batch: pa.Table) -> pa.Table:
    return pa.Table.from_pylist([prepared(task, row) for row in batch.to_pylist()], schema=_TRAVELLING)


class _EngineActor:
    """One engine and the coroutines over it, in one Ray actor."""

    def __init__(self, task: Pass) -> None:
        _speak_to(task.directory / LOG)
        self._reason = task.directory / REASON
        with self._telling():
            self._worker = Worker(task, engines.make(task.engine))

    async def __call__(self, batch: pa.Table) -> pa.Table:
        with self._telling():
            return pa.Table.from_pylist(await self._worker.run(batch.to_pylist()), schema=_STATUS)

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
            write_json(self._reason, {"kind": kind, "message": " ".join(words.split())})
            raise


def _speak_to(log: Path) -> None:
    """Send all that this process and its children print to the run's log."""
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _cpus(wanted: float, actors: int) -> float:
    """CPUs of one actor: as wanted, less where the least pool would leave none for the step before it (a laptop)."""
    room = (ray.cluster_resources().get("CPU", 0) - 2 * PREPARE_CPUS) / actors
    return round(min(wanted, room), 2) if room > 0 and not os.environ.get("RAY_ADDRESS") else wanted


def _cause(error: BaseException, run: Path) -> Exception:
    """What an actor left as its reason, else the last line of what Ray raised; both name the log."""
    if (run / REASON).is_file():
        reason = json.loads((run / REASON).read_text(encoding="utf-8"))
        if reason["kind"] == "config":
            return ConfigError(reason["message"])
        return EngineError(f"{reason['message']} (log: {run / LOG})")
    return EngineError(f"the run stopped: {str(error).strip().splitlines()[0]} (log: {run / LOG})")
