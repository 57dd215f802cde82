"""Files that are there completely or not at all, and text files as people save them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from imageref_ray.core.config.base import ConfigError

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark → encoding; that of UTF-32-LE begins with that of UTF-16-LE."""

LARGEST_CELL = 2**31 - 1
"""In characters, instead of csv's 131,072: a label's cell may name hundreds of images with long addresses."""


SHOWN = 60
"""Characters of a wrong value in a message."""


def require_file(path: Path, what: str) -> None:
    """Raise ConfigError unless the path is a file; `what` should be there."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{path} {problem}; give the path of {what}")


def shown(text: str) -> str:
    """A wrong value for a message: in one line, cut to `SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def write_atomically(path: Path, text: str) -> None:
    """Write the file completely or not at all, also when killed."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_text(path: Path) -> str:
    """The text of a user's file: UTF-8, or the encoding that its byte order mark names (spreadsheets write UTF-16).

    Raises ConfigError for bytes in any other encoding.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise ConfigError(f"{path} has NUL bytes, as UTF-16 without a byte order mark has; save the file as UTF-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line, name = data.count(b"\n", 0, error.start) + 1, encoding.removesuffix("-sig").upper()
        found = f"byte 0x{data[error.start]:02x} is not {name}"
        raise ConfigError(f"{path} line {line}: {found}, perhaps Windows-1252 or GBK; save the file as UTF-8") from None


def read_csv(path: Path) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    """The names of the columns, and every row, missing cells empty, with the number of its last line.

    Raises ConfigError as `read_text`, and for a row that is not CSV.
    """
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="")
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ConfigError(f"{path} line {reader.line_num + 1}: not a row of a CSV file ({error}); fix it") from None
    return reader.fieldnames or (), rows
