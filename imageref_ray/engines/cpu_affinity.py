"""The cores of a machine whose CPU is the accelerator: what feeds an engine keeps away from where it computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

BEHIND = 8
"""How much nicer the feeding threads are than the engine's. At 0 they hold up its scheduler; at 19 its batch runs
empty, since a scheduler that waits for the next step spins and so takes all that it is given."""

_LINUX = sys.platform == "linux"
_ALL = os.sched_getaffinity(0) if _LINUX else set()


@contextmanager
def apart() -> Iterator[None]:
    """Inside, processes are started that bind themselves to cores; afterwards all threads of this one keep off those
    cores, if others are left, and behind whatever else runs on theirs.

    Only speed hangs on it: what the system refuses is left as it is, and without Linux's calls nothing happens.
    """
    with suppress(OSError):
        if _LINUX:
            os.sched_setaffinity(0, _ALL)  # a process inherits from the thread that starts it
    yield
    if _LINUX:
        bound = {core for child in psutil.Process().children(recursive=True) for core in _bound(child)}
        niceness = min(os.nice(0) + BEHIND, 19)
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
                os.sched_setaffinity(int(thread.name), _ALL - bound or _ALL)


def _bound(process: psutil.Process) -> set[int]:
    """The cores to which a process has bound itself; none if it may run on all of them, or is gone."""
    try:
        cores = set(process.cpu_affinity())
    except psutil.Error:
        return set()
    return cores if cores < _ALL else set()
