"""An annotation file, ours or another tool's → its samples one at a time, in one format; unreadable ones are findings.

InternVL, ShareGPT, ms-swift JSONL   {"conversations" | "messages": [turns], "image" | "images": path(s)} per line
LLaVA JSON                           a list of the same
Parquet                              the same as columns
our records.jsonl, records.parquet   their answers in the plain variant
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import require_file
from imageref_ray.core.json_files import BrokenJson, JsonRow, NotText, json_rows
from imageref_ray.core.parquet_files import parquet_rows
from imageref_ray.core.records import Record, Sample, from_row
from imageref_ray.dataset.export.rows import TAG, answer
from imageref_ray.dataset.turns import ROLES, given, image_entries, turn_text, unread, with_system

RECORD = {"sample", "response", "placements"}
"""Keys by which a row of our own records is known."""

KINDS = "a JSONL, JSON or Parquet file"

SHAPE = 'expected {"id", "image": [paths], "conversations": [{"from", "value"}]} or {"messages", "images"}'


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: its line (in Parquet: row), the sample's id, its kind, and a message for the user."""

    line: int
    id: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image of a sample: its path or address, and the content of the file if it is embedded."""

    name: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedSample:
    """One sample: turns as (user | assistant | system, text), images in the order of the tags. `sample` is set only
    for our own records."""

    line: int
    id: str
    turns: tuple[tuple[str, str], ...]
    images: tuple[AnnotatedImage, ...] = ()
    sample: Sample | None = None


def read_samples(path: Path) -> Iterator[AnnotatedSample | Finding]:
    """The samples of the file in order. Raises ConfigError if it is missing, or UTF-16 without its mark."""
    require_file(path, KINDS)
    if path.suffix == ".parquet":
        yield from _parquet(path)
        return
    for line, value in values(json_rows(path), repair=False):
        yield value if isinstance(value, Finding) else _parse(line, value)


def iterate_json(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of a JSONL file or a JSON list, in order; a Finding in place of what is not valid JSON.

    Raises ConfigError as `read_samples`.
    """
    require_file(path, KINDS)
    yield from values(json_rows(path))


def values(rows: Iterable[JsonRow], repair: bool = True) -> Iterator[tuple[int, Any]]:
    """(line, value) of the rows, a Finding in place of what cannot be read (see `JsonRow.read`)."""
    for row in rows:
        try:
            yield row.line, row.read(repair)
        except BrokenJson as error:
            kind = "text" if isinstance(error, NotText) else "json"
            yield row.line, Finding(row.line, "-", kind, str(error))


def _parse(line: int, row: Any) -> AnnotatedSample | Finding:
    return _record(line, row) if isinstance(row, dict) and row.keys() >= RECORD else parse_row(line, row)


def parse_row(line: int, row: Any) -> AnnotatedSample | Finding:
    """A row in any of the formats as a sample, or what is wrong with it."""
    if not isinstance(row, dict):
        return Finding(line, "-", "shape", f"contains {type(row).__name__}; {SHAPE}")
    id = "-" if row.get("id") is None else str(row["id"])
    turns = given(row, "conversations", "messages")
    if not isinstance(turns, list) or not turns:
        return Finding(line, id, "shape", f"has no turns; {SHAPE}")
    try:
        parsed = with_system(row, tuple(_turn(turn) for turn in turns))
        if problem := unread(row):
            raise ValueError(problem)
        return AnnotatedSample(line, id, parsed, tuple(map(_image, image_entries(row))))
    except ValueError as error:
        return Finding(line, id, "shape", str(error))


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise ValueError(f"a turn is {type(turn).__name__}; write it as {{from, value}} or {{role, content}}")
    role, content = given(turn, "from", "role"), given(turn, "value", "content")
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"a turn is by {role!r}; use one of {', '.join(ROLES)}")
    if not isinstance(content, str | list):
        raise ValueError(f"a turn of {role} contains {type(content).__name__}, not text")
    return ROLES[role], turn_text(content)


def _image(entry: Any) -> AnnotatedImage:
    if isinstance(entry, dict):
        name, data = entry.get("path") or entry.get("url") or "", entry.get("bytes")
        if isinstance(name, str) and (name or data) and isinstance(data, bytes | None):
            return AnnotatedImage(name, data)
    if isinstance(entry, str) and entry:
        return AnnotatedImage(entry)
    raise ValueError(f"an image is {str(entry)[:60]!r}, not a path")


def _parquet(path: Path) -> Iterator[AnnotatedSample | Finding]:
    line = 0
    try:
        for line, row in enumerate(parquet_rows(path), 1):
            yield _parse(line, row)
    except ConfigError as error:
        if not line:
            raise
        yield Finding(line + 1, "-", "parquet", str(error))


def _record(line: int, row: dict[str, Any]) -> AnnotatedSample | Finding:
    try:
        record = from_row(Record, row)
        text = answer(record, "plain")
    except KeyError as error:
        return Finding(line, record.id, "exists", f"places {error}, which is not one of the sample's images")
    except ValueError as error:
        return Finding(line, record.id, "slot", str(error))
    except (TypeError, AttributeError):
        return Finding(line, "-", "shape", "has the keys of our records, but not their content; export it again")
    images = tuple(AnnotatedImage(_absolute(image.uri)) for image in record.sample.images)
    return AnnotatedSample(line, record.id, (("user", TAG * len(images)), ("assistant", text)), images, record.sample)


def _absolute(uri: str) -> str:
    """An absolute path: those in records are relative to the working directory of the build."""
    return uri if "://" in uri else str(Path(uri).absolute())
