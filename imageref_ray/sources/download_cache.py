"""Fetched pictures on disk, each content once and each address asked once.

    <folder>/<sha256[:2]>/<sha256>.<ext>        the pictures
    <folder>/index/<key[:2]>/<key>              one line a fetched address: its picture (key: sha256 of the address)

A picture is there wholly or not at all. An address's note is locked while it is fetched and complete with its line
break, so other threads and processes wait for the picture instead of fetching it too, and a kill leaves a note that
is fetched again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from imageref_ray.core.images import Problem, file_extension


def once(folder: Path, uri: str, get: Callable[[], bytes | Problem]) -> Path | Problem:
    """The file that holds the picture behind `uri`; `get` is called only where there is none yet.

    What is no picture is not kept. Raises OSError when the folder cannot be written to.
    """
    key = hashlib.sha256(uri.encode()).hexdigest()
    note = folder / "index" / key[:2] / key
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.open("a+b") as entry:
        with suppress(OSError):  # a file system without locks: at worst, two fetch the same
            fcntl.flock(entry, fcntl.LOCK_EX)
        if (held := _held(folder, entry)) is not None:
            return held
        data = get()
        if isinstance(data, Problem):
            return data
        path = _kept(folder, data)
        if isinstance(path, Problem):
            return path
        entry.truncate(0)
        entry.write(json.dumps({"file": path.relative_to(folder).as_posix(), "uri": uri}).encode() + b"\n")
        entry.flush()
        os.fsync(entry.fileno())
        return path


def _held(folder: Path, entry: BinaryIO) -> Path | None:
    """The picture that a whole note names, if it still lies there."""
    entry.seek(0)
    line = entry.read()
    if not line.endswith(b"\n"):
        return None
    path: Path = folder / json.loads(line)["file"]
    return path if path.is_file() else None


def _kept(folder: Path, data: bytes) -> Path | Problem:
    """The content under its own hash, with the extension it calls for."""
    if not data:
        return Problem("EmptyImage", "has 0 bytes")
    extension = file_extension(data)
    if isinstance(extension, Problem):
        return extension
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / sha256[:2] / f"{sha256}{extension}"
    if path.is_file():
        return path
    path.parent.mkdir(exist_ok=True)
    hidden = path.with_name(f".{sha256}.{uuid.uuid4().hex[:12]}.tmp")
    with hidden.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    hidden.replace(path)
    return path
