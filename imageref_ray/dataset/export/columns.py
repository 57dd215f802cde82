"""Formats whose rows all have the same columns → these columns, as an Arrow schema and as a dataset card declares them.

`datasets` infers types from a file's first rows: without the declaration, a column that begins with empty lists or
missing values would end the loading as soon as another value comes.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

import pyarrow as pa

from imageref_ray.core.config import ExportConfig, Format
from imageref_ray.core.records import Record

_TEXTS = pa.list_(pa.string())
_ID = ("id", pa.string())


def schema(name: Format, embed_images: bool = False) -> pa.Schema:
    """The columns of a format of `LOADABLE`; with `embed_images`, those of `parquet` hold path and bytes."""
    match name:
        case "plain" | "caption":
            columns = [_ID, ("image", _TEXTS), ("conversations", _turns("from", "value")), ("length", pa.int64())]
        case "messages":
            columns = [_ID, ("messages", _turns("role", "content")), ("images", _TEXTS)]
        case "sharegpt":
            columns = [_ID, ("conversations", _turns("from", "value")), ("images", _TEXTS)]
        case "insertion":
            columns = [("event_id", pa.string()), ("image_paths", _TEXTS), ("result", pa.string())]
        case "responses":
            columns = [_ID, ("result", pa.string())]
        case "records":
            columns = [field for field in _struct(Record) if field[0] != "usage"]  # a run's, not the data set's
        case "parquet":
            return _with_images(embed_images)
        case _:
            raise AssertionError(name)  # its rows differ in their columns
    return pa.schema(columns)


LOADABLE: tuple[Format, ...] = (
    *("plain", "caption", "messages", "sharegpt", "parquet", "records"),
    *("insertion", "responses"),
)
"""Formats that have a `schema`, as `datasets` requires; the first one on a card is the default."""


def on_card(config: ExportConfig) -> tuple[Format, ...]:
    """The formats that the card offers to `datasets.load_dataset(folder, format)`.

    It reads all of a folder's files with one reader, chosen by the first: they are all Parquet (if `parquet` is
    configured, or nothing else than `records`), or all JSON lines.
    """
    names = tuple(name for name in LOADABLE if name in config.formats)
    typed: tuple[Format, ...] = tuple(name for name in names if name in ("parquet", "records"))
    return typed if "parquet" in names or typed == names else names


def as_lines(config: ExportConfig) -> bool:
    """Whether records are written as JSON lines, too, because the card offers JSON lines."""
    return "records" in config.formats and not {"parquet", "records"}.issuperset(on_card(config))


def declared(name: Format) -> list[dict[str, Any]]:
    """The columns of a format as `features` of a dataset card's `dataset_info`."""
    return [_declared(field.name, field.type) for field in schema(name)]


def _declared(name: str, kind: pa.DataType) -> dict[str, Any]:
    return {"name": name, **_feature(kind)}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [_declared(field.name, field.type) for field in kind.fields]}
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("struct") or inner["dtype"]}
    return {"dtype": str(kind)}


def _turns(role: str, text: str) -> pa.DataType:
    return pa.list_(pa.struct([(role, pa.string()), (text, pa.string())]))


def _with_images(embed_images: bool) -> pa.Schema:
    """Columns id, images (paths, or path and bytes), conversations (from, value), length (tokens).

    Where images are embedded, the metadata (`huggingface`) declare their column, and `datasets` decodes it.
    """
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if embed_images else pa.string()
    columns = [_ID, ("images", pa.list_(image)), ("conversations", _turns("from", "value")), ("length", pa.int64())]
    # every version of `datasets` knows the list feature `Sequence`; the other columns need no declaration
    features = {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if embed_images else None
    return pa.schema(columns, metadata=metadata)


def _struct(kind: type) -> list[tuple[str, pa.DataType]]:
    """The fields of a dataclass's rows, so that empty lists have a type."""
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
