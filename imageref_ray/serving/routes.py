"""The HTTP routes over one engine: an engine and settings in, a FastAPI application out. Does not use Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.cors import CORSMiddleware

from imageref_ray.core.config import ServeConfig
from imageref_ray.engines.base import Engine, Reply
from imageref_ray.engines.base import Request as EngineRequest
from imageref_ray.serving import openai_chat, reference
from imageref_ray.serving.admission import Admission
from imageref_ray.serving.chat_body import ChatBody, check_length
from imageref_ray.serving.checked_route import checked_route
from imageref_ray.serving.errors import ID_HEADER, ErrorBody, WireError, add_error_handlers, error_event
from imageref_ray.serving.event_stream import joined
from imageref_ray.serving.keys import with_keys
from imageref_ray.serving.metrics import Metrics
from imageref_ray.serving.observe import Call, Observed, request_logger
from imageref_ray.serving.operations import add_operations
from imageref_ray.serving.reference import ReferenceBody
from imageref_ray.serving.watched_engine import WatchedEngine

STATUSES = {
    400: "a field is unknown, of another type, out of bounds or not supported; the message names it",
    401: "no valid key",
    403: "the endpoint has no keys and answers its own machine only",
    404: "another model, or nothing is here",
    408: "the request did not arrive in time",
    413: "the request is too long",
    429: "too many requests; ask again after the seconds in the header Retry-After",
    500: "the server failed at this request",
    503: "the model is not available; ask again after the seconds in the header Retry-After",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description} for status, description in STATUSES.items()
}


def create_app(engine: Engine, settings: ServeConfig, replica: str = "") -> FastAPI:
    """The application: /v1/chat/completions, /v1/reference, /v1/models, /version, /metrics, /health, /ping.

    `replica` is this process's name in the metrics. Raises ConfigError for keys that cannot be read.
    """
    settings = with_keys(settings)
    watched = engine if isinstance(engine, WatchedEngine) else WatchedEngine(engine)
    app = FastAPI(
        title="imageref_ray",
        description="Answers with the right images in the right places.",
        docs_url=None,  # pages that load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    admission = Admission(settings.engine.concurrency, settings.max_queued_requests)
    metrics = Metrics(lambda: (admission.running, admission.waiting), replica)
    add_error_handlers(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", ID_HEADER],
            expose_headers=[ID_HEADER, "retry-after"],
        )
    app.add_middleware(Observed, settings=settings, metrics=metrics, logger=request_logger(settings.request_log))
    checked = APIRouter(route_class=checked_route(settings, admission), responses=REFUSALS)
    _add_chat(checked, watched, settings, admission)
    _add_reference(checked, watched, settings, admission, metrics)
    add_operations(app, checked, watched, settings, metrics)
    app.include_router(checked)
    return app


def _add_chat(routes: APIRouter, engine: WatchedEngine, settings: ServeConfig, admission: Admission) -> None:
    @routes.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody, http: Request) -> Response:
        _check_model(body.model, settings)
        call: Call = http.scope["imageref.call"]
        call.stream = bool(body.stream)
        request = await asyncio.to_thread(openai_chat.to_request, body, settings, engine)
        call.images = len(request.images)
        await _turn(admission, call)
        if body.stream:
            return await _stream_response(engine, request, body, settings, call)
        reply = await engine.generate(request)
        call.usage = reply.usage
        return JSONResponse(openai_chat.completion(reply, settings.name))


def _add_reference(
    routes: APIRouter, engine: WatchedEngine, settings: ServeConfig, admission: Admission, metrics: Metrics
) -> None:
    unusable: dict[int | str, dict[str, Any]] = {
        502: {"model": ErrorBody, "description": "the model's reply cannot be used"}
    }

    @routes.post("/v1/reference", responses=unusable)
    async def reference_answer(body: ReferenceBody, http: Request) -> dict[str, Any]:
        _check_model(body.model, settings)
        check_length("max_tokens", body.max_tokens, engine.context)
        call: Call = http.scope["imageref.call"]
        received = await asyncio.to_thread(reference.receive_documents, body, settings)
        call.images = len(received.sample.images)
        await _turn(admission, call)
        answer, call.usage = await reference.answer(received, body, engine, settings)
        for breach in answer["breaches"]:
            metrics.breaches.labels(breach["kind"]).inc()
        return answer


def _check_model(model: str | None, settings: ServeConfig) -> None:
    if model is not None and model != settings.name:
        message = f"the model `{model[:100]}` is not served here; use `{settings.name}`"
        raise WireError(message, "model", 404, "model_not_found")


async def _turn(admission: Admission, call: Call) -> None:
    """Wait for the engine; it is this request's until the answer is out. Raises WireError (429)."""
    before = call.elapsed()
    call.at_end.append(await admission.turn())
    call.queued = call.elapsed() - before


async def _stream_response(
    engine: WatchedEngine, request: EngineRequest, body: ChatBody, settings: ServeConfig, call: Call
) -> Response:
    """Waits for the first piece, so that a refused request gets an error status instead of a broken stream."""
    replies = engine.stream(request)
    first = await anext(replies)

    async def all_replies() -> AsyncIterator[Reply]:
        async with aclosing(replies):
            yield first
            call.usage = first.usage
            async for reply in replies:
                call.usage = reply.usage
                yield reply

    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    events = openai_chat.events(all_replies(), settings.name, request.n, include_usage)
    texts = joined(events, settings.stream_interval_ms / 1000, lambda error: error_event(error, call.id))
    return StreamingResponse(texts, media_type="text/event-stream")
