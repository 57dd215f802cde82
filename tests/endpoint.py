"""The endpoint's routes in this process: asked over ASGI, answered by a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
from fastapi import FastAPI

from imageref_ray.core.config import ScriptedConfig, ServeConfig
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import Reply, Request, Token
from imageref_ray.serving.chat_body import OPTIONS
from imageref_ray.serving.routes import create_app


class Scripted:
    """An engine that answers with a function of the request, word by word in a stream, and keeps the requests."""

    options = frozenset(OPTIONS) | {"logprobs"}
    context = 512

    def __init__(self, reply: Callable[[Request], str] = lambda request: "two red boats") -> None:
        self.reply, self.requests = reply, list[Request]()
        self.reason = "stop"

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        text, n = self.reply(request), request.n
        tokens = tuple(_token(word, request) for word in text.split(" "))
        usage = Usage(1, 12, 4, 3, n * len(tokens))
        return Reply((text,) * n, (self.reason,) * n, usage, tokens=(tokens,) * n if _scored(request) else ())

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        self.requests.append(request)
        words = self.reply(request).split(" ")
        for i, word in enumerate(words, start=1):
            for index in range(request.n):
                last = i == len(words)
                tokens = ((_token(word, request),),) if _scored(request) else ()
                text, reason = word + " " * (not last), self.reason if last else ""
                yield Reply((text,), (reason,), Usage(1, 12, 4, 3, i * request.n), tokens=tokens, index=index)


def _scored(request: Request) -> bool:
    return request.logprobs is not None


def _token(word: str, request: Request) -> Token:
    return Token(word, -0.5, tuple((f"{word}{k}", -0.5 - k) for k in range(request.logprobs or 0)))


def endpoint(engine: Any = None, concurrency: int = 16, **settings: Any) -> FastAPI:
    scripted = ScriptedConfig(script="tests.scripted:annotator", concurrency=concurrency)
    config = ServeConfig(engine=scripted, **settings)
    return create_app(engine or Scripted(), config, "r1")


def ask(app: Any, method: str, path: str, client: tuple[str, int] = ("127.0.0.1", 1), **request: Any) -> httpx.Response:
    """One request to the application, from the machine `client`."""

    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as http:
            return await http.request(method, path, **request)

    return asyncio.run(sent())


def chat(app: Any, **fields: Any) -> httpx.Response:
    return ask(app, "POST", "/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}], **fields})


def chunks(answered: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, without its end."""
    lines = [line.removeprefix("data: ") for line in answered.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]
