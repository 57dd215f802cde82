"""Run directory → `Run`: what it was asked, how far it is, what it cost, what failed, and a few of its rows.

One walk over the parts, rows are not kept: of a large run only the chosen ones and the costs stay in memory. A run
that is still going can be read at any moment; parts are there wholly or not at all.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.batch import store
from imageref_ray.batch.outcome import why_failed
from imageref_ray.batch.store import Result
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Usage
from imageref_ray.core.subset import choose

State = Literal["finished", "poor", "failed", "unfinished"]
"""`poor`: it came to its end, but with too few records (`outcome.why_failed`)."""

REASON_FILE = "reason.json"
EXAMPLES = 5
"""Failures shown for each reason."""


@dataclass(frozen=True, slots=True)
class Reason:
    """All failures with one error in one stage; `examples` are a seeded few of them."""

    error: str
    stage: str
    records: int
    items: int
    examples: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What a run directory tells; `written` (the last commit) and `finished` are times for people.

    `summary` and `config` are empty until it is finished; `settings` are flat. `costs` holds one `Usage` a record;
    `progress` is (seconds since the run began, records committed by then) as the files' times say; `chosen` are at
    most as many results as were asked for, `failures` those by record id.
    """

    directory: Path
    state: State
    stopped_by: str
    in_flight: int
    written: str
    fingerprint: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    git: str
    finished: str
    summary: Mapping[str, Any]
    costs: tuple[Usage, ...]
    chosen: tuple[Result, ...]
    failures: Mapping[str, tuple[Failure, ...]]
    reasons: tuple[Reason, ...]
    progress: tuple[tuple[float, int], ...]

    @property
    def job(self) -> str:
        return str(self.settings.get("job", "build"))

    @property
    def quarantined(self) -> int:
        """Records that failed as a whole."""
        return sum(any(not failure.item for failure in found) for found in self.failures.values())


def read(directory: Path, samples: int, seed: int = 0) -> Run:
    """Read a run, choosing `samples` of its rows. Raises ConfigError for a folder that is no run or is damaged."""
    if samples < 0:
        raise ConfigError(f"--samples {samples}: give 0 or more")
    _check(directory)
    manifest = _json(directory / "manifest.json")
    held = manifest or _begun(directory)
    stop = _json(directory / REASON_FILE)
    costs: list[Usage] = []

    def counted() -> Iterator[Result]:
        for result in store.results(directory):
            costs.append(result.usage)
            yield result

    try:
        chosen = choose(counted(), max(samples, 1), seed, lambda result: result.id)[:samples]  # 1: all are counted
        failures = store.failures(directory)
        progress = _progress(directory)
    except (OSError, ValueError, pa.ArrowException) as error:
        told = " ".join(str(error).split())
        raise ConfigError(
            f"{directory}: a part cannot be read ({told}); copy the run anew, or remove that part"
        ) from None
    least = float(held.get("config", {}).get("min_success", 0))
    too_few = why_failed(len(costs), failures, least) if manifest else ""
    ended: State = "poor" if too_few else "finished"
    return Run(
        directory=directory,
        state=ended if manifest else "failed" if stop else "unfinished",
        stopped_by=too_few or str(stop.get("message", "")),
        in_flight=len(list((directory / store.IN_FLIGHT).glob("*"))),
        written=_last_write(directory),
        fingerprint=str(held.get("fingerprint", "")),
        settings=held.get("settings", {}),
        config=manifest.get("config", {}),
        git=str(manifest.get("git") or ""),
        finished=str(manifest.get("finished", "")).replace("T", " ").replace("+00:00", " UTC"),
        summary=manifest.get("summary", {}),
        costs=tuple(costs),
        chosen=tuple(chosen),
        failures=_by_record(failures),
        reasons=tuple(_reasons(failures, seed)),
        progress=tuple(progress),
    )


def is_run(directory: Path) -> bool:
    """Whether a pass has begun in this folder."""
    names = ("fingerprint.json", "manifest.json", store.RECORDS, store.QUARANTINE)
    return any((directory / name).exists() for name in names)


def _check(directory: Path) -> None:
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no folder; give the run directory of a build (its --output)")
    if not is_run(directory):
        near = sorted(str(path.parent) for path in directory.glob("**/fingerprint.json"))[:3]
        hint = f"did you mean {' or '.join(near)}?" if near else "give the --output of a build or an evaluation"
        raise ConfigError(f"{directory} is no run: it has neither fingerprint.json nor {store.RECORDS}/; {hint}")


def _begun(directory: Path) -> dict[str, Any]:
    """What a run wrote of itself when it began. Raises ConfigError for a training, which has no records."""
    found = _json(directory / "fingerprint.json")
    if found.get("settings", {}).get("job") == "train":
        raise ConfigError(f"{directory} is a training; its losses are in {directory / 'metrics.jsonl'}")
    return found


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as JSON ({error}); restore it, or remove it to see the rest"
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} holds {type(found).__name__}, not an object; restore it, or remove it to see the rest"
        )
    return found


def _by_record(failures: list[Failure]) -> dict[str, tuple[Failure, ...]]:
    found: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        found[failure.record_id].append(failure)
    return {name: tuple(own) for name, own in found.items()}


def _reasons(failures: list[Failure], seed: int) -> list[Reason]:
    """The most frequent first."""
    groups: defaultdict[tuple[str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.error, failure.stage].append(failure)
    made = [
        Reason(
            error,
            stage,
            records=sum(not failure.item for failure in group),
            items=sum(bool(failure.item) for failure in group),
            examples=tuple(choose(group, EXAMPLES, seed, lambda failure: f"{failure.record_id} {failure.item}")),
        )
        for (error, stage), group in groups.items()
    ]
    return sorted(made, key=lambda reason: (-reason.records - reason.items, reason.error, reason.stage))


def _progress(directory: Path) -> list[tuple[float, int]]:
    """Records committed over time, by the parts' times; empty where a copy lost them."""
    parts = [(path.stat().st_mtime, path) for path in (directory / store.RECORDS).glob("part-*.parquet")]
    start = directory / "fingerprint.json"
    if not parts or not start.is_file():
        return []
    began, count = start.stat().st_mtime, 0
    points = [(0.0, 0)]
    for time, path in sorted(parts):
        count += pq.read_metadata(path).num_rows
        points.append((time - began, count))
    return points if points[1][0] > 0 and points[-1][0] >= 1 else []


def _last_write(directory: Path) -> str:
    """When a result or failure was last committed (UTC); empty before the first."""
    kinds = (store.RECORDS, store.QUARANTINE)
    times = [path.stat().st_mtime for kind in kinds for path in (directory / kind).glob("part-*.parquet")]
    return f"{datetime.datetime.fromtimestamp(max(times), datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" if times else ""
