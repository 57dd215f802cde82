"""A command's standard streams: a closed pipe, a full disk or closed streams end it quietly, with the right exit code.

The command itself prints as if nothing could go wrong.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from imageref_ray.core.durable import BROKEN, FULL, DiskError, disk_problem

PIPE_CLOSED = 141
"""Exit code of a command whose output pipe was closed (`… | head`): what a shell reports for a process that SIGPIPE
ended."""


def run_guarded(run: Callable[[], int]) -> int:
    """Run a command and flush its output; returns its exit code, `PIPE_CLOSED`, or 1 for a full or broken disk (one
    line)."""
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be text
    try:
        code = _run_and_flush(run)
    except BrokenPipeError:
        if not _output_pipe_closed():  # another pipe broke, e.g. a connection
            raise
        code = PIPE_CLOSED
    except OSError as error:
        if error.errno not in (*FULL, *BROKEN):
            raise
        with suppress(OSError):
            print(f"imageref: {_sentence(error)}", file=sys.stderr)
        code = 1
    _discard_unwritten()
    if isinstance(code, SystemExit):
        raise code
    return code


def _sentence(error: OSError) -> str:
    if isinstance(error, DiskError) or error.filename:
        said = error if isinstance(error, DiskError) else disk_problem(error, Path(error.filename))
        return f"{said} and run the same command again to resume"
    return f"the output cannot be written: {error.strerror}; free space or write it to another disk"


def _run_and_flush(run: Callable[[], int]) -> int | SystemExit:
    code: int | SystemExit
    try:
        code = run()
    except SystemExit as stop:  # raised by argparse, or by rich where a pipe is closed
        code = PIPE_CLOSED if isinstance(stop.__context__, BrokenPipeError) else stop
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _replace_closed_streams() -> None:
    """Open the null device for streams that are closed (`>&-`): the next file opened would take their number."""
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


def _output_pipe_closed() -> bool:
    """Whether stdout or stderr is a pipe whose reader is gone."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return bool(poll.poll(0))


def _discard_unwritten() -> None:
    """Send to the null device what a stream cannot write: Python would try again at exit, and complain."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, number)
            os.close(null)
