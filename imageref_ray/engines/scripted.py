"""Replies computed by a function, for tests and for measuring the framework itself: Request → str or Reply."""

from __future__ import annotations

import importlib
import inspect
import re

from imageref_ray.core.config import ScriptedConfig
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import Reply, Request


class ScriptedEngine:
    """Calls `config.script` (`package.module:function`, plain or async) for every request."""

    def __init__(self, config: ScriptedConfig) -> None:
        module, _, name = config.script.partition(":")
        self._reply = getattr(importlib.import_module(module), name)

    async def generate(self, request: Request) -> Reply:
        """What the function gives; a plain string is costed in words and ends with the word that `until` asks for."""
        found = self._reply(request)
        if inspect.isawaitable(found):
            found = await found
        if isinstance(found, Reply):
            return found
        texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
        words = sum(len(text.split()) for text in texts)
        told = _told(found, request)
        reason = "stop" if told == found else "until"
        return Reply((told,), (reason,), Usage(1, words, generated_tokens=len(told.split())))


def _told(text: str, request: Request) -> str:
    """The text up to the word after which the request's `until` is true."""
    if request.until is None:
        return text
    ends = (word.end() for word in re.finditer(r"\S+", text))
    return text[: next((end for end in ends if request.until(text[:end])), len(text))]
