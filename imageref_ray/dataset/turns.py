"""The value of an annotation line → its turns and image paths, in the spellings of InternVL, ShareGPT and ms-swift.

    {"conversations": [{"from": "human" | "gpt" | "system", "value"}], "image"}
    {"messages": [{"role": "user" | "assistant" | "system", "content"}], "images"}

A text may be a list of parts, as in OpenAI's requests, whose images may name their files themselves; a system turn may
stand beside the turns, as `system`. What is not sure to be meant so is refused, with the reason; so is what would train
on less than the line says: videos and sounds, boxes that the text only points to, answers marked as not to be learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

IMAGE_TAG = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

UNREAD = ("video", "videos", "audio", "audios")
"""Keys of files beside a text that no training here reads."""

POINTERS = ("<ref-object>", "<bbox>")
"""What stands in ms-swift's texts for the entries of `objects`."""

NOT_LEARNED = {"loss": (False, 0), "weight": (0,)}
"""How ms-swift and OpenAI mark an answer that is not to be learned."""


class SampleError(ValueError):
    """A sample cannot be used for training; the message is the reason under which it is counted."""


def read_turns(values: Any) -> tuple[tuple[str, str], ...]:
    """The turns as (role, text), from `conversations` or `messages`. Raises SampleError."""
    turns = given(values, "conversations", "messages") if isinstance(values, dict) else None
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise SampleError("not an annotation line")
    found = [(given(turn, "from", "role"), given(turn, "value", "content")) for turn in turns]
    if not all(isinstance(role, str) and role in ROLES for role, _ in found):
        raise SampleError(f"a turn is by none of {', '.join(ROLES)}")
    named = with_system(values, tuple((ROLES[role], turn_text(value)) for role, value in found))
    if next((role for role, _ in named if role != "system"), "user") != "user":
        raise SampleError("the first turn is the model's")
    in_parts = any(isinstance(value, list) and ROLES[role] != "user" and _parts_images(value) for role, value in found)
    if in_parts or (_is_tagged(named, False) and not _is_tagged(named, True) and image_entries(values)):
        raise SampleError("an image is in a turn that is not a question")
    if problem := unread(values):
        raise SampleError(problem)
    return named


def given(values: Mapping[str, Any], *keys: str) -> Any:
    """The value under the first key that has one: tables write a null under every spelling that a row has not."""
    return next((values[key] for key in keys if values.get(key) not in (None, "", [])), values.get(keys[0]))


def with_system(values: Mapping[str, Any], turns: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The turns after the system turn that stands beside them, where there is one. Raises SampleError."""
    system = values.get("system")
    if system in (None, ""):
        return turns
    if not isinstance(system, str):
        raise SampleError("system is not text")
    own = [text for role, text in turns if role == "system"]
    if own and own != [system]:
        raise SampleError("system and the system turn differ")
    return turns if own else (("system", system), *turns)


def unread(values: Mapping[str, Any]) -> str:
    """What a line of turns has that is not read here, so that its text alone would teach something wrong; or ""."""
    if found := [key for key in UNREAD if values.get(key)]:
        return f"{found[0]} is not read"
    turns: list[dict[str, Any]] = given(values, "conversations", "messages")
    if any(turn.get("tool_calls") or turn.get("function_call") for turn in turns):
        return "a turn calls a tool"
    if any(_is_one(turn.get(key), marks) for turn in turns for key, marks in NOT_LEARNED.items()):
        return "an answer is marked as not to be learned"
    texts = (text for turn in turns if isinstance(text := given(turn, "value", "content"), str))
    if values.get("objects") and any(mark in text for text in texts for mark in POINTERS):
        return "objects are not read"
    return ""


def _is_one(value: Any, marks: tuple[Any, ...]) -> bool:
    return isinstance(value, bool | int | float) and value in marks


def _is_tagged(turns: tuple[tuple[str, str], ...], by_user: bool) -> bool:
    return any(IMAGE_TAG in text for role, text in turns if (role == "user") == by_user)


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


def _parts_images(parts: list[Any]) -> list[Any]:
    """What the images among a turn's parts name, None for one that names nothing."""
    shown = (part for part in parts if isinstance(part, dict) and part.get("type") in ("image", "image_url"))
    return [given(part, "image", "image_url", "path", "url") for part in shown]


def image_entries(values: Mapping[str, Any]) -> list[Any]:
    """What `image` or `images` list, else what the images among the turns' parts name. Raises SampleError where two of
    these differ."""
    beside = [_listed(values[key]) for key in ("image", "images") if values.get(key) not in (None, "", [])]
    within = list(_named_in_parts(values))
    lists = [*beside, *([within] if within and all(one is not None for one in within) else [])]
    if any([_path(one) for one in other] != [_path(one) for one in lists[0]] for other in lists[1:]):
        raise SampleError("the image is not the same in two places of the line")
    return lists[0] if lists else []


def _named_in_parts(values: Mapping[str, Any]) -> Iterator[Any]:
    turns = given(values, "conversations", "messages")
    for turn in turns if isinstance(turns, list) else ():
        content = given(turn, "value", "content") if isinstance(turn, dict) else None
        yield from _parts_images(content) if isinstance(content, list) else ()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _path(entry: Any) -> Any:
    return given(entry, "path", "url") if isinstance(entry, dict) else entry


def read_images(values: Any) -> list[str]:
    """Paths of `image`, `images` or the turns' parts: one, a list, or objects that have one. Raises SampleError."""
    names = [_path(one) for one in image_entries(values)]
    if not all(isinstance(name, str) and name for name in names):
        raise SampleError("an image is not a path")
    return names
