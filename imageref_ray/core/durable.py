"""Files that are on the disk, whole, before anyone calls them done: also after a kill, a power cut and a full disk.

    content ─▶ hidden file beside the path ─▶ fsync ─▶ rename ─▶ fsync of the folder: from now on it counts

Every file by which a run is counted, resumed or called finished is written by `write_atomically` or `replacing`. What
libraries write goes into a hidden folder, which `sync_tree` and then a rename make count.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (errno.EIO, errno.EROFS, errno.ESTALE)
SAID: tuple[tuple[re.Pattern[str], int, int | None], ...] = (
    (re.compile(r"no space left on device|disk is full|quota exceeded", re.IGNORECASE), errno.ENOSPC, errno.ENOSPC),
    (re.compile(r"(disk i/o|input/output) error", re.IGNORECASE), errno.EIO, errno.EIO),
    (re.compile(r"PytorchStreamWriter failed|inline_container.* unexpected pos"), errno.ENOSPC, errno.EIO),
    (re.compile(r"database is locked|unable to open database file"), errno.ENOSPC, None),
)
"""What libraries say that raise no OSError (safetensors, sqlite, torch) → the disk's error if there is no room, and if
there is (None: another reason)."""

NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)
"""What file systems say that cannot sync a folder (SMB, some in user space), or for one that may not be read. There
the file system decides when a name is on the disk; the content of files is synced all the same."""

LITTLE = 2**20
"""With fewer bytes free a disk counts as full."""


class DiskError(OSError):
    """A full or broken disk; the message is one sentence: which path, why, how much room there is, what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


def disk_problem(error: OSError, path: Path, needed: int = 0) -> str:
    """What a `DiskError` about `path` says; `needed`: bytes that were to be written, 0 where that is not known."""
    if error.errno not in FULL:
        return f"{path} cannot be written: {error.strerror}; check the disk"
    free = f"{shutil.disk_usage(_existing(path)).free:,} bytes are free on the disk"
    room = f"{free}, {needed:,} more are needed" if needed else free
    return f"{path} cannot be written: {error.strerror} ({room}); free space"


@contextmanager
def writing(path: Path, needed: int = 0) -> Iterator[None]:
    """Turns an error of the block that a full or broken disk is the reason of into a DiskError about `path`, whatever
    kind of error the library that writes makes of it."""
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        number = _reason(error, path)
        if number is None:
            raise
        problem = OSError(number, os.strerror(number))
        raise DiskError(number, disk_problem(problem, path, needed), str(path)) from error


def _reason(error: Exception, path: Path) -> int | None:
    """The number of the disk's error behind an exception; None where it has another reason."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in (*FULL, *BROKEN) else None
    if type(error).__module__.startswith("imageref_ray."):  # one of ours names its reason, perhaps another file
        return None
    for said, without_room, with_room in SAID:
        if said.search(str(error)):
            return without_room if shutil.disk_usage(_existing(path)).free < LITTLE else with_room
    return None


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.absolute().parents) if one.exists())


@contextmanager
def replacing(
    path: Path, mode: Literal["w", "wb"] = "w", check: Callable[[], None] | None = None, needed: int = 0
) -> Iterator[IO[Any]]:
    """Gives a new file to write (text is UTF-8), which takes the place of `path`, on the disk, when the block ends.

    If the block fails, nothing has changed. `check` is called right before the file would count, and may raise.
    Raises DiskError for a full or broken disk; `needed` bytes are named in it.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    with writing(path, needed):
        try:
            with hidden.open(mode, encoding=None if mode == "wb" else "utf-8") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if check:
                check()
            hidden.replace(path)
        except BaseException:
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
            raise
    sync(path.parent)


def write_atomically(path: Path, content: str | bytes, check: Callable[[], None] | None = None) -> None:
    """Write the file completely or not at all; when this returns it is on the disk. Parameters as in `replacing`."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path, "wb", check, len(data)) as file:
        file.write(data)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    with writing(path):
        try:
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
        except OSError as error:
            if error.errno not in NO_FOLDER_SYNC or not path.is_dir():
                raise


def sync_tree(folder: Path) -> None:
    """Wait until everything in a folder is on the disk; its own name is there once `sync` was called for its parent."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, that stays. One that is there already may have been made by a process that was
    killed before its name was on the disk."""
    with writing(folder):
        new = [one for one in (folder, *folder.parents) if one == folder or not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(new):
        sync(one.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there, so that it stays removed."""
    with writing(path):
        path.unlink(missing_ok=True)
    sync(path.parent)
