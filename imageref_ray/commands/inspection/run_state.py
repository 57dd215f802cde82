"""Run directory → `Run`: its settings, progress, costs and failures, and a few of its rows.

The parts are read once and rows are not kept: of a large run only the sampled ones and the costs stay in memory. A run
in progress can be read at any time, because a part file is complete as soon as it exists.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.batch import store
from imageref_ray.batch.outcome import REASON, why_failed
from imageref_ray.batch.store import Result
from imageref_ray.commands.inspection.instruction_tally import Tally
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Usage
from imageref_ray.core.subset import choose
from imageref_ray.evaluation import events
from imageref_ray.evaluation.events import Events

State = Literal["finished", "too few succeeded", "failed", "unfinished"]
"""`too few succeeded`: every record was run, but most failed (`outcome.why_failed`). `failed`: an error stopped it."""

EXAMPLES = 5
"""Failures shown per group."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """All failures with the same error in the same stage; `examples` are a seeded choice of them."""

    error: str
    stage: str
    records: int
    items: int
    examples: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of a run directory; `last_commit` and `finished` are times as text.

    `summary` and `config` are empty until the run is finished. `costs` holds one `Usage` per record; `progress` is
    (seconds since the start, records committed by then) from the files' modification times; `samples` are the results
    chosen for the page; `failures` has all failures by record id. `failure_reason` says why the run failed. `events`
    are a finished evaluation's, by mode and id: of such a run the page shows these in place of the samples.
    `instructions` counts those of an instruct run.
    """

    directory: Path
    state: State
    failure_reason: str
    in_flight: int
    last_commit: str
    fingerprint: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    git: str
    finished: str
    summary: Mapping[str, Any]
    costs: tuple[Usage, ...]
    samples: tuple[Result, ...]
    failures: Mapping[str, tuple[Failure, ...]]
    failure_groups: tuple[FailureGroup, ...]
    progress: tuple[tuple[float, int], ...]
    events: Mapping[str, Events]
    instructions: Tally

    @property
    def job(self) -> str:
        return str(self.settings.get("job", "build"))

    @property
    def pass_summary(self) -> Mapping[str, Any]:
        """The part of a summary about the pass itself: an evaluation has it under `run`."""
        nested = self.summary.get("run")
        return nested if isinstance(nested, Mapping) else self.summary

    @property
    def unreported(self) -> Sequence[str]:
        """Costs that the run's endpoint does not count."""
        return list(self.pass_summary.get("unreported", ()))

    @property
    def quarantined(self) -> int:
        """Records that failed as a whole."""
        return sum(any(not failure.item for failure in failures) for failures in self.failures.values())


def read_run(directory: Path, count: int, seed: int = 0) -> Run:
    """Read a run and choose `count` of its rows. Raises ConfigError if it is damaged, or not a run."""
    check_run_directory(directory)
    manifest = read_object(directory / "manifest.json")
    start = manifest or read_object(directory / "fingerprint.json")
    stop = read_object(directory / REASON)
    rows = _read_rows(directory, count, seed)
    min_success = float(start.get("config", {}).get("min_success", 0))
    reason = why_failed(len(rows.costs), rows.failures, min_success) if manifest else ""
    reason = reason or str(stop.get("message", ""))
    end_state: State = "too few succeeded" if reason else "finished"
    return Run(
        directory=directory,
        state=end_state if manifest else "failed" if stop else "unfinished",
        failure_reason=reason,
        in_flight=len(list((directory / store.IN_FLIGHT).glob("*"))),
        last_commit=_last_commit(directory),
        fingerprint=str(start.get("fingerprint", "")),
        settings=start.get("settings", {}),
        config=manifest.get("config", {}),
        git=str(manifest.get("git") or ""),
        finished=str(manifest.get("finished", "")).replace("T", " ").replace("+00:00", " UTC"),
        summary=manifest.get("summary", {}),
        costs=tuple(rows.costs),
        samples=tuple(rows.samples),
        failures=_group_by_record(rows.failures),
        failure_groups=tuple(group_by_error(rows.failures, seed)),
        progress=tuple(rows.progress),
        events=events.read(directory) if manifest and (directory / events.FILE).is_file() else {},
        instructions=rows.tally,
    )


