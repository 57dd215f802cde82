"""One event in several systems → what the page shows of it, as plain values for the template event.html.

A card has a column per system and a row per slot: the text there, the images that fit best, and each system's choice
with its verdict. An event without slots has one row: its images, the expected answer and each system's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imageref_ray.core import markdown
from imageref_ray.core.records import Image
from imageref_ray.dataset.cards.card import line_block, shorten
from imageref_ray.evaluation.events import Event, SlotVerdict

Card = dict[str, Any]
Cell = dict[str, Any]

Show = Callable[[Image, Path], tuple[str, str]]
"""Image and run → the picture's CSS class ("" if it is not shown), and why it is not."""

MAX_TEXT = 2_000
"""Characters shown of one paragraph or answer."""

PER_CENT = 100.0
"""The value of an answer that is wholly right, where it has no slots."""

VERDICTS = {
    "right": ("✓", "right"),
    "fair": ("≈", "fits"),
    "wrong": ("✕", "wrong"),
    "missed": ("○", "missed"),
    "unlabelled": ("?", "not judged"),
    "empty": ("", "none"),
}
"""Verdict → sign and word: colour alone never says it."""


WINS = {1.0: ("right", "wins"), 0.5: ("fair", "tie"), 0.0: ("wrong", "loses")}
"""What a judge says of a pair → its verdict and word."""


class Reason(NamedTuple):
    """What a judge replied about an answer: `about` which image or order (may be empty), its values, its words."""

    about: str
    values: str
    reply: str


class Column(NamedTuple):
    """One system's answer to the event; None: it was not asked. `number` is the system's on the whole page,
    `reasons` what a judge said of the answer."""

    number: int
    name: str
    run: Path
    event: Event | None
    reasons: Sequence[Reason] = ()


def make_event_card(columns: Sequence[Column], show: Show) -> Card:
    """`id`, `title`, `columns` (name, value, problem, answer), `rows` (lines, best, cells), `flags` to filter by,
    and whether the cells are texts (`wide`)."""
    first = next(column for column in columns if column.event)
    event, images = first.event, _Images(first, show)
    assert event is not None
    rows = _slot_rows(event, columns, images) if event.text else [_answer_row(event, columns, images)]
    return {
        "id": event.id,
        "title": shorten(event.question, 500) or event.id,
        "columns": [_column_view(column) for column in columns],
        "wide": not event.text,
        "rows": rows,
        "flags": sorted(_flags(columns, rows)),
    }


def headline_value(event: Event | None) -> float | None:
    """The value that cards show and are sorted by: the score, or else the event's first."""
    return event.values.get(headline_name(event)) if event else None


def headline_name(event: Event) -> str:
    return "score" if "score" in event.values else next(iter(event.values), "")


def shown_images(events: Sequence[Event]) -> set[str]:
    """The uris of all images that the cards of these events show."""
    return {
        image.uri
        for event in events
        for image in event.images
        if not event.text or any(image.id in (slot.image, *slot.best) for slot in event.slots)
    }


class _Images:
    """The images of one event as the template shows them."""

    def __init__(self, column: Column, show: Show) -> None:
        self._column, self._show = column, show
        self._known: Mapping[str, tuple[int, Image]] = {
            image.id: (k, image) for k, image in enumerate(column.event.images if column.event else (), 1)
        }

    def view(self, id: str) -> dict[str, str]:
        """`name` (IMAGE_k), `id`, `picture` (CSS class) and `problem`."""
        if id not in self._known:
            return {"name": id, "id": id, "picture": "", "problem": "not an image of this event"}
        k, image = self._known[id]
        picture, problem = self._show(image, self._column.run)
        return {"name": f"IMAGE_{k}", "id": id, "picture": picture, "problem": problem}

    def all(self) -> list[dict[str, str]]:
        return [self.view(id) for id in self._known]


