"""Results on disk: results and failures → Parquet parts, each there as a whole or not at all → each record once.

    <run>/records/part-<attempt>-<writer>-<n>.parquet      id, the record's row (JSON), what it cost
    <run>/quarantine/part-<attempt>-<writer>-<n>.parquet   one row per `Failure`
    <run>/engines/<attempt>-<writer>-<ready, ns>           touched as long as the writer's engine is alive
    <run>/in-flight/<hash of a name>                       a byte for each time it began and did not end

When engines were ready, alive and committing is read from the file system's time stamps: these can be compared with
each other, whichever machine wrote, and however coarse or wrong its own clock is; never with a clock.

A part counts once it is on the disk, whole, under its name (`core/durable.py`): kills and power cuts leave whole parts
only. Two writers can commit the same record (one was taken for dead but lived): readers take the first. A writer of an
attempt that another has taken over commits nothing (`attempts.Superseded`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.batch import attempts
from imageref_ray.core.durable import make_folder, sync, write_atomically, writing
from imageref_ray.core.records import Failure, Usage, from_row, to_row
from imageref_ray.core.text import json_text, well_formed

RECORDS, QUARANTINE, IN_FLIGHT, ENGINES = "records", "quarantine", "in-flight", "engines"

SETTLED_S = 2.0
"""A folder that has had its time stamp for so long keeps it only if nothing changes: stamps are as coarse as that."""

OPEN_PARTS = 64
"""Parts in memory while records are read in another order: neighbours in a source are in few parts."""

_COSTS = tuple(f.name for f in dataclasses.fields(Usage))
_SCHEMAS = {
    RECORDS: pa.schema([("id", pa.string()), ("row", pa.string()), *((name, pa.int64()) for name in _COSTS)]),
    QUARANTINE: pa.schema(
        [
            *((name, pa.string()) for name in ("record_id", "stage", "error", "message", "item")),
            *((name, pa.int64()) for name in ("attempt", *_COSTS)),
        ]
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """A finished record: its row (anything JSON can hold) and what it cost."""

    id: str
    row: dict[str, Any]
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Account:
    """What a run directory holds: ids of finished records, the last failure of each record and item, all costs."""

    done: Set[str]
    failures: list[Failure]
    spent: Usage


class Store:
    """One writer's view of a run directory: it writes parts and knows which records anyone has committed."""

    def __init__(self, directory: Path, attempt: int = 0) -> None:
        self.directory = directory
        self._attempt = attempt
        self._writer = uuid.uuid4().hex[:12]
        self._engine: Path | None = None
        self._count, self._folders = 0, set[str]()
        self._stamp, self._since, self._settled = 0, time.monotonic(), False
        self._seen, self._done = set[str](), set[str]()

    def done(self) -> Set[str]:
        """Ids committed by any writer up to now; the next call adds to the same set.

        Only parts not seen before are opened. The folder is not listed once it was listed `SETTLED_S` after its time
        stamp was first seen: before, the stamp may hide a later change.
        """
        folder, now = self.directory / RECORDS, time.monotonic()
        stamp = folder.stat().st_mtime_ns if folder.is_dir() else 0
        if stamp != self._stamp:
            self._stamp, self._since, self._settled = stamp, now, False
        if not self._settled:
            new = {name for name in _names(folder) if name not in self._seen}
            for name in new:
                self._done.update(pq.read_table(folder / name, columns=["id"], memory_map=True)["id"].to_pylist())
            self._seen |= new
            self._settled = now - self._since > SETTLED_S
        return self._done

    def begun(self, *name: str) -> int:
        """How often a batch or record of that name was begun without an end."""
        mark = self._mark(name)
        return mark.stat().st_size if mark.is_file() else 0

    def begin(self, *name: str) -> None:
        """Mark a batch (named by its first record) or a record as begun."""
        with writing(mark := self._mark(name)):
            mark.parent.mkdir(parents=True, exist_ok=True)
            with mark.open("ab") as file:
                file.write(b".")

    def end(self, *name: str) -> None:
        """Remove the mark: this process has survived the batch or record."""
        with writing(mark := self._mark(name)):
            mark.unlink(missing_ok=True)

    def ready(self) -> int:
        """Mark this writer's engine as ready; returns how many engines of this attempt became ready since the last
        result that any of them wrote."""
        folder = self.directory / ENGINES
        make_folder(folder)
        last = self.directory / RECORDS
        after = last.stat().st_mtime_ns if last.is_dir() else 0
        hidden = folder / f".{self._writer}.tmp"
        with writing(folder):
            hidden.touch()
            while hidden.stat().st_mtime_ns == after:  # stamps come in ticks of some milliseconds
                time.sleep(0.001)
                hidden.touch()
            self._engine = folder / f"{self._attempt:06d}-{self._writer}-{hidden.stat().st_mtime_ns}"
            hidden.rename(self._engine)
        sync(folder)
        return sum(_ready(path) > after for path in folder.glob(f"{self._attempt:06d}-*"))

    def alive(self) -> None:
        """Mark this writer's engine as alive, for `engine_seconds`."""
        if self._engine:
            with writing(self._engine):
                os.utime(self._engine)

    def _mark(self, name: tuple[str, ...]) -> Path:
        return self.directory / IN_FLIGHT / hashlib.sha256("\0".join(name).encode()).hexdigest()[:24]

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        """Commit both; failures first, so that no finished record lacks the failures of its items."""
        self._count += 1
        if failures:
            self._part(QUARANTINE, [_failure_row(failure) for failure in failures])
        if results:
            self._part(RECORDS, [_result_row(result) for result in results])
        self.alive()

    def _part(self, kind: str, rows: list[dict[str, Any]]) -> None:
        folder = self.directory / kind
        if kind not in self._folders:
            make_folder(folder)
            self._folders.add(kind)
        part = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMAS[kind]), part)
        path = folder / f"part-{self._attempt:06d}-{self._writer}-{self._count:06d}.parquet"
        write_atomically(path, part.getvalue().to_pybytes(), partial(attempts.check, self.directory, self._attempt))


