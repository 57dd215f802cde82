"""Work for a client ends when the client leaves, also where nothing is sent to it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from imageref_ray.serving.errors import WireError

T = TypeVar("T")

LEFT = 499
"""The status of a request whose client left, for the log; nobody reads the answer."""


async def unless_left(http: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; it is cancelled where the client leaves. Raises WireError then."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(http))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise WireError("the client has left", status=LEFT)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
