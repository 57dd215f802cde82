"""Who may write into a run directory: every start of a job is an attempt, and only the newest one writes.

    <run>/attempts/000001       made by the driver that starts the attempt, exclusively; its time is the start
    <run>/attempts/000001.stop  a wish to end: nothing new is begun, what is in flight is finished and committed

An old driver that wakes up again finds a newer number and commits nothing more.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

FOLDER = "attempts"
LOOK_S = 0.5
"""Seconds for which a `StopFlag` believes what it saw: it is asked for every record, on a disk that many share."""


class Superseded(RuntimeError):
    """A newer attempt has taken over the run directory."""


def begin(directory: Path) -> int:
    """Take over the directory; returns this attempt's number, from 1."""
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    number = newest(directory) + 1
    while True:
        try:
            with _note(directory, number).open("x", encoding="utf-8") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}\n")
        except FileExistsError:
            number += 1
        else:
            return number


def newest(directory: Path) -> int:
    """The number of the last attempt, 0 before the first."""
    return max((int(path.name) for path in (directory / FOLDER).glob("[0-9]*") if path.name.isdigit()), default=0)


def check(directory: Path, number: int) -> None:
    """Raise Superseded when a newer attempt than `number` has begun (0: a writer outside any attempt)."""
    if number and _note(directory, number + 1).exists():
        raise Superseded(
            f"attempt {number} on {directory} was taken over by attempt {newest(directory)}; "
            "this one writes nothing more"
        )


def ask_to_stop(directory: Path, number: int) -> None:
    """Let every worker of this attempt finish what it has begun and begin nothing new."""
    _stop(directory, number).touch()


def stopping(directory: Path, number: int) -> bool:
    """Whether this attempt is asked to end."""
    return _stop(directory, number).exists()


class StopFlag:
    """`stopping` for one attempt, as often as one likes: the disk is looked at at most twice a second."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._looked, self._set = 0.0, False

    def is_set(self) -> bool:
        if not self._set and time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._set = stopping(self._directory, self._number)
        return self._set


def times(directory: Path) -> dict[int, float]:
    """Attempt number → when it began (seconds since the epoch)."""
    notes = {number: _note(directory, number) for number in range(1, newest(directory) + 1)}
    return {number: note.stat().st_mtime for number, note in notes.items() if note.exists()}


def _note(directory: Path, number: int) -> Path:
    return directory / FOLDER / f"{number:06d}"


def _stop(directory: Path, number: int) -> Path:
    return directory / FOLDER / f"{number:06d}.stop"
