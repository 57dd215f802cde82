"""Who may write into a run directory: every start of a job is an attempt, and only the newest attempt writes.

    <run>/attempts/000001       created exclusively by the driver that starts the attempt; its time is the start
    <run>/attempts/000001.stop  a request to stop: nothing new is begun, records in flight are finished and committed

A driver that was suspended and wakes up again finds a newer number and commits nothing more.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from imageref_ray.core.durable import make_folder, sync, writing

FOLDER = "attempts"
LOOK_S = 0.5
"""Seconds between two looks of a `StopFlag` at the disk, which many workers share."""


class Superseded(RuntimeError):
    """A newer attempt has taken over the run directory."""


def begin(directory: Path) -> int:
    """Take over the run directory; returns this attempt's number, from 1."""
    folder = directory / FOLDER
    make_folder(folder)
    number = newest(directory) + 1
    while True:
        path = _path(directory, number)
        try:
            with writing(path), path.open("x", encoding="utf-8") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            number += 1
        else:
            sync(folder)
            return number


def newest(directory: Path) -> int:
    """The number of the last attempt, 0 before the first."""
    return max((int(path.name) for path in (directory / FOLDER).glob("[0-9]*") if path.name.isdigit()), default=0)


def check(directory: Path, number: int) -> None:
    """Raise Superseded when a newer attempt than `number` has begun (0: a writer outside any attempt)."""
    if number and _path(directory, number + 1).exists():
        raise Superseded(
            f"attempt {number} on {directory} was taken over by attempt {newest(directory)}; this one writes no more"
        )


def ask_to_stop(directory: Path, number: int) -> None:
    """Ask every worker of this attempt to finish what it has begun and to begin nothing new."""
    path = _stop_path(directory, number)
    with writing(path):
        path.touch()


def stopping(directory: Path, number: int) -> bool:
    """Whether this attempt was asked to stop."""
    return _stop_path(directory, number).exists()


class StopFlag:
    """`stopping` for one attempt, cheap enough to ask for every record."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._looked, self._set = 0.0, False

    def is_set(self) -> bool:
        """Whether this attempt was asked to stop; the disk is looked at every `LOOK_S` seconds at most."""
        if not self._set and time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._set = stopping(self._directory, self._number)
        return self._set


def times(directory: Path) -> dict[int, float]:
    """Attempt number → when it began (seconds since the epoch)."""
    paths = {number: _path(directory, number) for number in range(1, newest(directory) + 1)}
    return {number: path.stat().st_mtime for number, path in paths.items() if path.exists()}


def _path(directory: Path, number: int) -> Path:
    return directory / FOLDER / f"{number:06d}"


def _stop_path(directory: Path, number: int) -> Path:
    return directory / FOLDER / f"{number:06d}.stop"