def _slot_rows(event: Event, columns: Sequence[Column], images: _Images) -> list[dict[str, Any]]:
    slots = [{slot.slot: slot for slot in column.event.slots} if column.event else {} for column in columns]
    rows = []
    for number, lines in _pieces(event.text, event.policy):
        best = dict.fromkeys(id for by_slot in slots if number in by_slot for id in by_slot[number].best)
        rows.append(
            {
                "lines": [line_block(shorten(line, MAX_TEXT)) for line in lines],
                "images": [],
                "best": [images.view(id) for id in best],
                "expected": "",
                "none": not best and any(by_slot[number].verdict == "wrong" for by_slot in slots if number in by_slot),
                "cells": [_slot_cell(by_slot.get(number), images) for by_slot in slots],
            }
        )
    return rows


def _pieces(text: str, policy: markdown.Policy) -> list[tuple[int, list[str]]]:
    """(slot, the lines it belongs to) in order; slot 0 for lines that have none."""
    lines, at = markdown.lines(text), markdown.slots(text, policy)
    bounds = [*at, len(lines)] if policy == "before" else [0, *(line + 1 for line in at)]
    pieces = [(slot, lines[bounds[slot - 1] : bounds[slot]]) for slot in range(1, len(at) + 1)]
    return [piece for piece in ((0, lines[: bounds[0]]), *pieces, (0, lines[bounds[-1] :])) if piece[1]]


def _slot_cell(slot: SlotVerdict | None, images: _Images) -> Cell:
    if slot is None or (slot.verdict == "empty" and not slot.best):
        return {"verdict": "", "sign": "", "word": "", "image": None, "text": ""}
    sign, word = VERDICTS[slot.verdict]
    image = images.view(slot.image) if slot.image else None
    return {"verdict": slot.verdict, "sign": sign, "word": word, "image": image, "text": ""}


def _answer_row(event: Event, columns: Sequence[Column], images: _Images) -> dict[str, Any]:
    return {
        "lines": [],
        "images": images.all(),
        "best": [],
        "expected": shorten(event.expected, MAX_TEXT),
        "none": False,
        "cells": [_answer_cell(column.event) for column in columns],
    }


def _answer_cell(event: Event | None) -> Cell:
    value = headline_value(event)
    if event and headline_name(event) == "win":
        verdict, word = WINS.get(-1.0 if value is None else value, ("", ""))
        sign = VERDICTS[verdict][0] if verdict else ""
    else:
        verdict = {PER_CENT: "right", 0.0: "wrong"}.get(-1.0 if value is None else value, "")
        sign, word = VERDICTS.get(verdict, ("", ""))
    text = shorten(event.answer, MAX_TEXT) if event else ""
    return {"verdict": verdict, "sign": sign, "word": word, "image": None, "text": text}


def _column_view(column: Column) -> dict[str, Any]:
    event, value = column.event, headline_value(column.event)
    own = event is not None and event.text and markdown.strip_images(event.answer) != event.text
    lines = markdown.lines(event.answer)[:100] if event and own else []
    return {
        "name": column.name,
        "value": f"{headline_name(event)} {value:.3g}" if event and value is not None else "–",
        "problem": event.problem if event else "not asked in this run",
        "answer": [line_block(shorten(line, MAX_TEXT)) for line in lines],
        "reasons": column.reasons,
    }


def _flags(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """`different`; `wrong`, `missed`, `problem` of any system and, with its number, of each; `best-i` of the best."""
    flags = {"different"} if any(_differ(row["cells"]) for row in rows) else set()
    for i, column in enumerate(columns):
        found = {row["cells"][i]["verdict"] for row in rows} & {"wrong", "missed"}
        found |= {"problem"} if column.event is None or column.event.problem else set()
        flags |= found | {f"{name}-{column.number}" for name in found}
    values = {column.number: headline_value(column.event) for column in columns}
    known = sorted((value, number) for number, value in values.items() if value is not None)
    if len(known) > 1 and known[-1][0] > known[-2][0]:
        flags.add(f"best-{known[-1][1]}")
    return flags


def _differ(cells: Sequence[Cell]) -> bool:
    """Whether systems chose different images, or were right where another was not."""
    return len({(cell["verdict"], (cell["image"] or {}).get("id")) for cell in cells}) > 1
