"""The HTTP routes over one engine: an engine and settings in, a FastAPI application out. Does not use Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware.cors import CORSMiddleware

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import Engine, Generate, Reply
from imageref_ray.engines.base import Request as EngineRequest
from imageref_ray.serving import instruction_answer, instruction_events, instructions, openai_chat, reference
from imageref_ray.serving.admission import Admission
from imageref_ray.serving.chat_body import ChatBody
from imageref_ray.serving.checked_route import checked_route
from imageref_ray.serving.demo import add_demo
from imageref_ray.serving.errors import ID_HEADER, ErrorBody, WireError, add_error_handlers, error_event
from imageref_ray.serving.event_stream import DONE, data_event, joined
from imageref_ray.serving.instruction_body import InstructionBody
from imageref_ray.serving.keys import with_keys
from imageref_ray.serving.leaving import unless_left
from imageref_ray.serving.metrics import Metrics
from imageref_ray.serving.observe import Call, Observed, request_logger
from imageref_ray.serving.operations import add_operations
from imageref_ray.serving.page_reader import PageReader
from imageref_ray.serving.reference_answer import RESPONSES
from imageref_ray.serving.reference_body import ReferenceBody, check_fields
from imageref_ray.serving.reference_documents import receive_documents
from imageref_ray.serving.reference_work import Work
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


def create_app(engine: Engine, settings: ServeConfig, replica: str = "", echo_id: bool = True) -> FastAPI:
    """The application: /v1/chat/completions, /v1/reference, /v1/instructions, /v1/models, /version, /metrics, /health,
    /ping, and the page at /demo.

    `replica` is this process's name in the metrics; `echo_id`: answers carry the request's id in a header. Raises
    ConfigError for keys that cannot be read.
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
    app.add_middleware(
        Observed,
        settings=settings,
        metrics=metrics,
        logger=request_logger(settings.request_log),
        echo=echo_id,
    )
    checked = APIRouter(route_class=checked_route(settings, admission), responses=REFUSALS)
    _add_chat(checked, watched, settings, admission)
    _add_reference(checked, watched, settings, admission, metrics)
    _add_instructions(checked, watched, settings, admission)
    add_operations(app, checked, watched, settings, metrics)
    add_demo(app, checked, settings)
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
    reader = PageReader()

    @routes.post("/v1/reference", response_model=None, responses=RESPONSES)
    async def reference_answer(body: ReferenceBody, http: Request) -> Response:
        _check_model(body.model, settings)
        check_fields(body, settings, engine.context)
        call: Call = http.scope["imageref.call"]
        received = await unless_left(http, receive_documents(body, settings, reader))
        call.images, call.stream = len(received.sample.images), bool(body.stream)
        await unless_left(http, _turn(admission, call))
        work = Work(received, body, engine, settings)
        events = _observed(reference.events(work), work, metrics, call)
        if body.stream:
            return await unless_left(http, _stream_events(events, settings, call))
        return JSONResponse(await unless_left(http, _last(events)))


async def _observed(
    events: AsyncGenerator[dict[str, Any], None], work: Work, metrics: Metrics, call: Call
) -> AsyncGenerator[dict[str, Any], None]:
    """The events; what they cost and which breaches there were is counted."""
    async with aclosing(events):
        try:
            async for event in events:
                for breach in event.get("breaches", ()):
                    metrics.breaches.labels(breach["kind"]).inc()
                yield event
        finally:
            call.usage = work.usage


async def _last(events: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    """The whole answer, which ends the events."""
    last: dict[str, Any] = {}
    async with aclosing(events):
        async for event in events:
            last = event
    return last


async def _stream_events(events: AsyncGenerator[dict[str, Any], None], settings: ServeConfig, call: Call) -> Response:
    """Waits for the first event, so that a refused request gets an error status instead of a broken stream."""
    first = await anext(events)

    async def texts() -> AsyncGenerator[str, None]:
        async with aclosing(events):
            yield data_event(first)
            async for event in events:
                yield data_event(event)
        yield DONE

    def failed(error: BaseException) -> str:
        return error_event(error, call.id) + DONE

    return StreamingResponse(
        joined(texts(), settings.stream_interval_ms / 1000, failed), media_type="text/event-stream"
    )


def _add_instructions(routes: APIRouter, engine: WatchedEngine, settings: ServeConfig, admission: Admission) -> None:
    @routes.post("/v1/instructions", response_model=None, responses=instruction_answer.RESPONSES)
    async def instruction(body: InstructionBody, http: Request) -> Response:
        _check_model(body.model, settings)
        call: Call = http.scope["imageref.call"]
        call.stream, call.images = bool(body.stream), 1
        asked = await unless_left(http, asyncio.to_thread(instructions.receive, body, settings, engine))
        await unless_left(http, _turn(admission, call))
        work = partial(instructions.answer, asked, _paid(engine.generate, call), settings)
        if body.stream:
            events = instruction_events.events(work, settings.name)
            return await unless_left(http, _stream_events(events, settings, call))
        answered = await unless_left(http, work())
        return JSONResponse({**instruction_events.head("instruction", settings.name), **answered})


def _paid(generate: Generate, call: Call) -> Generate:
    """`generate` whose replies are paid for by the call, also where its work fails later."""

    async def paid(request: EngineRequest) -> Reply:
        reply = await generate(request)
        call.usage = (call.usage or Usage()) + reply.usage
        return reply

    return paid


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
