"""Prompts as data: YAML packs beside this file, and the pure builders that fill them into chat messages."""

from imageref_ray.stages.prompts.builders import (
    NOT_INSERT,
    answer,
    caption,
    context,
    describe,
    first_words,
    numbered,
    place,
    place_seen,
    predictions,
    respond,
)
from imageref_ray.stages.prompts.examples import (
    NO_EXAMPLES,
    CaptionExample,
    Examples,
    PlaceExample,
    by_likeness,
    document_text,
    place_text,
)
from imageref_ray.stages.prompts.pack import Pack, load_pack, pack_names

__all__ = [
    "NOT_INSERT",
    "NO_EXAMPLES",
    "CaptionExample",
    "Examples",
    "Pack",
    "PlaceExample",
    "answer",
    "by_likeness",
    "caption",
    "context",
    "describe",
    "document_text",
    "first_words",
    "load_pack",
    "numbered",
    "pack_names",
    "place",
    "place_seen",
    "place_text",
    "predictions",
    "respond",
]
