"""What a model said about the embedded corpus against what is true, fact by fact. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imageref_ray.core import markdown
from imageref_ray.core.records import Record
from imageref_ray.picturenews.events import Event, Shot, relevance, section_facet
from imageref_ray.picturenews.scene_facts import Chart, Portrait, Scene, article, describe


@dataclass(frozen=True, slots=True)
class Agreement:
    """Built placements and captions against the truth.

    `precision`: share of inserted images that belong to what their section tells; `recall`: share of pictured
    things whose section got its picture; `captions`: share of captions with every fact right.
    """

    precision: float
    recall: float
    captions: float
    inserted: int
    pictured: int
    captioned: int


def said(text: str, *expected: str) -> bool:
    """Whether every expected phrase stands in the text as whole words, whatever the case."""
    return all(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) for phrase in expected)


def description_right(shot: Shot, text: str) -> bool:
    """Object, colour, count and place (or what else the picture's kind has) all right."""
    return said(text, describe(shot.picture))


def caption_right(event: Event, shot: Shot, text: str) -> bool:
    """Person and town from the article and every fact of the picture."""
    seen = describe(shot.picture)
    if isinstance(shot.picture, Portrait):  # its caption names the person instead of "a person"
        seen = f"{article(shot.picture.colour)} {shot.picture.mark}"
    known = [] if shot.facet is None else [event.facets[shot.facet].person, event.town]
    return said(text, seen, *known)


def deed_right(event: Event, shot: Shot, text: str) -> bool:
    """What the article tells of the person in the caption: deed, role or subject (true of a distractor)."""
    key = {Scene: "verb", Portrait: "role", Chart: "subject"}.get(type(shot.picture))
    return key is None or shot.facet is None or said(text, event.facets[shot.facet].detail[key])


def agreement(records: Iterable[Record], events: Mapping[str, Event]) -> Agreement:
    """Compare built records with the events they were built from (by id)."""
    inserted = right = pictured = found = captioned = captions_right = 0
    for record in records:
        event = events[record.id]
        shots = {shot.id: shot for shot in event.shots}
        told = sections(event, record.response)
        served = set()
        for placement in record.placements:
            if placement.image_id is None:
                continue
            facet = told.get(placement.slot, UNKNOWN)
            enough = 1 if facet is None else 3
            fits = facet != UNKNOWN and relevance(event, facet, shots[placement.image_id]) >= enough
            inserted, right = inserted + 1, right + fits
            served |= {facet} if fits else set()
        wanted = {shot.facet for shot in event.shots if shot.facet is not None}
        pictured, found = pictured + len(wanted), found + len(wanted & served)
        captioned += len(record.captions)
        captions_right += sum(caption_right(event, shots[c.image_id], c.caption) for c in record.captions)
    shares = _share(right, inserted), _share(found, pictured), _share(captions_right, captioned)
    return Agreement(*shares, inserted, pictured, captioned)


UNKNOWN = -1
"""A section that tells nothing the event knows."""


def sections(event: Event, text: str) -> dict[int, int | None]:
    """Before-content slot of a response → the facet its section tells (None for the overview, UNKNOWN for neither)."""
    told: dict[int, int | None] = {}
    slot = 0
    body: dict[int, str] = {}
    for line in markdown.lines(text):
        slot += line.startswith("#")
        body[slot] = f"{body.get(slot, '')}\n{line}"
    for slot, section in body.items():
        facet = section_facet(event, section)
        told[slot] = None if slot == 1 else UNKNOWN if facet is None else facet
    return told


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
