"""The HTTP routes over one engine: an engine and settings in, a FastAPI application out. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from imageref_ray.core.config import ServeConfig
from imageref_ray.engines.base import Engine, EngineError, Reply, RequestError
from imageref_ray.engines.base import Request as EngineRequest
from imageref_ray.serving import openai_chat, reference
from imageref_ray.serving.openai_chat import ChatBody, WireError
from imageref_ray.serving.reference import ReferenceBody


def create(engine: Engine, settings: ServeConfig) -> FastAPI:
    """The application: /v1/chat/completions, /v1/reference, /v1/models, /health."""
    app = FastAPI(title="imageref_ray", description="Answers with the right pictures in the right places.")
    _errors(app)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody) -> Response:
        _served(body.model, settings)
        folder = TemporaryDirectory(prefix="imageref-")
        try:
            request = await asyncio.to_thread(openai_chat.to_request, body, Path(folder.name), settings)
            if body.stream:
                return await _streamed(engine, request, body, settings, folder)
            reply = await engine.generate(request)
        except BaseException:
            folder.cleanup()
            raise
        folder.cleanup()
        return JSONResponse(openai_chat.completion(reply, settings.name))

    @app.post("/v1/reference", response_model=None)
    async def reference_answer(body: ReferenceBody) -> dict[str, Any]:
        _served(body.model, settings)
        with TemporaryDirectory(prefix="imageref-") as folder:
            received = await asyncio.to_thread(reference.receive_documents, body, Path(folder), settings)
            return await reference.answer(received, body, engine, settings)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        served = {"id": settings.name, "object": "model", "created": 0, "owned_by": "imageref"}
        return {"object": "list", "data": [served]}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _served(model: str | None, settings: ServeConfig) -> None:
    if model is not None and model != settings.name:
        message = f"the model `{model}` is not served here; the model is called `{settings.name}`"
        raise WireError(message, "model", 404, "model_not_found")


async def _streamed(
    engine: Engine, request: EngineRequest, body: ChatBody, settings: ServeConfig, folder: TemporaryDirectory[str]
) -> Response:
    """Waits for the first piece, so that what the engine refuses is an error status and not half a stream."""
    replies = pieces(engine, request)
    first = await anext(replies)

    async def rest() -> AsyncIterator[Reply]:
        yield first
        async for reply in replies:
            yield reply

    include_usage = bool((body.stream_options or {}).get("include_usage"))

    async def sent() -> AsyncIterator[str]:
        with folder:
            async for event in openai_chat.events(rest(), settings.name, include_usage):
                yield event

    return StreamingResponse(sent(), media_type="text/event-stream")


async def pieces(engine: Engine, request: EngineRequest) -> AsyncIterator[Reply]:
    """The reply bit by bit where the engine can stream, in one piece where it cannot."""
    stream = getattr(engine, "stream", None)
    if stream is None:
        yield await engine.generate(request)
        return
    async for reply in stream(request):
        yield reply


def _errors(app: FastAPI) -> None:
    """Every error as OpenAI's error object."""

    @app.exception_handler(WireError)
    async def wire(_: Request, error: WireError) -> JSONResponse:
        return failure(str(error), error.status, error.param, error.code)

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return failure(str(error), 400)

    @app.exception_handler(EngineError)
    async def broken(_: Request, error: EngineError) -> JSONResponse:
        return failure(f"the engine failed: {error}", 503)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return failure(str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or None
        return failure(f"{where or 'body'}: {first['msg']}", 400, where)


def failure(message: str, status: int, param: str | None = None, code: str | None = None) -> JSONResponse:
    """An error in the form OpenAI's clients read."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)
