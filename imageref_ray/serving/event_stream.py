"""Server-sent events on their way out: joined for some milliseconds, and never cut without a word.

A write costs more than the token in it (an ASGI message, a chunk, a packet, the client's wake-up), so the events that
an engine gives within `seconds` leave as one write. The first ones leave at once and nothing waits at the end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel

from imageref_ray.serving.errors import ErrorBody

DONE = "data: [DONE]\n\n"
"""The last event of a stream."""


def described(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI description says of a route that gives `answer`, or events and then it."""
    return {
        200: {
            "model": answer,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "the answer, or with stream: true its events",
        },
        502: {"model": ErrorBody, "description": "the model's reply cannot be used"},
    }


def data_event(value: Any) -> str:
    """A value as one event."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def joined(
    events: AsyncGenerator[str, None], seconds: float, failed: Callable[[BaseException], str]
) -> AsyncGenerator[str, None]:
    """The events in fewer, longer texts: those that are there at once, then those of every `seconds` (above 0).

    Closes `events`, also where its reader goes away. What it raises after its first event, when the status is sent,
    ends the stream with the event that `failed` makes of it.
    """
    waiting = [await anext(events)]
    collecting = asyncio.create_task(_collect(events, waiting))
    try:
        await asyncio.sleep(0)  # what follows the first event without a wait: the first token
        done = False
        while not done:
            done = collecting.done()
            if text := "".join(waiting):
                waiting.clear()
                yield text
            if not done:
                await asyncio.wait({collecting}, timeout=seconds)
        if error := collecting.exception():
            yield failed(error)
    finally:
        collecting.cancel()  # which closes the events, also where this generator is not let wait for it
        await asyncio.wait({collecting})


async def _collect(events: AsyncGenerator[str, None], waiting: list[str]) -> None:
    async with aclosing(events):
        async for event in events:
            waiting.append(event)
