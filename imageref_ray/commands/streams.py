"""The standard streams of a command: what happens where nobody reads on, where nothing can be written, or where they
are closed. In between a command prints as if all were well."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

UNREAD = 141
"""Exit code of a command whose output nobody reads on (`… | head`): what a shell says of one that SIGPIPE ended."""


def guarded(run: Callable[[], int]) -> int:
    """Run a command until all it printed is out; its exit code, `UNREAD`, or 1 where a disk is full (one line)."""
    _stand_in()
    try:
        code = _flushed(run)
    except BrokenPipeError:
        if not _unread():  # somebody else's pipe
            raise
        code = UNREAD
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f"{error.filename}: " if error.filename else ""
        with suppress(OSError):
            print(f"imageref: {where}{error.strerror}", file=sys.stderr)
        code = 1
    _silence()
    if isinstance(code, SystemExit):
        raise code
    return code


def _flushed(run: Callable[[], int]) -> int | SystemExit:
    code: int | SystemExit
    try:
        code = run()
    except SystemExit as stop:  # argparse's end, or rich's where a pipe is closed
        code = UNREAD if isinstance(stop.__context__, BrokenPipeError) else stop
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _stand_in() -> None:
    """Put nothing in the place of streams that are closed (`>&-`): else the next file that is opened would be one."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _unread() -> bool:
    """Whether stdout or stderr is a pipe that nobody reads."""
    watch = select.poll()
    for number in (1, 2):
        watch.register(number, 0)
    return bool(watch.poll(0))


def _silence() -> None:
    """Send nowhere what a stream still holds and cannot write: Python would try, and complain, at its end."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
