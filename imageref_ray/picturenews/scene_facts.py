"""The content of a picture of the embedded corpus, as values.

A picture is one of four kinds; `describe` returns the reference description, which says only what the picture shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

OBJECTS = ("boat", "car", "bus", "house", "tent", "tree", "balloon", "kite", "fish", "bird", "flower", "umbrella")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
PLACES = {
    "harbour": "at the harbour",
    "park": "in the park",
    "market": "at the market",
    "beach": "on the beach",
    "street": "in the street",
    "mountains": "in the mountains",
}
COUNTS = ("one", "two", "three")
MARKS = ("hat", "scarf", "tie", "beard")
SHAPES = ("circle", "square", "triangle", "star")
MOST_VALUE = 9
ORDINALS = ("first", "second", "third")
"""A chart's bars from left to right."""


@dataclass(frozen=True, slots=True)
class Scene:
    """`count` (1–3) objects of one colour at a place."""

    object: str
    colour: str
    count: int
    place: str

    @property
    def noun(self) -> str:
        return noun(self.object, self.count)


@dataclass(frozen=True, slots=True)
class Portrait:
    """A person with one visible mark of a colour."""

    mark: str
    colour: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Three bars with values 1–9, left to right."""

    values: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Emblem:
    """A distractor: a logo or an advertisement with a coloured shape."""

    kind: str  # "logo" or "advertisement"
    shape: str
    colour: str


Picture = Scene | Portrait | Chart | Emblem


def noun(name: str, count: int) -> str:
    """The object's name in singular or plural: `noun("bus", 2) == "buses"`."""
    if count == 1 or name == "fish":
        return name
    return name + ("es" if name.endswith("s") else "s")


def describe(picture: Picture) -> str:
    """The reference description: `two red boats at the harbour`."""
    match picture:
        case Scene():
            return f"{COUNTS[picture.count - 1]} {picture.colour} {picture.noun} {PLACES[picture.place]}"
        case Portrait():
            return f"a portrait of a person with {article(picture.colour)} {picture.mark}"
        case Chart():
            return "a bar chart with the values {}, {} and {}".format(*picture.values)
        case Emblem():
            return f"{article(picture.kind)} with {article(picture.colour)} {picture.shape}"


def article(word: str) -> str:
    """The word with its indefinite article: `article("orange") == "an orange"`."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def random_scene(rng: random.Random) -> Scene:
    return Scene(rng.choice(OBJECTS), rng.choice(COLOURS), rng.randint(1, 3), rng.choice(list(PLACES)))


def random_portrait(rng: random.Random) -> Portrait:
    return Portrait(rng.choice(MARKS), rng.choice(COLOURS))


def random_chart(rng: random.Random) -> Chart:
    return Chart((rng.randint(1, MOST_VALUE), rng.randint(1, MOST_VALUE), rng.randint(1, MOST_VALUE)))


def random_emblem(rng: random.Random) -> Emblem:
    return Emblem(rng.choice(("logo", "advertisement")), rng.choice(SHAPES), rng.choice(COLOURS))
