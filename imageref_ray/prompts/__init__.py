"""Prompts as data: YAML packs beside this file, and the pure builders that fill them into chat messages."""

from imageref_ray.prompts.builders import (
    NOT_INSERT,
    CaptionExample,
    PlaceExample,
    answer,
    caption,
    context,
    describe,
    estimate_tokens,
    numbered,
    place,
    predictions,
    respond,
)
from imageref_ray.prompts.pack import Pack, load_pack, pack_names

__all__ = [
    "NOT_INSERT",
    "CaptionExample",
    "Pack",
    "PlaceExample",
    "answer",
    "caption",
    "context",
    "describe",
    "estimate_tokens",
    "load_pack",
    "numbered",
    "pack_names",
    "place",
    "predictions",
    "respond",
]
