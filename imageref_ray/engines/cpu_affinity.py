"""Which cores a process uses where the CPU is the accelerator: what feeds an engine leaves the engine's cores alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

BEHIND = 8
"""How much higher the feeding threads' niceness is than the engine's. At 0 they delay its scheduler; at 19 its batch
runs empty, since a scheduler that waits for the next step spins and so uses all the time that it gets."""

_LINUX = sys.platform == "linux"
_ALL = os.sched_getaffinity(0) if _LINUX else set()


@contextmanager
def apart() -> Iterator[None]:
    """Processes started inside may bind themselves to cores; afterwards all threads of this process avoid those cores,
    if others are left, and run at a lower priority.

    Only speed depends on it: errors of the system calls are ignored, and other systems than Linux do nothing.
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
