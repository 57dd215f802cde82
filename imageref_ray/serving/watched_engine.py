"""An engine that is known to be dead from the moment it dies: nothing more is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from imageref_ray.engines.base import Engine, EngineDied, Reply, Request


class WatchedEngine:
    """The engine itself, streaming also where it cannot; `on_death` is called once, when its death is noticed.

    What comes after is refused `refuse_after_s` seconds later. A process that ends within that time never does: a proxy
    sees a request go unanswered, and asks another process.
    """

    def __init__(self, engine: Engine, on_death: Callable[[], None] = lambda: None, refuse_after_s: float = 0) -> None:
        self._engine = engine
        self._on_death = on_death
        self._refuse_after_s = refuse_after_s
        self._noticed = False
        self.options = getattr(engine, "options", frozenset[str]())
        self.context: int | None = getattr(engine, "context", None)

    @property
    def dead(self) -> bool:
        """Whether the engine's process is gone, also where no request has met it yet."""
        return self._noticed or bool(getattr(self._engine, "died", False))

    async def generate(self, request: Request) -> Reply:
        """One reply. Raises EngineDied, and what the engine raises."""
        async with self._watching():
            return await self._engine.generate(request)

    async def stream(self, request: Request) -> AsyncGenerator[Reply, None]:
        """The reply in pieces if the engine can stream, else in one piece. Raises as `generate`."""
        async with self._watching():
            stream = getattr(self._engine, "stream", None)
            if stream is None:
                yield await self._engine.generate(request)
                return
            async with aclosing(stream(request)) as replies:
                async for reply in replies:
                    yield reply

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        if self._noticed:
            await asyncio.sleep(self._refuse_after_s)
        try:
            if self.dead:
                raise EngineDied("its process is gone")
            yield
        except EngineDied:
            if not self._noticed:
                self._noticed = True
                self._on_death()
            raise