def _result_row(result: Result) -> dict[str, Any]:
    return {"id": result.id, "row": json_text(result.row), **to_row(result.usage)}


def _failure_row(failure: Failure) -> dict[str, Any]:
    row = to_row(failure)
    costs = row.pop("usage")
    return {name: well_formed(value) if isinstance(value, str) else value for name, value in {**row, **costs}.items()}


def results(directory: Path) -> Iterator[Result]:
    """Every committed record exactly once, in the order of the parts' names."""
    seen: set[str] = set()
    for row in _rows(directory, RECORDS):
        if row["id"] not in seen:
            seen.add(row["id"])
            yield Result(row["id"], json.loads(row["row"]), from_row(Usage, row))


def results_of(directory: Path, ids: Iterable[str]) -> Iterator[Result]:
    """The committed records among `ids`, in the order of `ids`; a few parts are in memory at a time."""
    places: dict[str, tuple[Path, int]] = {}
    for path in _parts(directory, RECORDS):
        for number, id in enumerate(pq.read_table(path, columns=["id"])["id"].to_pylist()):
            places.setdefault(id, (path, number))
    table = lru_cache(OPEN_PARTS)(partial(pq.read_table, schema=_SCHEMAS[RECORDS]))
    for id in ids:
        if id in places:
            path, number = places[id]
            (row,) = table(path).slice(number, 1).to_pylist()
            yield Result(id, json.loads(row["row"]), from_row(Usage, row))


