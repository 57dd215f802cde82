"""What can be told of a picture sentence by sentence: each sentence is one fact, so its truth is known.

Scene ─sentences─▶ "The picture shows two boats." "The boats are red." "They are at the harbour."
      ─falsehood─▶ "The boats are blue." in place of "The boats are red."
"""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

from imageref_ray.picturenews import scene_facts
from imageref_ray.picturenews.scene_facts import COUNTS, PLACES, Chart, Emblem, Picture, Portrait, Scene, article

QUESTION = "What can be seen in the picture?"
DRAWN: tuple[tuple[type, Any], ...] = (
    (Scene, scene_facts.random_scene),
    (Portrait, scene_facts.random_portrait),
    (Chart, scene_facts.random_chart),
    (Emblem, scene_facts.random_emblem),
)
STRANGE = 0.2
"""Share of falsehoods that are about a picture of another kind."""


def sentences(picture: Picture) -> tuple[str, ...]:
    """Everything there is to tell, one fact a sentence, always in this order."""
    match picture:
        case Scene():
            one = picture.count == 1
            shown = f"The picture shows {COUNTS[picture.count - 1]} {picture.noun}."
            coloured = f"The {picture.noun} {'is' if one else 'are'} {picture.colour}."
            return shown, coloured, f"{'It is' if one else 'They are'} {PLACES[picture.place]}."
        case Portrait():
            worn = f"The person has {article(picture.mark)}."
            return "The picture shows a person.", worn, f"The {picture.mark} is {picture.colour}."
        case Chart():
            bars = zip(scene_facts.ORDINALS, picture.values, strict=True)
            return "The picture shows a bar chart.", *(f"The {which} bar stands for {value}." for which, value in bars)
        case Emblem():
            shape = f"In it is {article(picture.shape)}."
            return f"The picture shows {article(picture.kind)}.", shape, f"The {picture.shape} is {picture.colour}."


def holds(picture: Picture, sentence: str) -> bool:
    """Whether the sentence is one of the true ones; white space at its ends does not count."""
    return sentence.strip() in sentences(picture)


def falsehood(picture: Picture, rng: random.Random) -> tuple[str, str]:
    """A sentence that is not true of the picture, and the true one in its place."""
    if rng.random() < STRANGE:
        stranger = rng.choice([draw for kind, draw in DRAWN if not isinstance(picture, kind)])(rng)
        return sentences(stranger)[0], sentences(picture)[0]
    pairs = zip(sentences(_altered(picture, rng)), sentences(picture), strict=True)
    return next(pair for pair in pairs if pair[0] != pair[1])


def _altered(picture: Picture, rng: random.Random) -> Picture:
    """The picture with one fact changed."""
    draw = next(draw for kind, draw in DRAWN if isinstance(picture, kind))
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
