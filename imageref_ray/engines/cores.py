"""The cores of a machine whose CPU is the accelerator: what feeds an engine keeps away from where it computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    cores, if others are left, and behind whatever else runs on theirs. Does nothing where Linux's calls are missing."""
    if _LINUX:
        os.sched_setaffinity(0, _ALL)  # a process inherits from the thread that starts it
    yield
    if not _LINUX:
        return
    found = [set(child.cpu_affinity()) for child in psutil.Process().children(recursive=True)]
    free = _ALL.difference(*(cores for cores in found if cores < _ALL)) or _ALL
    niceness = min(os.nice(0) + BEHIND, 19)
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), free)
        os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
