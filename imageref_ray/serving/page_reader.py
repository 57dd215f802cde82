"""Markdown and HTML of requests → pages, read in processes beside this one (`page_process.py`), each in its time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from imageref_ray.core.images import Problem
from imageref_ray.core.records import from_row
from imageref_ray.sources.pages.page import Page

CPU_SECONDS = 10
"""Processor time that one page may take, roughly."""

CHARACTERS = 2_000_000
"""Characters of a page, the data of its pictures not counted; longer ones are not read."""


class UnreadablePage(ValueError):
    """Why a page cannot be read; the message continues "the page"."""


class PageReader:
    """Reads pages, `processes` at once; each process is started when it is first needed."""

    def __init__(self, processes: int = 2) -> None:
        self._free: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        for _ in range(processes):
            self._free.put_nowait(_Process())

    async def read(self, kind: Literal["markdown", "html"], text: str) -> Page:
        """The page, with the words that it has for its pictures. Raises UnreadablePage."""
        if len(text) > CHARACTERS:
            raise UnreadablePage(f"has {len(text)} characters, more than the {CHARACTERS} allowed")
        process = await self._free.get()
        reading = asyncio.create_task(asyncio.to_thread(process.ask, json.dumps([kind, text])))
        try:
            answer = await asyncio.shield(reading)
        finally:
            if not reading.done():  # nobody waits for it any more
                process.end()
                await asyncio.wait({reading})
            self._free.put_nowait(process)
        if not answer:
            raise UnreadablePage(f"takes more than {CPU_SECONDS} s to read; simplify it, or send its text")
        row = json.loads(answer)
        if row is None:
            raise UnreadablePage("cannot be read; send its text")
        return replace(from_row(Page, row), problems=tuple(Problem(*problem) for problem in row["problems"]))


class _Process:
    """One process, started again where it has ended."""

    def __init__(self) -> None:
        self._popen: subprocess.Popen[bytes] | None = None
        self.end: weakref.finalize[..., _Process] = weakref.finalize(self, _end, None)

    def ask(self, line: str) -> str:
        """The answer to a line, empty where the process ended over it. Blocks."""
        if not self.end.alive or self._popen is None:
            self._popen = _started()
            self.end.detach()
            self.end = weakref.finalize(self, _end, self._popen)
        written, read = self._popen.stdin, self._popen.stdout
        assert written is not None and read is not None
        with suppress(OSError):
            written.write(line.encode() + b"\n")
            written.flush()
        answer = read.readline().decode()
        if not answer:
            self.end()
        return answer


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "imageref_ray.serving.page_process", str(CPU_SECONDS)]
    paths = os.pathsep.join(filter(None, sys.path))  # Ray's workers find code where no environment variable says
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)


def _end(popen: subprocess.Popen[bytes] | None) -> None:
    """End a process, whatever it does."""
    if popen is None:
        return
    popen.kill()
    popen.wait()
    with suppress(OSError), popen:  # closes its pipes
        pass