class _Rows(NamedTuple):
    """What a run's parts hold: the chosen results, and of all of them what they cost and what became of them."""

    samples: Sequence[Result]
    costs: Sequence[Usage]
    tally: Tally
    failures: list[Failure]
    progress: Sequence[tuple[float, int]]


def _read_rows(directory: Path, count: int, seed: int) -> _Rows:
    """The rows of a run. Raises ConfigError for a part that cannot be read."""
    costs: list[Usage] = []
    tally = Tally()

    def counted_results() -> Iterator[Result]:
        for result in store.results(directory):
            costs.append(result.usage)
            tally.add(result.row)
            yield result

    try:
        # At least one: all results have to be read for their costs.
        samples = choose(counted_results(), max(count, 1), seed, lambda result: result.id)[:count]
        return _Rows(samples, costs, tally, store.failures(directory), _read_progress(directory))
    except (OSError, ValueError, pa.ArrowException) as error:
        message = " ".join(str(error).split())
        raise ConfigError(
            f"{directory}: a part cannot be read ({message}); copy the run again, or remove that part"
        ) from None


def is_run(directory: Path) -> bool:
    """Whether a run was started in this directory."""
    names = ("fingerprint.json", "manifest.json", store.RECORDS, store.QUARANTINE)
    return any((directory / name).exists() for name in names)


def check_run_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a folder; give the run directory of a job")
    if not is_run(directory):
        near = sorted(str(path.parent) for path in directory.glob("**/fingerprint.json"))[:3]
        hint = f"did you mean {' or '.join(near)}?" if near else "give the --output of a job"
        raise ConfigError(
            f"{directory} is not a run directory: it has neither fingerprint.json nor {store.RECORDS}/; {hint}"
        )


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file; empty where the file does not exist. Raises ConfigError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as JSON ({error}); restore it, or remove it to see the rest"
        ) from None
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path} holds {type(value).__name__}, not an object; restore it, or remove it to see the rest"
        )
    return value


def _group_by_record(failures: list[Failure]) -> dict[str, tuple[Failure, ...]]:
    groups: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.record_id].append(failure)
    return {id: tuple(group) for id, group in groups.items()}


def group_by_error(failures: list[Failure], seed: int) -> list[FailureGroup]:
    """Failures by error and stage, the most frequent first."""
    by_error: defaultdict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        by_error[failure.error, failure.stage].append(failure)
    groups = [
        FailureGroup(
            error,
            stage,
            records=sum(not failure.item for failure in members),
            items=sum(bool(failure.item) for failure in members),
            examples=tuple(choose(members, EXAMPLES, seed, lambda failure: f"{failure.record_id} {failure.item}")),
        )
        for (error, stage), members in by_error.items()
    ]
    return sorted(groups, key=lambda group: (-group.records - group.items, group.error, group.stage))


def _read_progress(directory: Path) -> list[tuple[float, int]]:
    """Records committed over time, from the files' modification times; empty where copying the run reset them."""
    parts = [(path.stat().st_mtime, path) for path in (directory / store.RECORDS).glob("part-*.parquet")]
    fingerprint = directory / "fingerprint.json"
    if not parts or not fingerprint.is_file():
        return []
    started, committed = fingerprint.stat().st_mtime, 0
    points = [(0.0, 0)]
    for time, path in sorted(parts):
        committed += pq.read_metadata(path).num_rows
        points.append((time - started, committed))
    return points if points[1][0] > 0 and points[-1][0] >= 1 else []


def _last_commit(directory: Path) -> str:
    """When a result or failure was last committed (UTC); empty before the first commit."""
    kinds = (store.RECORDS, store.QUARANTINE)
    times = [path.stat().st_mtime for kind in kinds for path in (directory / kind).glob("part-*.parquet")]
    return f"{datetime.datetime.fromtimestamp(max(times), datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" if times else ""
