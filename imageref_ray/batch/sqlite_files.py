"""SQLite files of a run: opened for one writer that may be killed, and each of their errors one sentence with the file.

In write-ahead mode a killed process loses nothing, a lost machine the last changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imageref_ray.core.durable import writing
from imageref_ray.engines.base import EngineError

DAMAGED = ("file is not a database", "malformed")


def open_file(path: Path, what: str, table: str) -> sqlite3.Connection:
    """The file, with the table of that definition. Raises as `reporting`."""
    with reporting(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            file.execute("PRAGMA journal_mode=WAL")
            file.execute("PRAGMA synchronous=NORMAL")
            file.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        except sqlite3.Error:
            file.close()
            raise
        return file


@contextmanager
def reporting(path: Path, what: str) -> Iterator[None]:
    """Raises DiskError where the disk is the reason that the file (which is `what`) fails, else EngineError: no record
    is at fault."""
    try:
        with writing(path):
            yield
    except sqlite3.Error as error:
        damaged = any(said in str(error) for said in DAMAGED)
        hint = "; restore the file or move it away" if damaged else ""
        raise EngineError(f"{what} {path} cannot be read or written: {error}{hint}") from error
