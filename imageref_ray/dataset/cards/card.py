"""Result rows → cards: what the page shows of one record, as plain values for the template card.html.

A build's record becomes a card with its images where they were placed; the row of any other job is shown field by
field. Rows may hold anything: what does not fit together becomes a note on the card.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.batch.store import Result
from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Failure, Image, Placement, Record, from_row
from imageref_ray.dataset.cards.thumbnails import Thumbnail, find_near_duplicates, make_thumbnail

MAX_TEXT = 20_000
"""Characters shown of one text."""

Card = dict[str, Any]
Block = dict[str, Any]
ImageView = dict[str, Any]
"""An image as the template shows it: `id`, `number` (k of `IMAGE_k`), thumbnail, texts and near duplicates."""


def make_card(result: Result, failures: Sequence[Failure], run: Path) -> Card:
    """`kind` (record or row), `id`, `title`, `notes`, `usage`, `failures`, and what the template needs for the kind."""
    shared = {"id": result.id, "usage": result.usage, "failures": failures}
    if {"sample", "response", "captions", "placements"} <= result.row.keys():
        try:
            record = from_row(Record, result.row)
            return {**shared, "kind": "record", **_record_fields(record, run)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # has a record's keys, but other values
            note = f"this row cannot be read as a record ({error}); its fields are shown instead"
            return {**shared, "kind": "row", "title": result.id, "notes": [note], "fields": _row_fields(result.row)}
    return {**shared, "kind": "row", "title": result.id, "notes": [], "fields": _row_fields(result.row)}


def in_order(id: str) -> tuple[int, str]:
    """A sort key: ids of digits in the order of their numbers."""
    return len(id) if id.isdigit() else 0, id


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """The text, cut to `limit` characters with a note of its full length."""
    return text if len(text) <= limit else f"{text[:limit]} … (cut: {len(text):,} characters in all)"


def line_block(line: str) -> dict[str, str]:
    """One Markdown line of a response as a block: `kind` (title, header or text) and `text` without its `#` marks."""
    line = line.strip("\n")
    level = len(line) - len(line.lstrip("#"))
    kind = "text" if not level else "title" if level == 1 else "header"
    return {"kind": kind, "text": line.lstrip("#").strip()}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as (dotted key, value)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _row_fields(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key, shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)))
        for key, value in flatten(row)
        if key != "id"
    ]


def _record_fields(record: Record, run: Path) -> Card:
    images = _image_views(record, run)
    blocks, notes = _response_blocks(record, images)
    placed = {block["image"]["number"] for block in blocks if block.get("image")}
    return {
        "title": shorten(record.sample.instruction, 500) or record.id,
        "category": record.sample.category,
        "blocks": blocks,
        "notes": notes,
        "unplaced": [image for image in images.values() if image["number"] not in placed],
        "images": len(images),
        "placed": len(placed),
        "duplicates": sum(bool(image["duplicates"]) for image in images.values()),
        "documents": [_document_view(document, images) for document in record.sample.documents],
    }


def _image_views(record: Record, run: Path) -> dict[str, ImageView]:
    """Image id → the image with its texts, and the numbers of its near duplicates."""
    sources = [(document, image) for document in record.sample.documents for image in document.images]
    thumbnails = [make_thumbnail(image, run) for _, image in sources]
    numbers = markdown.image_numbers(record.sample)
    captions = {caption.image_id: caption for caption in record.captions}
    views: dict[str, ImageView] = {}
    for (document, image), thumbnail, similar in zip(
        sources, thumbnails, find_near_duplicates(thumbnails), strict=True
    ):
        if image.id not in views:
            duplicates = {numbers[sources[index][1].id] for index in similar}
            views[image.id] = {
                **_thumbnail_fields(image, thumbnail),
                "number": numbers[image.id],
                "caption": shorten(captions[image.id].caption) if image.id in captions else "",
                "description": shorten(captions[image.id].description) if image.id in captions else "",
                "words": [shorten(text, 1_000) for text in image.words],
                "document": shorten(document.title, 200),
                "duplicates": sorted(duplicates - {numbers[image.id]}),
            }
    return views


def _thumbnail_fields(image: Image, thumbnail: Thumbnail) -> dict[str, Any]:
    size = f"{image.width} × {image.height}" if image.width else ""
    return {"id": image.id, "src": thumbnail.src, "problem": thumbnail.problem, "size": size}


def _response_blocks(record: Record, images: Mapping[str, ImageView]) -> tuple[list[Block], list[str]]:
    """The response line by line with its slots, and notes on placements that cannot be shown in it."""
    text = shorten(record.response)
    count = len(markdown.slots(text, "before"))
    placements = {placement.slot: placement for placement in record.placements}
    valid = {slot: placement for slot, placement in placements.items() if 1 <= slot <= count}
    notes = [f"slot {slot} does not exist: the response has {count} slots" for slot in placements if slot not in valid]
    placements_after = markdown.convert(valid, text, "before", "after")
    converted = {placement.slot for placement in placements_after.values()}
    notes += [
        f"slot {slot} holds {placement.image_id}, but its section has no paragraph"
        for slot, placement in valid.items()
        if placement.image_id and slot not in converted
    ]
    slot_of_line = {line: slot for slot, line in enumerate(markdown.slots(text, "after"), start=1)}
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(text)):
        blocks.append(line_block(line))
        if placement := placements_after.get(slot_of_line.get(number, 0)):
            blocks.append(_slot_block(placement, images))
            if placement.image_id and placement.image_id not in images:
                notes.append(f"slot {placement.slot} holds {placement.image_id}, which is not an image of this sample")
    return blocks, notes


def _slot_block(placement: Placement, images: Mapping[str, ImageView]) -> Block:
    reason = " ".join(text for text in (placement.analysis, placement.explanation) if text)
    image = images.get(placement.image_id) if placement.image_id else None
    return {"kind": "slot", "slot": placement.slot, "image": image, "reason": shorten(reason, 2_000)}


def _document_view(document: Document, images: Mapping[str, ImageView]) -> dict[str, Any]:
    """The document's text in pieces: strings, and `{"number": k}` at the position of image k."""
    untitled = dataclasses.replace(document, title="", text=shorten(document.text))
    pieces = [
        {"number": images[piece.id]["number"]} if isinstance(piece, Image) else piece
        for piece in markdown.pieces(untitled)
    ]
    title, url = shorten(document.title, 500), document.url
    link = url if url.startswith(("https://", "http://")) else ""
    return {"id": document.id, "title": title, "url": url, "link": link, "pieces": pieces}
