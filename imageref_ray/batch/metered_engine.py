"""An engine as a worker uses it: so many requests at once, equal shared ones answered once, costs counted per record.

a record's work ─ request ─▶ reply cache (if shared) ─ miss ─▶ semaphore ─▶ engine ─▶ answer, its cost on the bill
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from functools import partial

from imageref_ray.batch import manifest, reply_cache
from imageref_ray.core.config import EngineConfig
from imageref_ray.core.records import Usage
from imageref_ray.core.text import repaired
from imageref_ray.engines.base import Engine, Generate, Reply, Request, RequestError
from imageref_ray.engines.reasoning import answers


class MeteredEngine:
    """`engine` with at most `config.concurrency` requests at once, behind the run's reply cache (None: without)."""

    def __init__(self, engine: Engine, config: EngineConfig, cache: reply_cache.ReplyCache | None) -> None:
        self._answer, self._cache = answers(engine.generate), cache
        self._owner = uuid.uuid4().hex
        self._fingerprint = manifest.fingerprint(manifest.engine_settings(config))
        self._places = asyncio.Semaphore(config.concurrency)

    def billed(self, bill: list[Usage]) -> Generate:
        """`generate` for one record: the cost of each of its requests is appended to `bill`."""
        return partial(self._generate, bill)

    async def alive(self) -> None:
        """Renew this engine's claims in the reply cache; others take over what is not renewed (`LEASE_S`)."""
        if self._cache:
            await self._cache.alive(self._owner)

    async def _generate(self, bill: list[Usage], request: Request) -> Reply:
        ask = partial(self._ask, bill, request)
        if not request.shared or self._cache is None:
            return await ask()
        return await reply_cache.once(self._cache, reply_cache.key(request, self._fingerprint), self._owner, ask)

    async def _ask(self, bill: list[Usage], request: Request) -> Reply:
        async with self._places:
            try:
                reply = await self._answer(request)
            except RequestError as error:
                bill.append(error.usage)
                raise
        bill.append(reply.usage)
        return dataclasses.replace(reply, texts=tuple(map(repaired, reply.texts)))
