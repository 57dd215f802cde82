"""An annotation file, ours or another tool's → its samples one at a time, in one format; unreadable ones are findings.

InternVL, ShareGPT, ms-swift JSONL   {"conversations" | "messages": [turns], "image" | "images": path(s)} per line
LLaVA JSON                           a list of the same
Parquet                              the same as columns, or our records.parquet
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Record, Sample, from_row
from imageref_ray.dataset.export.rows import TAG, answer
from imageref_ray.dataset.mixture import ROLES

OPENING, CHUNK, LONGEST = 2**12, 2**20, 2**26
"""In characters: where a JSON list must begin, how much of it is read at a time, the longest element."""

_BETWEEN = re.compile(r"[\s,]*")

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
    """The samples of the file in order. Raises ConfigError if it is missing, not UTF-8 or not valid Parquet."""
    if path.suffix == ".parquet":
        _require_file(path)
        yield from _parquet(path)
        return
    for line, value in iterate_json(path):
        yield value if isinstance(value, Finding) else parse_row(line, value)


def iterate_json(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of a JSONL file or a JSON list, in order; a Finding in place of what is not valid JSON.

    Raises ConfigError if the file is missing or not UTF-8.
    """
    _require_file(path)
    with path.open("rb") as file:
        is_list = file.read(OPENING).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    try:
        yield from iterate_json_list(path) if is_list else iterate_json_lines(path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 ({error}); convert it to UTF-8") from None


def _require_file(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{path} {what}; give the path of a JSONL, JSON or Parquet file")


def parse_row(line: int, row: Any) -> AnnotatedSample | Finding:
    """A row in any of the formats as a sample, or what is wrong with it."""
    if not isinstance(row, dict):
        return Finding(line, "-", "shape", f"contains {type(row).__name__}; {SHAPE}")
    id = "-" if row.get("id") is None else str(row["id"])
    turns = row.get("conversations", row.get("messages"))
    if not isinstance(turns, list) or not turns:
        return Finding(line, id, "shape", f"has no turns; {SHAPE}")
    try:
        parsed = tuple(_turn(turn) for turn in turns)
        return AnnotatedSample(line, id, parsed, _images(row.get("image", row.get("images"))))
    except ValueError as error:
        return Finding(line, id, "shape", str(error))


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict):
        raise ValueError(f"a turn is {type(turn).__name__}; write it as {{from, value}} or {{role, content}}")
    role, content = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if role not in ROLES:
        raise ValueError(f"a turn is by {role!r}; use one of {', '.join(ROLES)}")
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if not isinstance(content, str):
        raise ValueError(f"a turn of {role} contains {type(content).__name__}, not text")
    return ROLES[role], content


def _part(part: Any) -> str:
    """A content part in OpenAI's format as text."""
    if not isinstance(part, dict) or part.get("type") not in ("text", "image", "image_url"):
        raise ValueError("a turn has a part that is neither text nor an image")
    return str(part.get("text", "")) if part["type"] == "text" else TAG


def _images(value: Any) -> tuple[AnnotatedImage, ...]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(map(_image, entries))


def _image(entry: Any) -> AnnotatedImage:
    if isinstance(entry, dict):
        name, data = entry.get("path") or entry.get("url") or "", entry.get("bytes")
        if isinstance(name, str) and (name or data) and isinstance(data, bytes | None):
            return AnnotatedImage(name, data)
    if isinstance(entry, str) and entry:
        return AnnotatedImage(entry)
    raise ValueError(f"an image is {str(entry)[:60]!r}, not a path")


def iterate_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of a JSONL file; a Finding in place of what is not valid JSON."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
                except (ValueError, RecursionError) as error:
                    yield number, Finding(number, "-", "json", f"not valid JSON ({error})")


def iterate_json_list(path: Path, chunk: int = CHUNK) -> Iterator[tuple[int, Any]]:
    """(line, element) of a JSON list, the line where it begins; at most one chunk or element is in memory."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(max(chunk, OPENING))
        at = text.index("[") + 1
        line = 1 + text.count("\n", 0, at)
        while True:
            begin = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            line += text.count("\n", at, begin)
            at = begin
            if text.startswith("]", at):
                return
            try:
                value, end = decoder.raw_decode(text, at)
            except (json.JSONDecodeError, RecursionError) as error:
                more = file.read(max(chunk, len(text) - at)) if len(text) - at < LONGEST else ""
                if not more:
                    reason = getattr(error, "msg", "nested too deeply")
                    yield line, Finding(line, "-", "json", f"not valid JSON from here on ({reason})")
                    return
                text, at = text[at:] + more, 0
                continue
            yield line, value
            line += text.count("\n", at, end)
            at = end


def _parquet(path: Path) -> Iterator[AnnotatedSample | Finding]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigError(f"{path} cannot be read as Parquet ({error}); give another file") from None
    with file:
        ours = {"sample", "response", "placements"} <= set(file.schema_arrow.names)
        line = 0
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                line += 1
                yield _record(line, row) if ours else parse_row(line, row)


def _record(line: int, row: dict[str, Any]) -> AnnotatedSample | Finding:
    record = from_row(Record, row)
    try:
        text = answer(record, "plain")
    except KeyError as error:
        return Finding(line, record.id, "exists", f"places {error}, which is not one of the sample's images")
    except ValueError as error:
        return Finding(line, record.id, "slot", str(error))
    images = tuple(AnnotatedImage(_absolute(image.uri)) for image in record.sample.images)
    return AnnotatedSample(line, record.id, (("user", TAG * len(images)), ("assistant", text)), images, record.sample)


def _absolute(uri: str) -> str:
    """An absolute path: those in records are relative to the working directory of the build."""
    return uri if "://" in uri else str(Path(uri).absolute())
