"""Every Parquet file that people give → its rows or values as plain values, a batch in memory at a time.

NaN and infinities are null, as in JSON files: pandas writes a missing value so. What is not UTF-8 in a string
is U+FFFD: not every writer checks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.text import repaired

BATCH, FEW = 64, 8
"""Rows in memory at a time; of a column of pictures fewer."""

ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)


def parquet_rows(path: Path, columns: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows in order, with these columns of them that there are. Raises ConfigError, after the rows before it, for
    what cannot be read."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if repeated := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"two columns are named {repeated[0]}")
            for batch in file.iter_batches(BATCH, columns=[name for name in names if name in (columns or names)]):
                rows = _values(batch)
                number += len(rows)
                yield from map(repaired, map(_finite, rows))
    except ERRORS as error:
        raise ConfigError(_problem(path, number, error)) from None


def columns_of(path: Path) -> dict[str, int]:
    """The names of the columns, and how many bytes their values have, not compressed. Raises ConfigError."""
    try:
        with pq.ParquetFile(path) as file:
            sizes = dict.fromkeys(file.schema_arrow.names, 0)
            groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
            for column in (group.column(n) for group in groups for n in range(group.num_columns)):
                name = column.path_in_schema.partition(".")[0]
                sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
            return sizes
    except ERRORS as error:
        raise ConfigError(_problem(path, 0, error)) from None


def filled(path: Path, column: str, expected: Sequence[bool]) -> list[bool]:
    """For each row whether a column has a value. The values are only read where the file's statistics do not tell that
    none has one, or as many as are `expected` to. Raises ConfigError."""
    found: list[bool] = []
    try:
        with pq.ParquetFile(path) as file:
            paths = [file.metadata.schema.column(n).path for n in range(len(file.metadata.schema))]
            if column not in paths:
                raise ValueError(f"the values of {column} are no plain ones")
            place = paths.index(column)
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                known, wanted = group.column(place).statistics, expected[len(found) : len(found) + group.num_rows]
                values = group.num_rows - known.null_count if known and known.has_null_count else -1
                if values in (0, sum(wanted)):
                    found += wanted if values else [False] * group.num_rows
                    continue
                for batch in file.iter_batches(FEW, row_groups=[number], columns=[column]):
                    found += batch.column(0).is_valid().to_pylist()
    except ERRORS as error:
        raise ConfigError(_problem(path, len(found), error)) from None
    return found


def values_from(path: Path, column: str, first: int) -> Iterator[tuple[int, Any]]:
    """(row, value) of a column from a row (from 0) to the end of its group of rows. Raises ConfigError."""
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise ValueError(f"there is no column {column}")
            for number in range(file.metadata.num_row_groups):
                size = file.metadata.row_group(number).num_rows
                if first >= row + size:
                    row += size
                    continue
                for batch in file.iter_batches(FEW, row_groups=[number], columns=[column]):
                    if row + len(batch) > first:
                        numbered = enumerate(_values(batch.column(0)), row)
                        yield from ((place, value) for place, value in numbered if place >= first)
                    row += len(batch)
                return
    except ERRORS as error:
        raise ConfigError(_problem(path, row, error)) from None


def _values(array: Any) -> list[Any]:
    """The plain values of an array or the rows of a batch."""
    try:
        values: list[Any] = array.to_pylist()
    except UnicodeDecodeError:
        if isinstance(array, pa.RecordBatch):
            array = array.to_struct_array()
        return [_value(scalar) for scalar in array]
    return values


def _value(scalar: Any) -> Any:
    """A scalar with a string in it that is not UTF-8."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        pass
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(one) for name, one in scalar.items()}
    if isinstance(scalar, pa.ListScalar):
        return [_value(one) for one in scalar.values]
    return scalar.as_buffer().to_pybytes().decode(errors="replace")


def _finite(value: Any) -> Any:
    """The value without numbers that are none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return {key: _finite(one) for key, one in value.items()} if isinstance(value, dict) else value


def _problem(path: Path, number: int, error: Exception) -> str:
    return f"{path} cannot be read as Parquet after row {number}: {' '.join(str(error).split())}; give another file"
