"""Rows one at a time → files: JSON lines, one JSON list, Parquet. Each opens a path and gives a function that writes.

The Parquet file for trainers is read by `datasets.load_dataset("parquet", data_files=…)`: where it holds the
image files, its schema says under `huggingface` that `images` are pictures, and `datasets` decodes them.
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
"""A Parquet row group is written when it has so many rows or so many bytes of pictures: readers load whole groups."""


@contextmanager
def jsonl(path: Path) -> Iterator[Write]:
    """One JSON object a line, UTF-8."""
    with path.open("w", encoding="utf-8") as file:
        yield lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


@contextmanager
def json_list(path: Path) -> Iterator[Write]:
    """One JSON list of objects, each on a line of its own."""
    with path.open("w", encoding="utf-8") as file:
        before = "[\n"

        def write(row: Row) -> None:
            nonlocal before
            file.write(before + json.dumps(row, ensure_ascii=False))
            before = ",\n"

        yield write
        file.write("[]\n" if before == "[\n" else "\n]\n")


@contextmanager
def parquet(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Parquet with this schema; no more than one row group is held in memory."""
    waiting: list[Row] = []
    weight = 0
    with pq.ParquetWriter(path, schema) as file:

        def flush() -> None:
            nonlocal weight
            if waiting:
                file.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting.clear()
                weight = 0

        def write(row: Row) -> None:
            nonlocal weight
            waiting.append(row)
            weight += sum(len(image["bytes"]) for image in row.get("images", ()) if isinstance(image, dict))
            if len(waiting) >= GROUP_ROWS or weight >= GROUP_BYTES:
                flush()

        yield write
        flush()


def conversations_schema(embed_images: bool) -> pa.Schema:
    """Columns id, images (paths, or path and bytes), conversations (from, value), length (tokens)."""
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if embed_images else pa.string()
    turn = pa.struct([("from", pa.string()), ("value", pa.string())])
    columns = [
        ("id", pa.string()),
        ("images", pa.list_(picture)),
        ("conversations", pa.list_(turn)),
        ("length", pa.int64()),
    ]
    # `Sequence` is the list feature's name that every version of `datasets` knows; other columns speak for themselves
    features = {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})} if embed_images else None
    return pa.schema(columns, metadata=told)


def record_schema(kind: type) -> pa.Schema:
    """The Arrow schema of a dataclass's rows, so that empty lists have a type too."""
    return pa.schema(_struct(kind))


def _struct(kind: type) -> list[tuple[str, pa.DataType]]:
    hints = typing.get_type_hints(kind)
    return [(found.name, _arrow(hints[found.name])) for found in dataclasses.fields(kind)]


def _arrow(hint: Any) -> pa.DataType:
    if isinstance(hint, types.UnionType):
        return _arrow(next(option for option in typing.get_args(hint) if option is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow(typing.get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct(_struct(hint))  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]
