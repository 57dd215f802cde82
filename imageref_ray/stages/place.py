"""A response and its images (by caption, or seen) → placements: which image at which before-content slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Failure, Image, Placement, Record
from imageref_ray.engines.base import Generate, Guide, Request, Sampling
from imageref_ray.stages import parsing, prompts
from imageref_ray.stages.prompts import NO_EXAMPLES, NOT_INSERT, Examples, Pack, PlaceExample, place_text

FULL_CHARACTERS = 400
CHARACTERS_A_WORD = 10
"""Limits of `analysis` and `explanation`: prompts ask for words, guides count characters, with room for long words."""


async def place(
    record: Record,
    generate: Generate,
    pack: Pack,
    sampling: Sampling,
    examples: Examples[PlaceExample] = NO_EXAMPLES,
    words: int | None = None,
    left_out: list[Failure] | None = None,
) -> Record:
    """One guided request (paper stage 3), none where there is nothing to choose.

    `record.captions` are in the order of `IMAGE_k`; `words` as in `prompts.place`, 0 where the pack asks for no
    reasons. Raises ParseError for a reply that names no slot; for predictions that cannot be used a failure is added to
    `left_out`.
    """
    words = words if pack.analysis else 0
    images = [caption.image_id for caption in record.captions]
    slots = len(markdown.slots(record.response, "before"))
    if not images or not slots:
        return replace(record, placements=tuple(Placement(slot) for slot in range(1, slots + 1)))
    captions = [caption.caption for caption in record.captions]
    turns = prompts.place(pack, record.response, captions, examples.like(place_text(record.response, captions)), words)
    reply = await generate(Request(turns, sampling, guide=guide(slots, len(images), words)))
    text = parsing.whole(reply, "placement", sampling)
    read = parsing.predictions(text, images, slots)
    placements = parsing.placements(read, slots, text)
    if read.told and left_out is not None:
        message = f"the reply's {read.told}: {text[:80]!r}"
        left_out.append(Failure(record.id, "place", "UnreadPredictions", message, item="placement"))
    return replace(record, placements=placements, usage=record.usage + reply.usage)


async def place_seen(
    documents: Sequence[str | Image],
    images: Sequence[Image],
    response: str,
    generate: Generate,
    pack: Pack,
    sampling: Sampling,
) -> tuple[Placement, ...]:
    """The same from the documents with the images themselves: one guided request, without captions and reasons.

    `images[k - 1]` is `IMAGE_k` in `documents`. A pack whose reply has no form without reasons is asked for them.
    """
    slots = len(markdown.slots(response, "before"))
    if not images or not slots:
        return tuple(Placement(slot) for slot in range(1, slots + 1))
    words = 0 if not pack.analysis or pack.place_reply.none else None
    turns = prompts.place_seen(pack, documents, len(images), response, words)
    reply = await generate(Request(turns, sampling, guide=guide(slots, len(images), words)))
    text = parsing.whole(reply, "placement", sampling)
    return parsing.placement(text, [image.id for image in images], slots)


def guide(slots: int, images: int, words: int | None = None) -> Guide:
    """A JSON schema of one prediction per slot, in order, with the reasoning around each choice.

    `words` bounds each of its two texts, 0 leaves them out.
    """
    choices = [*(f"IMAGE_{k}" for k in range(1, images + 1)), NOT_INSERT]
    characters = FULL_CHARACTERS if words is None else CHARACTERS_A_WORD * words
    entries = [_entry(slot, choices, characters) for slot in range(1, slots + 1)]
    listed = {"type": "array", "prefixItems": entries, "items": False, "minItems": slots, "maxItems": slots}
    return Guide("json", _closed({"predictions": listed}))


def _entry(slot: int, choices: list[str], characters: int) -> dict[str, Any]:
    position, image = {"const": f"<Position {slot}>"}, {"type": "string", "enum": choices}
    if not characters:
        return _closed({"position": position, "image": image})
    text = {"type": "string", "maxLength": characters}
    return _closed({"position": position, "analysis": text, "image": image, "explanation": text})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these keys, in this order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
