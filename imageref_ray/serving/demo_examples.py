"""Examples for the demo page: events of the embedded world, which no shipped checkpoint was trained on.

Pictures are drawn when they are first asked for, and sent as data URLs: what the page then asks with.
"""

from __future__ import annotations

import base64
import random
import tempfile
from pathlib import Path
from typing import Any

from imageref_ray.core.durable import writing
from imageref_ray.core.records import Document
from imageref_ray.picturenews import corpus, events
from imageref_ray.picturenews.event_questions import one_of_each
from imageref_ray.picturenews.events import Event
from imageref_ray.picturenews.scene_facts import describe

EVENTS = 6
PICTURES = 8
"""Examples that the page offers."""

DRAWN = 4
"""Events whose pictures are looked through for these."""


def shown() -> list[Event]:
    """The events, the same on every machine."""
    return list(corpus.make_events(corpus.SEEDS["test"], EVENTS))


def listed() -> list[dict[str, Any]]:
    """`id`, `title`, `questions` of each event."""
    return [{"id": one.id, "title": one.title, "questions": _questions(one)} for one in shown()]


def documents(id: str) -> list[dict[str, Any]]:
    """The event's documents as `/v1/reference` takes them. Raises KeyError for another id."""
    event = {one.id: one for one in shown()}[id]
    drawn = _drawn(event)
    return [_document(document, drawn) for document in corpus.sample(event).documents]


def pictures() -> list[dict[str, Any]]:
    """Pictures of different kinds: `name`, `alt` (what is true of it), `src`, `questions` about it."""
    kinds: dict[type, list[dict[str, Any]]] = {}
    for event in shown()[:DRAWN]:
        drawn = _drawn(event)
        for shot in event.shots:
            if not shot.duplicate_of:
                entry = {
                    "name": shot.id,
                    "alt": describe(shot.picture),
                    "src": drawn[shot.id],
                    "questions": [question for question, _ in events.questions(shot.picture)],
                }
                kinds.setdefault(type(shot.picture), []).append(entry)
    turns = (found[i] for i in range(PICTURES) for found in kinds.values() if i < len(found))
    return [entry for entry, _ in zip(turns, range(PICTURES), strict=False)]


def _questions(event: Event) -> list[str]:
    """About the whole, one of its persons, a thing of another one, and somebody who is not in its documents."""
    return [item.question for item in one_of_each(event, random.Random(event.id))[:4]]


def _drawn(event: Event) -> dict[str, str]:
    """Shot's id → its picture as a data URL."""
    with tempfile.TemporaryDirectory() as folder, writing(Path(folder)):
        corpus.write_images(Path(folder), [event])
        files = {shot.id: (Path(folder) / "image" / shot.id).read_bytes() for shot in event.shots}
    return {id: f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for id, data in files.items()}


def _document(document: Document, drawn: dict[str, str]) -> dict[str, Any]:
    ids = [image.id for image in document.images]
    return {
        "id": document.id,
        "title": document.title,
        "text": document.text,
        "images": [drawn[id] for id in ids],
        "names": ids,
    }
