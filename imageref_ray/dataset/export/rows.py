"""A finished record → its row in every format; no I/O here.

    record ─▶ annotation (InternVL) ─▶ messages (ms-swift) | sharegpt (LLaMA-Factory) | llava
    record ─▶ captions | insertion (the ImageRef-VL release's)

Images are named by their path relative to the source's root. A question has one `<image>` tag per image, in the
images' order; an answer has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from imageref_ray.core import markdown
from imageref_ray.core.records import Caption, Image, Record, Sample
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import Pack

Row = dict[str, Any]
Variant = Literal["plain", "caption"]
VARIANTS: tuple[Variant, ...] = ("plain", "caption")
TAG = "<image>"
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def answer(record: Record, variant: Variant) -> str:
    """The response with its images in place: `IMAGE_k`, or `![caption](IMAGE_k)`."""
    texts = {k: caption.caption for k, caption in _numbered(record).items()} if variant == "caption" else None
    return markdown.insert(record.response, chosen(record), "before", texts)


def annotation(record: Record, variant: Variant, root: Path, pack: Pack) -> Row:
    """One training sample: instruction and documents with `IMAGE_k: <image>`, and the answer."""
    return question(record.sample, answer(record, variant), root, pack)


def question(sample: Sample, reply: str, root: Path, pack: Pack) -> Row:
    """An annotation whose answer is any text."""
    turn = prompts.answer(pack, sample)[-1]
    human = "".join(TAG if isinstance(part, Image) else _untagged(part) for part in turn.parts)
    return {
        "id": sample.id,
        "image": [path(image, root) for image in turn.images],
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": _untagged(reply)}],
    }


def messages(row: Row) -> Row:
    """An annotation in ms-swift's format: `{"id", "messages": [{"role", "content"}], "images": [path]}`."""
    turns = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
    return {"id": row["id"], "messages": turns, "images": row["image"]}


def sharegpt(row: Row) -> Row:
    """An annotation in ShareGPT's format: `{"id", "conversations": [{"from", "value"}], "images": [path]}`."""
    return {"id": row["id"], "conversations": row["conversations"], "images": row["image"]}


def llava(row: Row) -> Row:
    """An annotation in LLaVA's format: `image` is one path, a list of several, or missing."""
    images = row["image"]
    image = {"image": images[0] if len(images) == 1 else images} if images else {}
    return {"id": row["id"], **image, "conversations": row["conversations"]}


def captions(record: Record, seen: set[str]) -> Iterator[Row]:
    """`{"nid", "caption": {image id: caption}}` for every document whose id is not in `seen`; adds it there."""
    known = {caption.image_id: caption.caption for caption in record.captions}
    for document in record.sample.documents:
        if document.id not in seen:
            seen.add(document.id)
            own = {image.id: known[image.id] for image in document.images if image.id in known}
            yield {"nid": document.id, "caption": own}


def insertion(record: Record) -> Row:
    """The placement as the model's reply: `{"event_id", "image_paths", "result"}`."""
    placed = chosen(record)
    slots = len(markdown.slots(record.response, "before"))
    result = prompts.predictions([placed.get(slot) for slot in range(1, slots + 1)])
    return {"event_id": record.id, "image_paths": [image.id for image in record.sample.images], "result": result}


def chosen(record: Record) -> dict[int, int]:
    """Before-content slot → k of the placed image."""
    numbers = markdown.image_numbers(record.sample)
    return {placement.slot: numbers[placement.image_id] for placement in record.placements if placement.image_id}


def path(image: Image, root: Path) -> str:
    """An image's path relative to `root`, or its uri unchanged if it is elsewhere."""
    file = Path(image.uri)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else image.uri


def _untagged(text: str) -> str:
    """The text with its own `<image>` broken up: trainers take every tag in a turn for an image."""
    return text.replace(TAG, "< image>")


def _numbered(record: Record) -> dict[int, Caption]:
    numbers = markdown.image_numbers(record.sample)
    return {numbers[caption.image_id]: caption for caption in record.captions}
