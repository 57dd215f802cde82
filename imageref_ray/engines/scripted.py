"""Replies computed by a function, for tests and for measuring the framework itself: Request → str or Reply."""

from __future__ import annotations

import importlib
import inspect

from imageref_ray.config import EngineConfig
from imageref_ray.engines.base import Reply, Request
from imageref_ray.records import Usage


class ScriptedEngine:
    """Calls `config.script` (`package.module:function`, plain or async) for every request."""

    def __init__(self, config: EngineConfig) -> None:
        module, _, name = (config.script or "").partition(":")
        self._reply = getattr(importlib.import_module(module), name)

    async def generate(self, request: Request) -> Reply:
        """What the function gives; a plain string is costed in words."""
        found = self._reply(request)
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, Reply):
            return found
        texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
        words = sum(len(text.split()) for text in texts)
        return Reply((found,), usage=Usage(1, words, generated_tokens=len(found.split())))
