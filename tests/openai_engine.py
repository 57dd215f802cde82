"""The openai engine as tests ask it: of a server on this machine, and again soon."""

import asyncio
from typing import Any

from imageref_ray.core.config import OpenAIConfig
from imageref_ray.core.config.engine import RateLimitConfig
from imageref_ray.engines.base import Message, Reply, Request
from imageref_ray.engines.openai.engine import OpenAIEngine
from tests.loopback import Loopback

QUICK = RateLimitConfig(first_wait_s=0.01, longest_wait_s=0.02, window_s=0.01)
WHAT = Request((Message("user", ("What?",)),))


def engine(url: str, **config: Any) -> OpenAIEngine:
    return OpenAIEngine(OpenAIConfig(model="m", base_url=url, rate_limit=QUICK, **config))


def ask(server: Loopback | str, *requests: Request, **config: Any) -> list[Reply]:
    """All at once; the first error is raised when all have ended."""

    async def together() -> list[Any]:
        asked = engine(server if isinstance(server, str) else server.url, **config)
        found = await asyncio.gather(*map(asked.generate, requests), return_exceptions=True)
        await asked.close()
        return found

    found = asyncio.run(together())
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found
