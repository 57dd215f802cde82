"""Fetched images on disk: each address is fetched once, each content stored once.

    <folder>/<sha256[:2]>/<sha256>.<ext>        the images
    <folder>/index/<key[:2]>/<key>              per fetched address (key: its sha256) one line with its image file

Image files are whole and on the disk before a record names them. An index file is locked during the fetch and complete
once it ends in a line break: other threads and processes wait for the image instead of fetching it too, and an index
file that a kill or a power cut left incomplete means that it is fetched again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from imageref_ray.core.durable import make_folder, write_atomically, writing
from imageref_ray.core.images import Problem, file_extension


def fetch_once(folder: Path, uri: str, get: Callable[[], bytes | Problem]) -> Path | Problem:
    """The file with the image behind `uri`; `get` is called only if there is none yet.

    Only images are stored. Raises OSError if the folder cannot be written to, DiskError if its disk is full.
    """
    key = hashlib.sha256(uri.encode()).hexdigest()
    index_path = folder / "index" / key[:2] / key
    with writing(index_path), _open(index_path) as index_file:
        with suppress(OSError):  # a file system without locks: at worst, two fetch the same address
            fcntl.flock(index_file, fcntl.LOCK_EX)
        if (cached := _cached(folder, index_file)) is not None:
            return cached
        data = get()
        if isinstance(data, Problem):
            return data
        path = _store(folder, data)
        if isinstance(path, Problem):
            return path
        index_file.truncate(0)
        index_file.write(json.dumps({"file": path.relative_to(folder).as_posix(), "uri": uri}).encode() + b"\n")
        return path


def _open(index_path: Path) -> BinaryIO:
    index_path.parent.mkdir(parents=True, exist_ok=True)
    return index_path.open("a+b")


def _cached(folder: Path, index_file: BinaryIO) -> Path | None:
    """The image that a complete index file names, if it still exists."""
    index_file.seek(0)
    line = index_file.read()
    if not line.endswith(b"\n"):
        return None
    path: Path = folder / json.loads(line)["file"]
    return path if path.is_file() else None


def _store(folder: Path, data: bytes) -> Path | Problem:
    """Write the content to a file named by its hash and format, unless it exists."""
    if not data:
        return Problem("EmptyImage", "has 0 bytes")
    extension = file_extension(data)
    if isinstance(extension, Problem):
        return extension
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / sha256[:2] / f"{sha256}{extension}"
    if path.is_file():
        return path
    if not path.parent.is_dir():
        make_folder(path.parent)
    write_atomically(path, data)
    return path
