"""Every error of the endpoint as OpenAI's error object, with the request's id; none of them says how it runs here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from imageref_ray.engines.base import BrokenReply, EngineError, RequestError

logger = logging.getLogger("ray.serve")

ID_HEADER = "x-request-id"

RETRY_AFTER = 1
"""Seconds after which to ask again where nothing better is known."""

ENGINE_RETRY_AFTER = 10
"""… where the engine failed: another replica answers by then, or a new one is on the way."""

FAILED = "the server failed at this request; the operator finds the reason in the log under the request's id"
ENGINE_FAILED = "the model is not available at the moment; try again"

_PATH = re.compile(r"(?<![\w:/.])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
"""A path of this machine in an engine's message."""


class WireError(HTTPException):
    """A request that cannot be answered; `param` is the field at fault, as in OpenAI's error objects."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.param, self.code = param, code

    def __str__(self) -> str:
        return str(self.detail)


class ErrorObject(BaseModel):
    """What went wrong; `param` is the field at fault."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorObject


def error_body(
    message: str, status: int, param: str | None = None, code: str | None = None, request_id: str | None = None
) -> dict[str, Any]:
    """OpenAI's error object in its envelope."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code, "request_id": request_id}}


def error_of(error: BaseException) -> WireError:
    """What a client is told of an exception; what it is not told goes to the log."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, RequestError) and not isinstance(error, BrokenReply):
        return WireError(_PATH.sub("(a file)", str(error)))
    if isinstance(error, EngineError):
        logger.error("the engine failed: %s", error)
        return WireError(
            ENGINE_FAILED, status=503, code="engine_failed", headers={"retry-after": str(ENGINE_RETRY_AFTER)}
        )
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, StarletteHTTPException):
        return WireError(str(error.detail), status=error.status_code, headers=error.headers)
    logger.error("a request failed", exc_info=error)
    return WireError(FAILED, status=500, code="internal_error")


def _invalid(error: RequestValidationError) -> WireError:
    """The first field that is not as it should be."""
    first = max(error.errors(), key=lambda one: len(one["loc"]))  # of alternatives, the one that got furthest
    where = _place(first["loc"]) or (first.get("ctx") or {}).get("param")
    if first["type"] == "extra_forbidden":
        return WireError(f"`{where}` is not a field of this request; leave it out", where, code="unknown_field")
    if not where and isinstance(error.body, bytes):
        return WireError("the body is not JSON; send it with the header Content-Type: application/json")
    return WireError(f"{where or 'body'}: {first['msg']}", where or None)


def _place(location: Sequence[int | str]) -> str:
    """`messages[0].content[1].text`, without the names of alternatives that the validator puts between."""
    place, before = "", None
    for part in location[1:]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif re.fullmatch(r"[\w$.-]{1,64}", part) and part != before and part not in ("str", "ImageUrl"):
            place += f".{part}" if place else part
        before = part
    return place


def add_error_handlers(app: FastAPI) -> None:
    """Answer whatever a route raises with an error object; `observe.py` does it for what comes from elsewhere."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return error_response(error, request_id(request.scope))

    for kind in (StarletteHTTPException, RequestValidationError, RequestError, EngineError):
        app.add_exception_handler(kind, answer)


def request_id(scope: Mapping[str, Any]) -> str | None:
    """The id that `observe.py` gave the request."""
    call = scope.get("imageref.call")
    return call.id if call else None


def error_response(error: BaseException, id: str | None) -> JSONResponse:
    """The answer to a request that raised `error`."""
    told = error_of(error)
    body = error_body(str(told), told.status_code, told.param, told.code, id)
    return JSONResponse(body, told.status_code, headers=told.headers)


def error_event(error: BaseException, id: str | None) -> str:
    """The server-sent event that ends a stream which `error` cut."""
    told = error_of(error)
    return f"data: {json.dumps(error_body(str(told), told.status_code, told.param, told.code, id))}\n\n"
