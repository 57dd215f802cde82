"""Every Parquet file that people give → its rows as plain values, a batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.text import repaired

BATCH = 64
"""Rows in memory at a time."""


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows in order. Raises ConfigError, after the rows before it, for what cannot be read."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                rows = batch.to_pylist()
                number += len(rows)
                yield from map(repaired, rows)
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        raise ConfigError(_problem(path, number, error)) from None


def _problem(path: Path, number: int, error: Exception) -> str:
    return f"{path} cannot be read as Parquet after row {number}: {' '.join(str(error).split())}; give another file"
