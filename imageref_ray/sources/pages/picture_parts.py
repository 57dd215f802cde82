"""Pictures that are parts of files of pictures: their addresses, and the content behind one.

    parquet:/data/part.parquet#column=binary_content&row=7          a value of a Parquet file; rows count from 0
    part:/data/shard.tar#member=a.jpg&offset=512&size=4096&frame=2  bytes of a file, or else a member of an archive (or
                                                                    the whole file), and of its TIFF the frame, from 0

Parquet files cannot be entered in the middle of a group of rows, which may hold all pictures there are: who asks for
one gets those after it, too.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

import PIL.Image

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.images import DECODE_ERRORS, Problem
from imageref_ray.core.parquet_files import values_from

ROW, PART = "parquet", "part"

MOST_DIGITS = 18

AHEAD = 256_000_000
"""Bytes of pictures after one of a Parquet file that are read with it."""


def row_address(path: Path, column: str, row: int) -> str:
    """The address of a picture that is a value of a Parquet file."""
    return f"{ROW}:{quote(os.fsencode(path.absolute()))}#{urlencode({'column': column, 'row': row})}"


def part_address(path: Path, **part: str | int | None) -> str:
    """The address of a picture in a file: `member`, `offset` and `size`, `frame`, as far as they are known."""
    known = {key: value for key, value in part.items() if value is not None}
    return f"{PART}:{quote(os.fsencode(path.absolute()))}#{urlencode(known)}"


def file_of(uri: str) -> Path:
    """The file that an address of a part names."""
    return Path(os.fsdecode(unquote_to_bytes(uri.partition(":")[2].partition("#")[0])))


def rows(uri: str, max_bytes: int) -> Iterator[tuple[str, bytes | Problem]]:
    """(address, content) of the picture at an address of a row, then of those after it."""
    path, part = file_of(uri), _part(uri)
    read = 0
    try:
        first = _whole(part, "row")
        for row, value in values_from(path, part["column"], first):
            asked = row == first
            if value is None and not asked:
                continue
            yield uri if asked else row_address(path, part["column"], row), _content(value, max_bytes)
            read += len(value) if isinstance(value, bytes) else 0
            if read > AHEAD:
                return
    except ConfigError as problem:
        yield uri, Problem("BrokenImage", str(problem))
    except (KeyError, ValueError):
        yield uri, Problem("BrokenAddress", "is no picture of a Parquet file: expected parquet:PATH#column=NAME&row=7")


def _content(value: object, max_bytes: int) -> bytes | Problem:
    if not isinstance(value, bytes):
        return Problem("MissingImage", "is a row without bytes")
    return _too_large(len(value), max_bytes) or value


def extract(uri: str, max_bytes: int) -> bytes | Problem:
    """The content of a picture in a file."""
    path, part = file_of(uri), _part(uri)
    try:
        data = _bytes(path, part, max_bytes)
        if isinstance(data, Problem) or "frame" not in part:
            return data
        return _frame(data, _whole(part, "frame"))
    except FileNotFoundError:
        return Problem("MissingImage", f"cannot be read: {path} does not exist")
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        return Problem("BrokenImage", f"cannot be read from its file: {error}")


def _bytes(path: Path, part: dict[str, str], max_bytes: int) -> bytes | Problem:
    if "member" in part and "size" not in part:
        with tarfile.open(path) as archive:
            try:
                member = archive.getmember(part["member"])
            except KeyError:
                return Problem("MissingImage", "is not in its archive")
            content = archive.extractfile(member)
            if content is None:
                return Problem("MissingImage", "is no file in its archive")
            return _too_large(member.size, max_bytes) or content.read()
    start = _whole(part, "offset") if "offset" in part else 0
    size = _whole(part, "size") if "size" in part else path.stat().st_size
    if problem := _too_large(size, max_bytes):
        return problem
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    return data if len(data) == size else Problem("BrokenImage", f"should have {size} bytes, its file has {len(data)}")


def _too_large(size: int, max_bytes: int) -> Problem | None:
    if size <= max_bytes:
        return None
    return Problem("ImageTooLarge", f"has {size} bytes, more than the {max_bytes} allowed")


def _frame(data: bytes, number: int) -> bytes | Problem:
    """One frame of a TIFF as PNG, any other picture as it is."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("TIFF",)) as picture:
            picture.seek(number)
            file = io.BytesIO()
            picture.convert("RGB").save(file, "PNG")
            return file.getvalue()
    except PIL.UnidentifiedImageError:
        return data
    except (PIL.Image.DecompressionBombError, *DECODE_ERRORS) as error:
        return Problem("BrokenImage", f"has no frame {number} that can be decoded: {error}")


def _part(uri: str) -> dict[str, str]:
    return dict(parse_qsl(uri.partition("#")[2]))


def _whole(part: dict[str, str], key: str) -> int:
    """A number of an address; raises ValueError where it is none from 0."""
    value = part[key]
    if not value.isdecimal() or len(value) > MOST_DIGITS:
        raise ValueError(f"{key} {value!r} is no number")
    return int(value)
