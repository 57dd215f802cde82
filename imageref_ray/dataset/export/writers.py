"""Rows, one at a time → files: JSON lines, a JSON list, Parquet. Each context manager opens a path and yields a write
function.

The Parquet file for trainers can be loaded with `datasets.load_dataset("parquet", data_files=…)`: if the images are
embedded, its schema metadata (`huggingface`) declares the `images` column, and `datasets` decodes it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    with pq.ParquetWriter(path, schema) as file:

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


def conversations_schema(embed_images: bool) -> pa.Schema:
    """Columns id, images (paths, or path and bytes), conversations (from, value), length (tokens)."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if embed_images else pa.string()
    turn = pa.struct([("from", pa.string()), ("value", pa.string())])
    columns = [
        ("id", pa.string()),
        ("images", pa.list_(image)),
        ("conversations", pa.list_(turn)),
        ("length", pa.int64()),
    ]
    # every version of `datasets` knows the list feature `Sequence`; the other columns need no declaration
    features = {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if embed_images else None
    return pa.schema(columns, metadata=metadata)


def record_schema(kind: type) -> pa.Schema:
    """The Arrow schema of a dataclass's rows, so that empty lists have a type."""
    return pa.schema(_struct(kind))


def _struct(kind: type) -> list[tuple[str, pa.DataType]]:
    hints = typing.get_type_hints(kind)
    return [(field.name, _arrow(hints[field.name])) for field in dataclasses.fields(kind)]


def _arrow(hint: Any) -> pa.DataType:
    if isinstance(hint, types.UnionType):
        return _arrow(next(option for option in typing.get_args(hint) if option is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow(typing.get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_struct(hint))  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]
