"""The rows that a pass still has to run, on disk: packed rows → one file, read back a batch at a time by the workers.

    <run>/work-queue/rows.jsonl      a packed row a line, the heaviest last
    <run>/work-queue/offsets.bin     where each batch begins (and the end), 64-bit little-endian

Neither the driver nor Ray's object store holds the rows, however many there are.
"""

from __future__ import annotations

import array
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.core.durable import writing

FOLDER = "work-queue"
_ITEM = 8


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """`count` rows in `batches` batches of at most `size`; `heaviest` is the heaviest row's id ("": no weights)."""

    folder: Path
    size: int
    count: int
    batches: int
    heaviest: str


def write(directory: Path, rows: Iterable[tuple[dict[str, Any], float | None]], size: int) -> WorkQueue:
    """Write packed rows (see `worker.packed`), each with its weight, in order.

    The heaviest of those that have a weight is written last. Not synced: every attempt writes its own.
    """
    folder = directory / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    with writing(folder):
        return _write(folder, rows, size)


def _write(folder: Path, rows: Iterable[tuple[dict[str, Any], float | None]], size: int) -> WorkQueue:
    folder.mkdir(parents=True)
    offsets, count, most = array.array("q"), 0, 0.0
    last: dict[str, Any] | None = None
    with (folder / "rows.jsonl").open("wb") as file:

        def put(row: dict[str, Any]) -> None:
            nonlocal count
            if count % size == 0:
                offsets.append(file.tell())
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            count += 1

        for row, weight in rows:
            if weight is None or (last and weight <= most):
                put(row)
                continue
            if last:
                put(last)
            last, most = row, weight
        if last is not None:
            put(last)
        batches = len(offsets)
        offsets.append(file.tell())
    with (folder / "offsets.bin").open("wb") as index:
        offsets.tofile(index)
    return WorkQueue(folder, size, count, batches, last["id"] if last else "")


def read(queue: WorkQueue, batch: int) -> list[dict[str, Any]]:
    """The rows of a batch; batch 0 is the last one on disk, which holds the heaviest row."""
    position = (batch - 1) % queue.batches
    bounds = array.array("q")
    with (queue.folder / "offsets.bin").open("rb") as index:
        index.seek(position * _ITEM)
        bounds.frombytes(index.read(2 * _ITEM))
    begin, end = bounds
    with (queue.folder / "rows.jsonl").open("rb") as file:
        file.seek(begin)
        return [json.loads(line) for line in file.read(end - begin).splitlines()]


def clear(directory: Path) -> None:
    """Remove the queue's files once every row has been run."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)
