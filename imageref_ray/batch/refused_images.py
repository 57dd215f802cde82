"""A request with images that is refused: is it because of one of them, and which?

    request ─refused─▶ the same with words in place of its images ─┬─ refused ──▶ the images are not the reason
                                                                   └─ answered ─▶ each image alone ─▶ ImageRefused

What an endpoint says with a 400 is of no use for this: each says it otherwise, and many name no image. The questions
cost one token each, and only where a request has been refused.
"""

from __future__ import annotations

import dataclasses

from imageref_ray.core.images import shown
from imageref_ray.core.records import Image
from imageref_ray.engines.base import (
    Generate,
    ImageRefused,
    Message,
    RefusedError,
    Reply,
    Request,
    RequestError,
    Sampling,
)

SHORT = Sampling(max_tokens=1)
INSTEAD = "(picture)"


def naming(generate: Generate) -> Generate:
    """`generate` that raises ImageRefused where the engine refuses a request because of its images."""

    async def named(request: Request) -> Reply:
        try:
            return await generate(request)
        except RefusedError as error:
            refused = await _refused(generate, request) if request.images else ()
            if not refused:
                raise
            raise ImageRefused(f"{_names(refused)}: {error}", refused, error.usage) from error

    return named


async def _refused(generate: Generate, request: Request) -> tuple[Image, ...]:
    """The images because of which the engine refuses the request."""
    turns = tuple(_in_words(message) for message in request.messages)
    if not await _answered(generate, turns):
        return ()
    images = tuple(dict.fromkeys(request.images))
    if len(images) == 1:
        return images
    return tuple([one for one in images if not await _answered(generate, (Message("user", ("Say yes.", one)),))])


def _in_words(message: Message) -> Message:
    return dataclasses.replace(message, parts=tuple(INSTEAD if isinstance(p, Image) else p for p in message.parts))


async def _answered(generate: Generate, messages: tuple[Message, ...]) -> bool:
    try:
        await generate(Request(messages, SHORT))
    except RequestError:
        return False
    return True


def _names(images: tuple[Image, ...]) -> str:
    names = ", ".join(image.id or shown(image.uri) for image in images)
    return f"the engine refuses the images {names}" if len(images) > 1 else f"the engine refuses the image {names}"
