"""Result rows → cards: what the page shows of one record, as plain values for the templates.

A build's record becomes a card with its pictures where they were placed; the row of any other job is shown as it
is, field by field. Nothing here trusts a row: what does not fit together is a note on the card.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.batch.store import Result
from imageref_ray.commands import pages
from imageref_ray.commands.inspection.thumbnails import Picture, alike, embed
from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Failure, Image, Placement, Record, from_row

MOST_TEXT = 20_000
"""Characters shown of one text; what is cut is said."""

Card = dict[str, Any]
Block = dict[str, Any]


def card(result: Result, failures: Sequence[Failure], run: Path) -> Card:
    """`kind` record or row, `id`, `title`, `usage`, `failures`, and what the kind's template needs."""
    shared = {"id": result.id, "usage": result.usage, "failures": failures}
    if {"sample", "response", "captions", "placements"} <= result.row.keys():
        try:
            record = from_row(Record, result.row)
            return {**shared, "kind": "record", **_record(record, run)}
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # a row that only looks like a record
            note = f"this row cannot be read as a record ({error}); it is shown as it is"
            return {**shared, "kind": "row", "title": result.id, "notes": [note], "fields": _fields(result.row)}
    return {**shared, "kind": "row", "title": result.id, "notes": [], "fields": _fields(result.row)}


def cut(text: str, most: int = MOST_TEXT) -> str:
    """The text, or its beginning and how much is missing."""
    return text if len(text) <= most else f"{text[:most]} … (cut: {len(text):,} characters in all)"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _fields(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (key, cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)))
        for key, value in flat(row)
        if key != "id"
    ]


def _record(record: Record, run: Path) -> Card:
    shown = _pictures(record, run)
    blocks, notes = _blocks(record, shown)
    placed = {block["picture"]["number"] for block in blocks if block.get("picture")}
    return {
        "title": cut(record.sample.instruction, 500) or record.id,
        "category": record.sample.category,
        "blocks": blocks,
        "notes": notes,
        "left": [picture for picture in shown.values() if picture["number"] not in placed],
        "pictures": len(shown),
        "placed": len(placed),
        "duplicates": sum(bool(picture["alike"]) for picture in shown.values()),
        "documents": [_document(document, shown) for document in record.sample.documents],
    }


def _pictures(record: Record, run: Path) -> dict[str, dict[str, Any]]:
    """Image id → the picture with its number (k of `IMAGE_k`), texts, and the numbers of those that look alike."""
    sources = [(document, image) for document in record.sample.documents for image in document.images]
    opened = [embed(image, run) for _, image in sources]
    numbers = markdown.image_numbers(record.sample)
    texts = {caption.image_id: caption for caption in record.captions}
    shown: dict[str, dict[str, Any]] = {}
    for (document, image), picture, others in zip(sources, opened, alike(opened), strict=True):
        if image.id not in shown:
            same = [numbers[sources[other][1].id] for other in others]
            shown[image.id] = {
                **_picture(image, picture),
                "number": numbers[image.id],
                "caption": cut(texts[image.id].caption) if image.id in texts else "",
                "description": cut(texts[image.id].description) if image.id in texts else "",
                "document": cut(document.title, 200),
                "alike": sorted({number for number in same if number != numbers[image.id]}),
            }
    return shown


def _picture(image: Image, picture: Picture) -> dict[str, Any]:
    size = f"{image.width} × {image.height}" if image.width else ""
    return {"id": image.id, "src": picture.src, "problem": picture.problem, "size": size}


def _blocks(record: Record, shown: Mapping[str, dict[str, Any]]) -> tuple[list[Block], list[str]]:
    """The response line by line with its slots, and notes on placements that have no place in it."""
    text = cut(record.response)
    count = len(markdown.slots(text, "before"))
    chosen = {placement.slot: placement for placement in record.placements}
    legal = {slot: choice for slot, choice in chosen.items() if 1 <= slot <= count}
    notes = [f"slot {slot} was filled, but the response has {count} slots" for slot in chosen if slot not in legal]
    after = markdown.convert(legal, text, "before", "after")
    kept = {choice.slot for choice in after.values()}
    notes += [
        f"slot {slot} holds {choice.image_id}, but its section has no paragraph"
        for slot, choice in legal.items()
        if choice.image_id and slot not in kept
    ]
    place = {line: slot for slot, line in enumerate(markdown.slots(text, "after"), start=1)}
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(text)):
        blocks.append(pages.line(line))
        if choice := after.get(place.get(number, 0)):
            blocks.append(_slot(choice, shown))
            if choice.image_id and choice.image_id not in shown:
                notes.append(f"slot {choice.slot} holds {choice.image_id}, which is not an image of this sample")
    return blocks, notes


def _slot(choice: Placement, shown: Mapping[str, dict[str, Any]]) -> Block:
    why = " ".join(text for text in (choice.analysis, choice.explanation) if text)
    picture = shown.get(choice.image_id) if choice.image_id else None
    return {"kind": "slot", "slot": choice.slot, "picture": picture, "why": cut(why, 2_000)}


def _document(document: Document, shown: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The document's text in pieces: strings, and `{"number": k}` where image k stands."""
    bare = dataclasses.replace(document, title="", text=cut(document.text))
    pieces = [
        {"number": shown[piece.id]["number"]} if isinstance(piece, Image) else piece for piece in markdown.pieces(bare)
    ]
    link = document.url if document.url.startswith(("https://", "http://")) else ""
    return {"id": document.id, "title": cut(document.title, 500), "url": document.url, "link": link, "pieces": pieces}
