"""Text and CSV files as people save them (JSON: json_files.py)."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from imageref_ray.core.config_error import ConfigError


class Encoding(NamedTuple):
    """How a text is written: its name, Python's codec, and the byte order mark that the file begins with."""

    name: str
    codec: str
    mark: bytes


UTF_8 = Encoding("UTF-8", "utf-8", b"")

_MARKED = (
    Encoding("UTF-8", "utf-8", codecs.BOM_UTF8),
    Encoding("UTF-32", "utf-32-le", codecs.BOM_UTF32_LE),
    Encoding("UTF-32", "utf-32-be", codecs.BOM_UTF32_BE),
    Encoding("UTF-16", "utf-16-le", codecs.BOM_UTF16_LE),
    Encoding("UTF-16", "utf-16-be", codecs.BOM_UTF16_BE),
)
"""The mark of UTF-32-LE begins with that of UTF-16-LE."""

_OTHERS = (
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"PK\x03\x04", "a ZIP archive or an Excel file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"PAR1\x15", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"%PDF-", "a PDF"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"SQLite format 3", "an SQLite database"),
    (b"version https://git-lfs", "a pointer of Git LFS (`git lfs pull` gets the file)"),
)
"""How files begin that are given in place of a text."""

BEGIN = 32
"""Bytes by which a file's encoding, or its kind, is known."""

LARGEST_CELL = 2**31 - 1
"""In characters, instead of csv's 131,072: a label's cell may name hundreds of images with long addresses."""


SHOWN = 60
"""Characters of a wrong value in a message."""


def require_file(path: Path, what: str) -> None:
    """Raise ConfigError unless the path is a file; `what` should be there."""
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        problem = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ConfigError(f"{path} {problem}; give the path of {what}")


def shown(text: str) -> str:
    """A wrong value for a message: in one line, cut to `SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def first_names(names: Sequence[object], most: int = 3) -> str:
    """The first `most` names for a message, and whether there are more."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def encoding_of(path: Path, begin: bytes) -> Encoding:
    """The encoding of a file that begins so: the one that its byte order mark names, else UTF-8.

    Raises ConfigError for a file that is no text.
    """
    if kind := next((kind for mark, kind in _OTHERS if begin.startswith(mark)), ""):
        raise ConfigError(f"{path} is {kind}, not text; give the text itself, saved as UTF-8")
    return next((encoding for encoding in _MARKED if begin.startswith(encoding.mark)), UTF_8)


def not_text(error: UnicodeDecodeError, encoding: Encoding) -> str:
    """What is wrong with bytes that are not of the encoding, for messages."""
    perhaps = ", perhaps Windows-1252 or GBK" if encoding.name == "UTF-8" else ""
    return f"byte 0x{error.object[error.start]:02x} is not {encoding.name}{perhaps}"


def read_text(path: Path) -> str:
    """The text of a user's file: UTF-8, or the encoding that its byte order mark names (spreadsheets write UTF-16).

    Raises ConfigError for bytes in any other encoding, and for what is no text.
    """
    data = path.read_bytes()
    encoding = encoding_of(path, data[:BEGIN])
    if encoding.codec == "utf-8" and b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        what = "has NUL bytes, as UTF-16 without a byte order mark has"
        raise ConfigError(f"{path} line {line}: {what}; save the file as UTF-8")
    try:
        return data[len(encoding.mark) :].decode(encoding.codec).lstrip("\ufeff")  # some programs write the mark twice
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding.codec, "ignore")
        line = before.count("\n") + 1
        raise ConfigError(f"{path} line {line}: {not_text(error, encoding)}; save the file as UTF-8") from None


def read_csv(path: Path) -> tuple[Sequence[str], list[tuple[int, dict[str, str]]]]:
    """The names of the columns, and every row, missing cells empty, with the number of its last line.

    Spaces around names are no part of them. Raises ConfigError as `read_text`, for a row that is not CSV or has more
    cells than there are columns, and for two columns of one name.
    """
    csv.field_size_limit(LARGEST_CELL)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restval="", strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        names = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if repeated := [name for name in names if name and names.count(name) > 1]:
            raise ConfigError(f"{path} line 1: two columns are named {shown(repeated[0])}; rename one of them")
        for row in reader:
            if any(row.pop(None, ())):
                problem = f"more cells than the {len(names)} columns; write cells with commas between quotes"
                raise ConfigError(f"{path} line {reader.line_num}: {problem}")
            if not any(cell.strip() for cell in row.values()):
                continue  # spreadsheets write empty rows as commas
            rows.append((reader.line_num, row))
    except csv.Error as error:
        line = reader.line_num + 1  # where the row begins
        raise ConfigError(f"{path} line {line}: not a row of a CSV file ({error}); fix it") from None
    return names, rows
