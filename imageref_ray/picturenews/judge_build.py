"""A build of the embedded corpus compared with the ground truth, fact by fact. Pure functions."""

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
    """Agreement of placements and captions with the ground truth.

    `precision`: share of inserted images that belong to the facet of their section; `recall`: share of facets with a
    picture whose section got it; `captions`: share of captions with every fact right. The rest are the counts.
    """

    precision: float
    recall: float
    captions: float
    inserted: int
    pictured: int
    captioned: int


def mentions(text: str, *phrases: str) -> bool:
    """Whether the text contains every phrase as whole words, ignoring case."""
    return all(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE) for phrase in phrases)


def description_right(shot: Shot, text: str) -> bool:
    """Whether object, colour, count and place (or the facts of the picture's kind) are all right."""
    return mentions(text, describe(shot.picture))


def caption_right(event: Event, shot: Shot, text: str) -> bool:
    """Whether person and town (from the article) and every fact of the picture are right."""
    visible = describe(shot.picture)
    if isinstance(shot.picture, Portrait):  # its caption names the person instead of "a person"
        visible = f"{article(shot.picture.colour)} {shot.picture.mark}"
    known = [] if shot.facet is None else [event.facets[shot.facet].person, event.town]
    return mentions(text, visible, *known)


def deed_right(event: Event, shot: Shot, text: str) -> bool:
    """Whether the caption has what the article says of the person: verb, role or subject (True for a distractor)."""
    key = {Scene: "verb", Portrait: "role", Chart: "subject"}.get(type(shot.picture))
    return key is None or shot.facet is None or mentions(text, event.facets[shot.facet].detail[key])


def agreement(records: Iterable[Record], events: Mapping[str, Event]) -> Agreement:
    """Compare built records with the events they were built from (by id)."""
    inserted = right = pictured = served = captioned = captions_right = 0
    for record in records:
        event = events[record.id]
        shots = {shot.id: shot for shot in event.shots}
        section_facets = sections(event, record.response)
        illustrated = set()
        for placement in record.placements:
            if placement.image_id is None:
                continue
            facet = section_facets.get(placement.slot, UNKNOWN)
            required = 1 if facet is None else 3
            fits = facet != UNKNOWN and relevance(event, facet, shots[placement.image_id]) >= required
            inserted, right = inserted + 1, right + fits
            illustrated |= {facet} if fits else set()
        with_picture = {shot.facet for shot in event.shots if shot.facet is not None}
        pictured, served = pictured + len(with_picture), served + len(with_picture & illustrated)
        captioned += len(record.captions)
        captions_right += sum(caption_right(event, shots[c.image_id], c.caption) for c in record.captions)
    shares = _share(right, inserted), _share(served, pictured), _share(captions_right, captioned)
    return Agreement(*shares, inserted, pictured, captioned)


UNKNOWN = -1
"""The facet of a section that is about none of the event's."""


def sections(event: Event, text: str) -> dict[int, int | None]:
    """Before-content slot of a response → the facet of its section (None for the overview, UNKNOWN for no facet)."""
    facets: dict[int, int | None] = {}
    slot = 0
    body: dict[int, str] = {}
    for line in markdown.lines(text):
        slot += markdown.is_header(line)
        body[slot] = f"{body.get(slot, '')}\n{line}"
    for slot, section in body.items():
        facet = section_facet(event, section)
        facets[slot] = None if slot == 1 else UNKNOWN if facet is None else facet
    return facets


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
