"""Questions about a picture alone: each with its true answer and the answers that are true of other pictures."""

from __future__ import annotations

import random
from typing import NamedTuple

from imageref_ray.picturenews import scene_facts
from imageref_ray.picturenews.scene_facts import Chart, Emblem, Picture, Portrait, Scene

WRONG_CHOICES = 3
"""Wrong choices of a question, if its kind has so many."""

KIND = "What kind of picture is this?"
KINDS = ("a scene", "a portrait", "a bar chart", "a logo", "an advertisement")


class QuestionItem(NamedTuple):
    """A question; `pool` are all possible answers of its kind, the true one included."""

    question: str
    answer: str
    pool: tuple[str, ...]


def write_questions(picture: Picture) -> list[QuestionItem]:
    """All questions about the picture, always in the same order."""
    match picture:
        case Scene():
            nouns = tuple(scene_facts.noun(name, picture.count) for name in scene_facts.OBJECTS)
            return [
                QuestionItem("What is shown?", picture.noun, nouns),
                QuestionItem("How many are there?", scene_facts.COUNTS[picture.count - 1], scene_facts.COUNTS),
                QuestionItem("What colour do you see on it?", picture.colour, scene_facts.COLOURS),
                QuestionItem("Where is it?", scene_facts.PLACES[picture.place], tuple(scene_facts.PLACES.values())),
                QuestionItem(KIND, "a scene", KINDS),
            ]
        case Portrait():
            colour = scene_facts.article(picture.colour)
            marks = tuple(f"{colour} {mark}" for mark in scene_facts.MARKS)
            return [
                QuestionItem("What marks the person?", f"{colour} {picture.mark}", marks),
                QuestionItem("What colour is the mark?", picture.colour, scene_facts.COLOURS),
                QuestionItem(KIND, "a portrait", KINDS),
            ]
        case Chart():
            values = tuple(str(value) for value in range(1, scene_facts.MOST_VALUE + 1))
            bars = zip(scene_facts.ORDINALS, picture.values, strict=True)
            items = [QuestionItem(f"What is the {place} value?", str(value), values) for place, value in bars]
            return [*items, QuestionItem(KIND, "a bar chart", KINDS)]
        case Emblem():
            return [
                QuestionItem("What shape is shown?", picture.shape, scene_facts.SHAPES),
                QuestionItem("What colour is the shape?", picture.colour, scene_facts.COLOURS),
                QuestionItem(KIND, scene_facts.article(picture.kind), KINDS),
            ]


def draw_choices(item: QuestionItem, rng: random.Random) -> list[str]:
    """The true answer and up to three others of its kind, in random order."""
    others = [answer for answer in item.pool if answer != item.answer]
    choices = [item.answer, *rng.sample(others, min(WRONG_CHOICES, len(others)))]
    rng.shuffle(choices)
    return choices
