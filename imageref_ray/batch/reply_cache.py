"""Equal requests are answered once: key → reply, in one SQLite file that survives a kill.

    worker ─ claim(key) ─▶ the reply, or None: this worker has the claim; others that ask meanwhile wait
           ─ put(key, reply) ─▶ on disk, those who wait get it        ─ release(key) ─▶ the next one who waits may try

A document shared by five samples costs its captions once, in one run or (with `cache`) in all runs on one file.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from imageref_ray.batch.sqlite_files import open_file, reporting
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines.base import Reply, Request

WHAT = "the reply cache"

LEASE_S = 60.0
"""Seconds without a sign of life after which a worker counts as dead and its claims are free again."""


class ReplyCache(Protocol):
    """What a worker sees of a `SqliteReplyCache`, which may live in another process."""

    async def claim(self, key: str, owner: str) -> str | None: ...
    async def put(self, key: str, value: str) -> None: ...
    async def release(self, key: str) -> None: ...
    async def alive(self, owner: str) -> None: ...


class SqliteReplyCache:
    """The replies of one file, and who is working on which. One process opens it for writing at a time.

    Its methods raise as `reporting` where the file fails.
    """

    def __init__(self, path: Path, lease_s: float = LEASE_S) -> None:
        self._path = path
        self._file = open_file(path, WHAT, "replies (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._lease_s = lease_s
        self._claims: dict[str, str] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._last_alive: dict[str, float] = {}

    async def claim(self, key: str, owner: str) -> str | None:
        """The cached reply, or None when the owner now has the claim; waits while a living owner has it."""
        while True:
            await self.alive(owner)
            if row := self._execute("SELECT value FROM replies WHERE key = ?", key):
                return str(row[0])
            if key not in self._claims or not self._lives(self._claims[key]):
                self._claims[key] = owner
                self._waiting.setdefault(key, asyncio.Event())
                return None
            try:
                await asyncio.wait_for(self._waiting[key].wait(), self._lease_s / 4)
            except TimeoutError:
                continue  # look again whether the claim's owner still lives

    async def put(self, key: str, value: str) -> None:
        """Store the claimed reply and release the claim, also where it cannot be stored: others wait for it."""
        try:
            self._execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", key, value)
        finally:
            await self.release(key)

    async def release(self, key: str) -> None:
        """Give the claim up."""
        self._claims.pop(key, None)
        if waiting := self._waiting.pop(key, None):
            waiting.set()

    async def alive(self, owner: str) -> None:
        """The owner still works on its claims."""
        self._last_alive[owner] = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _execute(self, statement: str, *values: str) -> Any:
        """The statement's first row, if it has any. Raises as `reporting` where the file fails."""
        with reporting(self._path, WHAT):
            return self._file.execute(statement, values).fetchone()

    def _lives(self, owner: str) -> bool:
        return time.monotonic() - self._last_alive.get(owner, -self._lease_s) < self._lease_s


async def once(cache: ReplyCache, key: str, owner: str, ask: Callable[[], Awaitable[Reply]]) -> Reply:
    """The reply cached under `key`, which costs nothing, or the one that `ask` gives, which is then cached."""
    cached = await cache.claim(key, owner)
    if cached is not None:
        return _read(cached)
    try:
        reply = await ask()
        value = {"texts": reply.texts, "finish_reasons": reply.finish_reasons}
        await cache.put(key, json.dumps(value, ensure_ascii=False))
    except BaseException:
        await cache.release(key)
        raise
    return reply


def key(request: Request, engine: str) -> str:
    """A hash of the request and the engine's fingerprint; an image counts by its sha256, not by where it lies."""
    chat = [[message.role, [_part(part) for part in message.parts]] for message in request.messages]
    guide = [request.guide.kind, request.guide.value] if request.guide else None
    *sampling, options = dataclasses.astuple(request.sampling)
    sampling += [options] if options else []
    whole = [engine, chat, sampling, guide, request.prefix, request.n]
    text = json.dumps(whole, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _part(part: str | Image) -> Any:
    return {"image": part.sha256 or part.uri} if isinstance(part, Image) else part


def _read(value: str) -> Reply:
    fields = json.loads(value)
    return Reply(tuple(fields["texts"]), tuple(fields["finish_reasons"]), Usage())