def account(directory: Path) -> Account:
    """What a pass needs to know before it begins, from one reading of the directory."""
    done: set[str] = set()
    spent = Usage()
    for row in _rows(directory, RECORDS, ["id", *_COSTS]):
        done.add(row["id"])
        spent += from_row(Usage, row)
    quarantined = [_failure(row) for row in _rows(directory, QUARANTINE)]
    return Account(done, _latest(quarantined, done), sum((failure.usage for failure in quarantined), spent))


def failures(directory: Path) -> list[Failure]:
    """The last failure of every record and item, without records that a later try finished."""
    return _latest(map(_failure, _rows(directory, QUARANTINE)), Store(directory).done())


def _failure(row: dict[str, Any]) -> Failure:
    return dataclasses.replace(from_row(Failure, row), usage=from_row(Usage, row))


def _latest(quarantined: Iterable[Failure], done: Collection[str]) -> list[Failure]:
    latest: dict[tuple[str, str, str], Failure] = {}
    for failure in quarantined:
        key = (failure.record_id, failure.item, failure.stage if failure.item else "")
        finished = failure.item == "" and failure.record_id in done
        if not finished and (key not in latest or failure.attempt >= latest[key].attempt):
            latest[key] = failure
    return [latest[key] for key in sorted(latest)]


def tries(failures: Iterable[Failure]) -> dict[str, int]:
    """How often each record was tried without success, by its failures (records without any are left out)."""
    counts: dict[str, int] = {}
    for failure in failures:
        if not failure.item:
            counts[failure.record_id] = max(failure.attempt, counts.get(failure.record_id, 0))
    return counts


def costs(directory: Path) -> Iterator[tuple[str, Usage]]:
    """Record id → what was paid, for finished records, tries that failed, and records committed twice."""
    for row in _rows(directory, RECORDS, ["id", *_COSTS]):
        yield row["id"], from_row(Usage, row)
    for row in _rows(directory, QUARANTINE, ["record_id", *_COSTS]):
        yield row["record_id"], from_row(Usage, row)


def spent(directory: Path) -> Usage:
    """All costs of the run."""
    return sum((usage for _, usage in costs(directory)), Usage())


def seconds(directory: Path) -> float:
    """How long the attempts took, each from its start to its last commit."""
    last: dict[int, float] = {}
    for path in (*_parts(directory, RECORDS), *_parts(directory, QUARANTINE)):
        number = int(path.name.split("-")[1])
        last[number] = max(last.get(number, 0.0), path.stat().st_mtime)
    began = attempts.times(directory)
    return sum(max(0.0, end - began[number]) for number, end in last.items() if number in began)


def engine_seconds(directory: Path) -> float:
    """Seconds that engines were alive, each from when it was ready to its last sign of life, summed over all."""
    engines = (directory / ENGINES).glob("[0-9]*")
    return sum(max(0, path.stat().st_mtime_ns - _ready(path)) for path in engines) / 1e9


def _ready(engine: Path) -> int:
    return int(engine.name.rsplit("-", 1)[1])


def idle(directory: Path) -> bool:
    """Whether no batch is in flight."""
    return not any((directory / IN_FLIGHT).glob("*"))


def sweep(directory: Path) -> None:
    """Remove what a killed run left behind: half written files, and its marks of what was in flight."""
    shutil.rmtree(directory / IN_FLIGHT, ignore_errors=True)
    for folder in (directory, directory / RECORDS, directory / QUARANTINE, directory / ENGINES):
        for path in filter(Path.is_file, folder.glob(".*.tmp")):
            path.unlink(missing_ok=True)


def _parts(directory: Path, kind: str) -> Iterable[Path]:
    return [directory / kind / name for name in sorted(_names(directory / kind))]


def _names(folder: Path) -> Iterator[str]:
    names = os.listdir(folder) if folder.is_dir() else []
    return (name for name in names if name.startswith("part-"))


def _rows(directory: Path, kind: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for path in _parts(directory, kind):
        yield from pq.read_table(path, schema=_SCHEMAS[kind], columns=columns).to_pylist()
