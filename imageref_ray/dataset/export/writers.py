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

GROUP_ROWS, GROUP_BYTES = 256, 64 * 2**20
"""A Parquet row group is written at this many rows or bytes of images: readers load whole groups."""


@contextmanager
def jsonl(path: Path) -> Iterator[Write]:
    """One JSON object per line, UTF-8."""
    with path.open("w", encoding="utf-8") as file:
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


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
