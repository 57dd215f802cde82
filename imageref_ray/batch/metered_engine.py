"""An engine as a pass uses it: bounded, with equal shared requests answered once, and every cost on its record's bill.

record's work ─ request ─▶ shared? ─▶ reply cache ─ not there ─▶ a free place ─▶ engine ─▶ reply, its cost on the bill
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from functools import partial

from imageref_ray.batch import manifest, reply_cache
from imageref_ray.core.config import EngineConfig
from imageref_ray.core.records import Usage, well_formed
from imageref_ray.engines.base import Engine, Generate, Reply, Request, RequestError


class MeteredEngine:
    """`engine` behind at most `config.concurrency` requests at once and the replies that a run shares (`cache`)."""

    def __init__(self, engine: Engine, config: EngineConfig, cache: reply_cache.Memo | None) -> None:
        self._engine, self._cache = engine, cache
        self._owner = uuid.uuid4().hex
        self._fingerprint = manifest.fingerprint(manifest.engine_settings(config))
        self._places = asyncio.Semaphore(config.concurrency)

    def billed(self, bill: list[Usage]) -> Generate:
        """What a record's work is given as `generate`: what each of its requests costs is added to `bill`."""
        return partial(self._generate, bill)

    async def alive(self) -> None:
        """Renew this engine's claims in the reply cache, or others take them over (`reply_cache.LEASE_S`)."""
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
                reply = await self._engine.generate(request)
            except RequestError as error:
                bill.append(error.usage)
                raise
        bill.append(reply.usage)
        return dataclasses.replace(reply, texts=tuple(map(well_formed, reply.texts)))
