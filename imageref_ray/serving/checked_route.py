"""A route that answers those who may ask: before its body is read, the key; then a body that is plain, strict JSON.

The check belongs to the route that was matched, so that no spelling of a path leads around it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Scope

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.json_files import BrokenJson, parse_json
from imageref_ray.serving.admission import Admission
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.keys import check_neighbour, holder

VALUES = 500_000
"""Values in a body, roughly: more take the reader long, and no prompt holds that many."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose `json()` refuses what readers of JSON disagree about."""

    async def json(self) -> Any:
        """The body's value. Raises WireError."""
        if not hasattr(self, "_json"):
            self._json = read_body(await self.body())
        return self._json


def read_body(data: bytes) -> Any:
    """The value of a JSON body. Raises WireError.

    Refused are other encodings than UTF-8, half characters, NUL, NaN, keys given twice, deep nesting, endless numbers.
    """
    if sum(map(data.count, (b",", b"[", b"{"))) > VALUES:
        raise WireError(f"the body has more than {VALUES} values")
    try:
        return parse_json(data.decode(), repair=False, strict=True)
    except UnicodeDecodeError as error:
        raise WireError(f"the body is not UTF-8 (byte {error.start})") from None
    except BrokenJson as error:
        raise WireError(f"the body is {error}") from None


def checked_route(settings: ServeConfig, admission: Admission) -> type[APIRoute]:
    """The class of the routes that need a key, where there are keys."""

    class CheckedRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            answer = super().get_route_handler()

            async def checked(request: Request) -> Response:
                admit(request.scope, settings, admission)
                return await answer(StrictRequest(request.scope, request.receive))

            return checked

    return CheckedRoute


def admit(scope: Scope, settings: ServeConfig, admission: Admission) -> None:
    """Count the request among those of its key until its answer is out. Raises WireError (401, 403, 429)."""
    if settings.keys:
        key = holder(settings.keys, scope["headers"])
        call = scope["imageref.call"]
        call.key = key.name
        call.at_end.append(admission.enter(key))
    elif not settings.insecure:
        check_neighbour(scope.get("client"))
