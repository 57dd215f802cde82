"""The value of an annotation line → its turns and image paths, in the spellings of InternVL, ShareGPT and ms-swift.

    {"conversations": [{"from": "human" | "gpt" | "system", "value"}], "image"}
    {"messages": [{"role": "user" | "assistant" | "system", "content"}], "images"}

A text may be a list of parts, as in OpenAI's requests. What is not sure to be meant so is refused, with the reason.
"""

from __future__ import annotations

from typing import Any

IMAGE_TAG = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class SampleError(ValueError):
    """A sample cannot be used for training; the message is the reason under which it is counted."""


def read_turns(values: Any) -> tuple[tuple[str, str], ...]:
    """The turns as (role, text), from `conversations` or `messages`. Raises SampleError."""
    try:
        turns = values.get("conversations", values.get("messages"))
        found = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    except (AttributeError, TypeError):
        raise SampleError("not an annotation line") from None
    if not found:
        raise SampleError("not an annotation line")
    if not all(isinstance(role, str) and role in ROLES for role, _ in found):
        raise SampleError(f"a turn is by none of {', '.join(ROLES)}")
    named = tuple((ROLES[role], turn_text(value)) for role, value in found)
    if next((role for role, _ in named if role != "system"), "user") != "user":
        raise SampleError("the first turn is the model's")
    listed = [isinstance(value, list) for _, value in found]
    if any(parts and role != "user" and IMAGE_TAG in text for parts, (role, text) in zip(listed, named, strict=True)):
        raise SampleError("an image is in a turn that is not a question")
    return named


def turn_text(value: Any) -> str:
    """A turn's text: as it stands, or its parts ({"type": "text", "text"}, an image is its tag). Raises SampleError."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    texts = [text for part in parts if (text := _part_text(part)) is not None]
    if len(texts) < len(parts):
        what = "has a part that is neither text nor an image" if isinstance(value, list) else "is not text"
        raise SampleError(f"a turn {what}")
    return "".join(texts)


def _part_text(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("image", "image_url"):
        return IMAGE_TAG
    text = part.get("text") if kind == "text" else None
    return text if isinstance(text, str) else None


def read_images(values: Any) -> list[str]:
    """Paths of `image` or `images`: one, a list, or objects that have one. Raises SampleError for anything else."""
    value = values.get("image", values.get("images"))
    listed = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    names: list[Any] = [one.get("path") or one.get("url") if isinstance(one, dict) else one for one in listed]
    if not all(isinstance(name, str) and name for name in names):
        raise SampleError("an image is not a path")
    return names
