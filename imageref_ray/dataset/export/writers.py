"""Rows, one at a time → files: JSON lines, a JSON list, Parquet. Each context manager opens a path and yields a write
function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.dataset.export.rows import Row

Write = Callable[[Row], None]

TYPED_BYTES = 2**20
"""Readers of JSON lines take a column's type from a file's beginning: `datasets`, which LLaMA-Factory and ms-swift read
with, from 10 MiB."""

GROUP_ROWS, GROUP_BYTES = 256, 64 * 2**20
"""A Parquet row group is written at this many rows or bytes of images: readers load whole groups."""


@contextmanager
def jsonl(path: Path) -> Iterator[Write]:
    """One JSON object per line, UTF-8; in order, but a row with all lists filled comes first if there is none in the
    first `TYPED_BYTES`: of a list that is empty up to there, trainers would take the items for nulls, and fail later.
    """
    size, filled = 0, slice(0, 0)
    with path.open("wb") as file:

        def write(row: Row) -> None:
            nonlocal size, filled
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if not filled.stop and all(value for value in row.values() if isinstance(value, list)):
                filled = slice(size, size + len(line))
            file.write(line)
            size += len(line)

        yield write
    if filled.start > TYPED_BYTES:
        _move_up(path, filled)


def _move_up(path: Path, line: slice) -> None:
    """Make the line at these bytes the first."""
    copy = path.with_name(f"{path.name}.copy")
    with path.open("rb") as old, copy.open("wb") as new:
        for start, stop in ((line.start, line.stop), (0, line.start), (line.stop, path.stat().st_size)):
            old.seek(start)
            for at in range(start, stop, 2**20):
                new.write(old.read(min(2**20, stop - at)))
    copy.replace(path)


@contextmanager
def json_list(path: Path) -> Iterator[Write]:
    """One JSON list of objects, one per line."""
    with path.open("w", encoding="utf-8") as file:
        separator = "[\n"

        def write(row: Row) -> None:
            nonlocal separator
            file.write(separator + json.dumps(row, ensure_ascii=False))
            separator = ",\n"

        yield write
        file.write("[]\n" if separator == "[\n" else "\n]\n")


@contextmanager
def parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Parquet with this schema; at most one row group is in memory."""
    group: list[Row] = []
    size = 0
    with path.open("wb") as output, pq.ParquetWriter(output, schema) as file:

        def flush() -> None:
            nonlocal size
            if group:
                file.write_table(pa.Table.from_pylist(group, schema=schema))
                group.clear()
                size = 0

        def write(row: Row) -> None:
            nonlocal size
            group.append(row)
            size += sum(len(image["bytes"]) for image in row.get("images", ()) if isinstance(image, dict))
            if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
                flush()

        yield write
        flush()


@contextmanager
def both(first: AbstractContextManager[Write], second: AbstractContextManager[Write]) -> Iterator[Write]:
    """Every row into two files."""
    with first as write_first, second as write_second:

        def write(row: Row) -> None:
            write_first(row)
            write_second(row)

        yield write
