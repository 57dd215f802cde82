"""The HTTP routes over one engine: an engine and settings in, a FastAPI application out. Does not use Ray."""

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
from imageref_ray.core.records import repaired
from imageref_ray.engines.base import Engine, EngineError, Reply, RequestError
from imageref_ray.engines.base import Request as EngineRequest
from imageref_ray.serving import openai_chat, reference
from imageref_ray.serving.openai_chat import ChatBody, WireError
from imageref_ray.serving.reference import ReferenceBody


def create_app(engine: Engine, settings: ServeConfig) -> FastAPI:
    """The application: /v1/chat/completions, /v1/reference, /v1/models, /health."""
    app = FastAPI(title="imageref_ray", description="Answers with the right images in the right places.")
    _add_error_handlers(app)

    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody) -> Response:
        _check_model(body.model, settings)
        folder = TemporaryDirectory(prefix="imageref-")
        try:
            request = await asyncio.to_thread(openai_chat.to_request, body, Path(folder.name), settings)
            if body.stream:
                return await _stream_response(engine, request, body, settings, folder)
            reply = await engine.generate(request)
        except BaseException:
            folder.cleanup()
            raise
        folder.cleanup()
        return JSONResponse(openai_chat.completion(reply, settings.name))

    @app.post("/v1/reference", response_model=None)
    async def reference_answer(body: ReferenceBody) -> dict[str, Any]:
        _check_model(body.model, settings)
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


def _check_model(model: str | None, settings: ServeConfig) -> None:
    if model is not None and model != settings.name:
        message = f"the model `{model}` is not served here; use `{settings.name}`"
        raise WireError(message, "model", 404, "model_not_found")


async def _stream_response(
    engine: Engine, request: EngineRequest, body: ChatBody, settings: ServeConfig, folder: TemporaryDirectory[str]
) -> Response:
    """Waits for the first piece, so that a refused request gets an error status instead of a broken stream."""
    replies = stream_reply(engine, request)
    first = await anext(replies)

    async def all_replies() -> AsyncIterator[Reply]:
        yield first
        async for reply in replies:
            yield reply

    include_usage = bool((body.stream_options or {}).get("include_usage"))

    async def events() -> AsyncIterator[str]:
        with folder:
            async for event in openai_chat.events(all_replies(), settings.name, include_usage):
                yield event

    return StreamingResponse(events(), media_type="text/event-stream")


async def stream_reply(engine: Engine, request: EngineRequest) -> AsyncIterator[Reply]:
    """The reply in pieces if the engine can stream, else in one piece."""
    stream = getattr(engine, "stream", None)
    if stream is None:
        yield await engine.generate(request)
        return
    async for reply in stream(request):
        yield reply


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error with OpenAI's error object."""

    @app.exception_handler(WireError)
    async def wire_error(_: Request, error: WireError) -> JSONResponse:
        return error_response(str(error), error.status, error.param, error.code)

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> JSONResponse:
        return error_response(str(error), 400)

    @app.exception_handler(EngineError)
    async def engine_error(_: Request, error: EngineError) -> JSONResponse:
        return error_response(f"the engine failed: {error}", 503)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(str(error.detail), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or None
        return error_response(f"{where or 'body'}: {first['msg']}", 400, where)


def error_response(message: str, status: int, param: str | None = None, code: str | None = None) -> JSONResponse:
    """An error in OpenAI's format."""
    error_type = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": repaired(message), "type": error_type, "param": param, "code": code}
    return JSONResponse({"error": error}, status)
