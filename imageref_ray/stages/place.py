"""Record with response and captions → record with `placements`: which image at which before-content slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from imageref_ray import markdown, parsing, prompts
from imageref_ray.engines.base import Generate, Guide, Request, Sampling
from imageref_ray.prompts import NOT_INSERT, Pack, PlaceExample
from imageref_ray.records import Placement, Record
from imageref_ray.stages.respond import whole


async def place(
    record: Record, generate: Generate, pack: Pack, sampling: Sampling, examples: Sequence[PlaceExample] = ()
) -> Record:
    """One guided request (paper stage 3), none where there is nothing to choose.

    `record.captions` are in the order of `IMAGE_k`. Raises ParseError for a reply that names no slot.
    """
    images = [caption.image_id for caption in record.captions]
    slots = len(markdown.slots(record.response, "before"))
    if not images or not slots:
        return replace(record, placements=tuple(Placement(slot) for slot in range(1, slots + 1)))
    turns = prompts.place(pack, record.response, [caption.caption for caption in record.captions], examples)
    reply = await generate(Request(turns, sampling, guide=guide(slots, len(images), pack.analysis)))
    placements = parsing.placement(whole(reply, "placement", sampling), images, slots)
    return replace(record, placements=placements, usage=record.usage + reply.usage)


def guide(slots: int, images: int, analysis: bool) -> Guide:
    """A JSON schema of one prediction per slot, in order; `analysis` adds the reasoning around each choice."""
    choices = [*(f"IMAGE_{k}" for k in range(1, images + 1)), NOT_INSERT]
    entries = [_entry(slot, choices, analysis) for slot in range(1, slots + 1)]
    listed = {"type": "array", "prefixItems": entries, "items": False, "minItems": slots, "maxItems": slots}
    return Guide("json", _closed({"predictions": listed}))


def _entry(slot: int, choices: list[str], analysis: bool) -> dict[str, Any]:
    position, image = {"const": f"<Position {slot}>"}, {"type": "string", "enum": choices}
    if not analysis:
        return _closed({"position": position, "image": image})
    text = {"type": "string", "maxLength": 400}
    return _closed({"position": position, "analysis": text, "image": image, "explanation": text})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these keys, in this order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
