"""Questions about a picture alone: each with its one true answer and the answers that other pictures would have."""

from __future__ import annotations

import random
from typing import NamedTuple

from imageref_ray.picturenews import scene_facts
from imageref_ray.picturenews.scene_facts import Chart, Emblem, Picture, Portrait, Scene

WRONG = 3
"""Wrong choices of a question, where its kind has so many."""

KIND = "What kind of picture is this?"
KINDS = ("a scene", "a portrait", "a bar chart", "a logo", "an advertisement")


class Item(NamedTuple):
    """A question; `pool` holds all answers of the true one's kind, which is among them."""

    question: str
    answer: str
    pool: tuple[str, ...]


def quiz(picture: Picture) -> list[Item]:
    """All questions about the picture, always in the same order."""
    match picture:
        case Scene():
            nouns = tuple(scene_facts.noun(name, picture.count) for name in scene_facts.OBJECTS)
            return [
                Item("What is shown?", picture.noun, nouns),
                Item("How many are there?", scene_facts.COUNTS[picture.count - 1], scene_facts.COUNTS),
                Item("What colour do you see on it?", picture.colour, scene_facts.COLOURS),
                Item("Where is it?", scene_facts.PLACES[picture.place], tuple(scene_facts.PLACES.values())),
                Item(KIND, "a scene", KINDS),
            ]
        case Portrait():
            colour = scene_facts.article(picture.colour)
            marks = tuple(f"{colour} {mark}" for mark in scene_facts.MARKS)
            return [
                Item("What marks the person?", f"{colour} {picture.mark}", marks),
                Item("What colour is the mark?", picture.colour, scene_facts.COLOURS),
                Item(KIND, "a portrait", KINDS),
            ]
        case Chart():
            values = tuple(str(value) for value in range(1, scene_facts.MOST_VALUE + 1))
            bars = zip(scene_facts.ORDINALS, picture.values, strict=True)
            asked = [Item(f"What is the {place} value?", str(value), values) for place, value in bars]
            return [*asked, Item(KIND, "a bar chart", KINDS)]
        case Emblem():
            return [
                Item("What shape is shown?", picture.shape, scene_facts.SHAPES),
                Item("What colour is the shape?", picture.colour, scene_facts.COLOURS),
                Item(KIND, scene_facts.article(picture.kind), KINDS),
            ]


def choices(item: Item, rng: random.Random) -> list[str]:
    """The true answer and up to three others of its kind, in random order."""
    others = [answer for answer in item.pool if answer != item.answer]
    found = [item.answer, *rng.sample(others, min(WRONG, len(others)))]
    rng.shuffle(found)
    return found
