"""Around every request: an id, bounds on what is read, an answer to whatever goes wrong, metrics, one line of log.

Plain ASGI, so that a streamed piece passes as it is. The line says who asked, how much and how long, never what.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.durable import disk_problem
from imageref_ray.core.records import Usage
from imageref_ray.serving.errors import ID_HEADER, WireError, error_response
from imageref_ray.serving.metrics import Metrics

GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
"""A client's own id of a request that is used as it is; for others a new one is made."""


@dataclass
class Call:
    """What is known of one request while it is answered. Times are in seconds from its start."""

    id: str
    started: float = field(default_factory=time.perf_counter)
    key: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    images: int = 0
    stream: bool = False
    queued: float | None = None
    first: float | None = None
    usage: Usage | None = None
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Called when the answer is out, or given up."""

    def elapsed(self) -> float:
        return time.perf_counter() - self.started


def request_logger(path: Path | None) -> logging.Logger:
    """Where the lines go: a file of their own, or Ray Serve's log of the replica."""
    if path is None:
        return logging.getLogger("ray.serve")
    logger = logging.Logger(f"imageref requests {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.addHandler(_File(path, encoding="utf-8"))
    return logger


class _File(logging.FileHandler):
    """A full or broken disk costs lines of the log, never an answer; it is said in one line, once until a line is
    written again."""

    _told = _failed = False

    def emit(self, record: logging.LogRecord) -> None:
        self._failed = False
        super().emit(record)
        self._told = self._failed

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not self._told and isinstance(error, OSError):
            logging.getLogger("ray.serve").error(disk_problem(error, Path(self.baseFilename)))
        self._failed = True


class Observed:
    """ASGI middleware; Ray Serve puts a request's id into the headers of its answer itself (`echo` is false there)."""

    def __init__(
        self, app: ASGIApp, settings: ServeConfig, metrics: Metrics, logger: logging.Logger, echo: bool = True
    ) -> None:
        self._app, self._settings, self._metrics, self._logger, self._echo = app, settings, metrics, logger, echo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = scope["imageref.call"] = Call(_id(scope))

        async def observed(message: Message) -> None:
            _note(call, message)
            if self._echo and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (ID_HEADER.encode(), call.id.encode())]
            await send(message)

        try:
            await self._answer(scope, self._bounded(receive, call), observed, call)
        finally:
            for release in call.at_end:
                release()
            self._record(scope, call)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        """Refuse what says itself that it is too long, else let the routes answer; an error becomes an answer."""
        try:
            lengths = [value for name, value in scope["headers"] if name == b"content-length"]
            if any(not value.isdigit() or int(value[:20]) > self._settings.max_body_bytes for value in lengths):
                raise self._too_long()
            await self._app(scope, receive, send)
        except Exception as error:
            if call.status:  # the answer has begun; the connection's end says that it is not whole
                raise
            await error_response(error, call.id)(scope, receive, send)

    def _bounded(self, receive: Receive, call: Call) -> Receive:
        """The request's body, if it comes in time and is not too long; else WireError (408, 413)."""
        end = asyncio.get_running_loop().time() + self._settings.body_timeout
        whole = False

        async def next_piece() -> Message:
            nonlocal whole
            if whole:  # nothing comes but the client's leaving
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                seconds = self._settings.body_timeout
                raise WireError(f"the request has not arrived within {seconds:g} s", status=408) from None
            whole = message["type"] != "http.request" or not message.get("more_body")
            call.bytes_in += len(message.get("body", b""))
            if call.bytes_in > self._settings.max_body_bytes:
                raise self._too_long()
            return message

        return next_piece

    def _too_long(self) -> WireError:
        return WireError(f"the request has more than {self._settings.max_body_bytes} bytes", status=413)

    def _record(self, scope: Scope, call: Call) -> None:
        """Count the request and write its line."""
        route = getattr(scope.get("route"), "path", "none")
        seconds, usage = call.elapsed(), call.usage
        self._metrics.requests.labels(route, str(call.status or 499)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if call.queued is not None:
            self._metrics.queue.labels(route).observe(call.queued)
        if call.stream and call.first is not None:
            self._metrics.first.labels(route).observe(call.first)
        if usage:
            self._metrics.add(usage)
        times = {"queued_s": call.queued, "first_s": call.first, "total_s": seconds}
        tokens = {"prompt_tokens": usage.prompt_tokens, "image_tokens": usage.image_tokens} if usage else {}
        tokens |= {"cached_tokens": usage.cached_tokens, "generated_tokens": usage.generated_tokens} if usage else {}
        line = {
            "time": round(time.time(), 3),
            "id": call.id,
            "key": call.key or None,
            "method": scope["method"],
            "route": route,
            "status": call.status or 499,
            "stream": call.stream,
            "images": call.images,
            "bytes_in": call.bytes_in,
            "bytes_out": call.bytes_out,
            **{name: None if value is None else round(value, 4) for name, value in times.items()},
            **tokens,
        }
        self._logger.info("%s", json.dumps(line, ensure_ascii=False))


def _id(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == ID_HEADER.encode()), b"")
    return given.decode() if GIVEN_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"


def _note(call: Call, message: Message) -> None:
    """Keep the answer's status, its size and when it began."""
    if message["type"] == "http.response.start":
        call.status = message["status"]
    elif message["type"] == "http.response.body" and message.get("body"):
        call.first = call.elapsed() if call.first is None else call.first
        call.bytes_out += len(message["body"])
