"""Replies computed by a function, for tests and for measuring the framework itself: Request → str, pieces or Reply."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import AsyncGenerator

from imageref_ray.core.config import ScriptedConfig
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import Reply, Request


class ScriptedEngine:
    """Calls `config.script` (`package.module:function`, plain or async, or an async generator of a text's pieces)."""

    def __init__(self, config: ScriptedConfig) -> None:
        module, _, name = config.script.partition(":")
        self._reply = getattr(importlib.import_module(module), name)

    async def generate(self, request: Request) -> Reply:
        """The function's reply; a plain string costs a token a word and ends with the word at which `until` is true."""
        reply = self._reply(request)
        if inspect.isasyncgen(reply):
            reply = "".join([str(piece) async for piece in reply])
        elif inspect.isawaitable(reply):
            reply = await reply
        if isinstance(reply, Reply):
            return reply
        text = _up_to_until(reply, request)
        return _plain(text, request, "stop" if text == reply else "until")

    async def stream(self, request: Request) -> AsyncGenerator[Reply, None]:
        """The pieces of a generator as they come, any other reply whole."""
        if not inspect.isasyncgenfunction(self._reply):
            yield await self.generate(request)
            return
        text = ""
        async for piece in self._reply(request):
            text += piece
            yield dataclasses.replace(_plain(text, request, ""), texts=(piece,))
        yield dataclasses.replace(_plain(text, request, "stop"), texts=("",))


def _plain(text: str, request: Request, reason: str) -> Reply:
    texts = [part for message in request.messages for part in message.parts if isinstance(part, str)]
    words = sum(len(text.split()) for text in texts)
    return Reply((text,), (reason,), Usage(1, words, generated_tokens=len(text.split())))


def _up_to_until(text: str, request: Request) -> str:
    """The text up to the word after which the request's `until` is true."""
    if request.until is None:
        return text
    ends = (word.end() for word in re.finditer(r"\S+", text))
    return text[: next((end for end in ends if request.until(text[:end])), len(text))]
