"""A finished record → its row in every format; no I/O here.

    record ─▶ annotation (InternVL) ─▶ messages (ms-swift) | sharegpt (LLaMA-Factory) | llava
    record ─▶ response | captions | insertion (the ImageRef-VL release's; `inputs` of a build)

Images are named by their path relative to the source's root. A question has one `<image>` tag per image, in the
images' order; an answer has none. What a trainer or a tokenizer would take for a tag or a control token in a text is
broken up, as engines do it (`<|im_end|>` → `< |im_end|>`): InternVL's in every format, other trainers' in theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from imageref_ray.core import markdown
from imageref_ray.core.records import Caption, Image, Placement, Record, Sample
from imageref_ray.dataset.paper_formats import with_blank_lines
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import Pack

Row = dict[str, Any]
Variant = Literal["plain", "caption"]
VARIANTS: tuple[Variant, ...] = ("plain", "caption")
TAG = "<image>"
CONTROL = re.compile(r"<(?=(?:image|video|IMG_CONTEXT|/?(?:img|ref|box|quad))>|[|｜][^<>\s]{1,64}[|｜]>)")
"""The beginning of a tag or control token in InternVL's vocabularies; InternVL's trainer leaves out a sample whose text
has an `</img>` more than it has images."""
OTHERS_CONTROL = re.compile(
    r"<(?=(?:audio|start-image|ref-object|bbox|cot-process|/?s|bos|eos|unk|pad|(?:start|end)_of_(?:turn|image))>)"
)
"""What else ms-swift, LLaMA-Factory and the models trained with them have."""
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
    human = "".join(TAG if isinstance(part, Image) else untagged(part) for part in turn.parts)
    return {
        "id": sample.id,
        "image": [path(image, root) for image in turn.images],
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": untagged(reply)}],
    }


def messages(row: Row) -> Row:
    """An annotation in ms-swift's format: `{"id", "messages": [{"role", "content"}], "images": [path]}`."""
    turns = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in _for_others(row)]
    return {"id": row["id"], "messages": turns, "images": row["image"]}


def sharegpt(row: Row) -> Row:
    """An annotation in ShareGPT's format: `{"id", "conversations": [{"from", "value"}], "images": [path]}`."""
    return {"id": row["id"], "conversations": _for_others(row), "images": row["image"]}


def llava(row: Row) -> Row:
    """An annotation in LLaVA's format: `image` is one path, a list of several, or missing."""
    images = row["image"]
    image = {"image": images[0] if len(images) == 1 else images} if images else {}
    return {"id": row["id"], **image, "conversations": _for_others(row)}


def response(record: Record) -> Row:
    """`{"id", "result"}`: the response without images, a blank line between blocks."""
    return {"id": record.id, "result": with_blank_lines(record.response)}


def captions(record: Record, seen: dict[str, dict[str, int]]) -> Iterator[Row]:
    """`{"nid", "caption": {image id: caption}, "description": {image id: description}}` for every document.

    `seen` (document → image → hash of its texts) is what was written before, and is added to. A document of that id
    whose images are not all among them is another one, or has others of its images: its row has the sample's `id`, too.
    """
    known = {caption.image_id: caption for caption in record.captions}
    for document in record.sample.documents:
        own = [known[image.id] for image in document.images if image.id in known]
        texts = {caption.image_id: hash((caption.caption, caption.description)) for caption in own}
        row: Row = {"nid": document.id}
        if document.id in seen:
            if texts.items() <= seen[document.id].items():
                continue
            row["id"] = record.id
        else:
            seen[document.id] = texts
        row["caption"] = {caption.image_id: caption.caption for caption in own}
        if described := {caption.image_id: caption.description for caption in own if caption.description}:
            row["description"] = described
        yield row


def insertion(record: Record) -> Row:
    """The placement as the model's reply, with its reasons if any: `{"event_id", "image_paths", "result"}`."""
    numbers = markdown.image_numbers(record.sample)
    by_slot = {placement.slot: placement for placement in record.placements}
    slots = range(1, len(markdown.slots(record.response, "before")) + 1)
    entries = [_prediction(by_slot.get(slot, Placement(slot)), numbers) for slot in slots]
    result = json.dumps({"predictions": entries}, ensure_ascii=False)
    return {"event_id": record.id, "image_paths": [image.id for image in record.sample.images], "result": result}


def _prediction(placement: Placement, numbers: dict[str, int]) -> Row:
    reasons = {"analysis": placement.analysis, "explanation": placement.explanation}
    entry = {
        "position": f"<Position {placement.slot}>",
        "analysis": placement.analysis,
        "image": f"IMAGE_{numbers[placement.image_id]}" if placement.image_id else prompts.NOT_INSERT,
        "explanation": placement.explanation,
    }
    return entry if any(reasons.values()) else {key: entry[key] for key in entry if key not in reasons}


def chosen(record: Record) -> dict[int, int]:
    """Before-content slot → k of the placed image."""
    numbers = markdown.image_numbers(record.sample)
    return {placement.slot: numbers[placement.image_id] for placement in record.placements if placement.image_id}


def path(image: Image, root: Path) -> str:
    """An image's path relative to `root`, or its uri unchanged if it is elsewhere."""
    file = Path(image.uri)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else image.uri


def untagged(text: str, control: re.Pattern[str] = CONTROL) -> str:
    """The text with tags and control tokens of its own broken up."""
    return control.sub("< ", text)


def _for_others(row: Row) -> list[dict[str, str]]:
    """The turns of an annotation without the control tokens of other trainers."""
    return [{**turn, "value": untagged(turn["value"], OTHERS_CONTROL)} for turn in row["conversations"]]


def _numbered(record: Record) -> dict[int, Caption]:
    numbers = markdown.image_numbers(record.sample)
    return {numbers[caption.image_id]: caption for caption in record.captions}
