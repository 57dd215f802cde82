"""A position-label CSV (paasEventID, image_map, result) → its rows with their event ids; what is in the cells is for
those who read labels, the ids alone say which events have any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.files import read_csv, require_file, shown

COLUMNS = ("paasEventID", "image_map", "result")


class LabelRow(NamedTuple):
    """One event's row; `where` is its file and line, for messages."""

    where: str
    event: str
    cells: dict[str, str]


def label_rows(path: Path) -> Iterator[LabelRow]:
    """The rows in the file's order. Raises ConfigError for a file without these columns, an empty or a repeated id."""
    require_file(path, "the label CSV")
    names, rows = read_csv(path)
    if missing := [name for name in COLUMNS if name not in names]:
        found = shown(", ".join(names))
        expected = f"a label CSV has {', '.join(COLUMNS)}, separated by commas"
        raise ConfigError(f"{path}: column {', '.join(missing)} is missing (found: {found}); {expected}")
    seen: set[str] = set()
    for line, row in rows:
        where = f"{path} line {line}"
        event = row["paasEventID"].strip()
        if not event or event in seen:
            problem = f"event {event} is repeated" if event else "paasEventID is empty"
            raise ConfigError(f"{where}: {problem}; give every event its own row")
        seen.add(event)
        yield LabelRow(where, event, row)
