"""A picture described sentence by sentence: each sentence is one fact, so that it is known to be true or false.

Scene ─sentences─▶ "The picture shows two boats." "The boats are red." "They are at the harbour."
      ─false_sentence─▶ "The boats are blue." in place of "The boats are red."
"""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

from imageref_ray.picturenews import scene_facts
from imageref_ray.picturenews.scene_facts import COUNTS, PLACES, Chart, Emblem, Picture, Portrait, Scene, article

QUESTION = "What can be seen in the picture?"
KINDS: tuple[tuple[type, Any], ...] = (
    (Scene, scene_facts.random_scene),
    (Portrait, scene_facts.random_portrait),
    (Chart, scene_facts.random_chart),
    (Emblem, scene_facts.random_emblem),
)
OTHER_KIND_SHARE = 0.2
"""Share of false sentences that are about a picture of another kind."""


def sentences(picture: Picture) -> tuple[str, ...]:
    """All facts of the picture, one per sentence, always in this order."""
    match picture:
        case Scene():
            single = picture.count == 1
            objects = f"The picture shows {COUNTS[picture.count - 1]} {picture.noun}."
            colour = f"The {picture.noun} {'is' if single else 'are'} {picture.colour}."
            return objects, colour, f"{'It is' if single else 'They are'} {PLACES[picture.place]}."
        case Portrait():
            mark = f"The person has {article(picture.mark)}."
            return "The picture shows a person.", mark, f"The {picture.mark} is {picture.colour}."
        case Chart():
            bars = zip(scene_facts.ORDINALS, picture.values, strict=True)
            return "The picture shows a bar chart.", *(f"The {which} bar stands for {value}." for which, value in bars)
        case Emblem():
            shape = f"In it is {article(picture.shape)}."
            return f"The picture shows {article(picture.kind)}.", shape, f"The {picture.shape} is {picture.colour}."


def is_true(picture: Picture, sentence: str) -> bool:
    """Whether the sentence is one of the picture's facts; surrounding white space is ignored."""
    return sentence.strip() in sentences(picture)


def false_sentence(picture: Picture, rng: random.Random) -> tuple[str, str]:
    """A sentence that is false of the picture, and the true one in its place."""
    if rng.random() < OTHER_KIND_SHARE:
        other = rng.choice([draw for kind, draw in KINDS if not isinstance(picture, kind)])(rng)
        return sentences(other)[0], sentences(picture)[0]
    pairs = zip(sentences(_altered(picture, rng)), sentences(picture), strict=True)
    return next(pair for pair in pairs if pair[0] != pair[1])


def _altered(picture: Picture, rng: random.Random) -> Picture:
    """The picture with one fact changed."""
    draw = next(draw for kind, draw in KINDS if isinstance(picture, kind))
    while True:
        other = draw(rng)
        if isinstance(picture, Chart):
            at = rng.randrange(len(picture.values))
            values = tuple(other.values[i] if i == at else value for i, value in enumerate(picture.values))
            change: dict[str, Any] = {"values": values}
        else:
            name = rng.choice([field.name for field in fields(picture)])
            change = {name: getattr(other, name)}
        if (altered := replace(picture, **change)) != picture:
            return altered
