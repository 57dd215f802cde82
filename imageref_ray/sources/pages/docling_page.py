"""A DoclingDocument (JSON, what Docling makes of PDF, DOCX, PPTX, …) → its title, text and pictures.

    docling manual.pdf --to json --image-export-mode referenced --output manuals/

Source: docling-core's `DoclingDocument`: `body.children` refer to `groups`, `texts`, `tables` and `pictures`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from imageref_ray.core.json_files import BrokenJson, parse_json
from imageref_ray.core.text import well_formed
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages.encodings import decode
from imageref_ray.sources.pages.page import Page, Picture, one_line, untitled

FURNITURE = frozenset(("page_header", "page_footer"))
LISTS = frozenset(("list", "ordered_list"))
DEEPEST = 40
"""Levels of groups and lists that are read."""


@dataclass
class _Reading:
    """The document as JSON, what was read of it, and which items were."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    title: str = ""


def parse_docling(data: bytes) -> Page:
    """A page from a DoclingDocument. Raises Unusable for any other JSON."""
    try:
        document = parse_json(decode(data))
    except BrokenJson as problem:
        raise Unusable("BrokenDocument", f"is not JSON: {problem}") from None
    if not isinstance(document, dict) or document.get("schema_name") != "DoclingDocument":
        raise Unusable("UnknownFormat", "is JSON but not a DoclingDocument; leave it out of source.pages")
    reading = _Reading(document)
    _children(reading, _object(document.get("body")), 0, 0)
    title = reading.title or one_line(well_formed(str(document.get("name") or "")))
    return Page(title, untitled("\n".join(reading.lines), title), tuple(reading.pictures))


def _children(reading: _Reading, item: dict[str, Any], depth: int, indent: int) -> None:
    number = 0
    for child in _referred(reading, item.get("children")):
        number += bool(child.get("enumerated") or item.get("label") == "ordered_list")
        _item(reading, child, depth, indent, number)


def _item(reading: _Reading, item: dict[str, Any], depth: int, indent: int, number: int) -> None:
    """One item with what is below it, in reading order."""
    name = str(item.get("self_ref"))
    if name in reading.seen or depth > DEEPEST or item.get("content_layer", "body") != "body":
        return
    reading.seen.add(name)
    kind, label, space = name.split("/")[1] if name.count("/") > 1 else "", str(item.get("label")), " " * indent
    if label in FURNITURE:
        return
    if kind == "pictures":
        _picture(reading, item)
    elif kind == "tables":
        reading.lines += _captions(reading, item)
        rows = _object(item.get("data")).get("grid")
        for row in rows if isinstance(rows, list) else []:
            cells = [_words(_object(cell).get("text")) for cell in row] if isinstance(row, list) else []
            reading.lines += [" | ".join(cells)] if any(cells) else []
    elif kind == "groups" or not item.get("text"):
        _children(reading, item, depth + 1, indent + 2 * (label in LISTS and indent > 0))
        return
    else:
        _text(reading, item, space, number)
    if kind == "texts":
        _children(reading, item, depth + 1, indent + 2)


def _text(reading: _Reading, item: dict[str, Any], space: str, number: int) -> None:
    label, text = item.get("label"), item.get("text")
    if label == "code":
        language = _words(item.get("code_language")).lower()
        code = well_formed(str(text)).split("\n")
        reading.lines += [f"```{language if language != 'unknown' else ''}", *code, "```"]
    elif label == "title" and not reading.title:
        reading.title = _words(text)
    elif label in ("title", "section_header"):
        level = item.get("level")
        reading.lines.append(
            f"{'#' * min(1 + (level if isinstance(level, int) and level > 0 else 1), 6)} {_words(text)}"
        )
    elif label == "list_item":
        marker = f"{number}. " if item.get("enumerated") or number else "- "
        reading.lines.append(f"{space}{marker}{_words(text)}")
    else:
        reading.lines.append(f"{space}{_words(text)}")


def _picture(reading: _Reading, item: dict[str, Any]) -> None:
    uri = _object(item.get("image")).get("uri")
    captions = _captions(reading, item)
    if isinstance(uri, str) and uri:
        written = item.get("annotations")
        notes = [_object(note) for note in written] if isinstance(written, list) else []
        notes = [note for note in notes if note.get("kind") == "description"]
        alt = _words(notes[0].get("text")) if notes else ""
        reading.lines.append(f"[Image {len(reading.pictures)}]")
        reading.pictures.append(Picture((uri,), alt, caption=" ".join(captions)))
    reading.lines += captions


def _captions(reading: _Reading, item: dict[str, Any]) -> list[str]:
    found = [(str(text.get("self_ref")), _words(text.get("text"))) for text in _referred(reading, item.get("captions"))]
    reading.seen |= {name for name, _ in found}
    return [text for _, text in found if text]


def _referred(reading: _Reading, references: Any) -> Iterator[dict[str, Any]]:
    """The items that a list of `{"$ref": "#/texts/3"}` names."""
    for reference in references if isinstance(references, list) else []:
        named = _object(reference)
        parts = str(named.get("$ref") or named.get("cref") or "").split("/")
        if len(parts) == 3 and parts[0] == "#" and parts[2].isdecimal():
            items = reading.document.get(parts[1])
            if isinstance(items, list) and int(parts[2][:9]) < len(items):
                yield {"self_ref": "/".join(parts), **_object(items[int(parts[2][:9])])}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: Any) -> str:
    return one_line(well_formed(value)) if isinstance(value, str) else ""
