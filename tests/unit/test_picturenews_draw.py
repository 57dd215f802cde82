"""The pictures of the embedded corpus: repeatable, of the size asked for, and different when their facts differ."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from imageref_ray.picturenews.draw import draw, near_duplicate, save_jpeg
from imageref_ray.picturenews.draw_primitives import PAINT
from imageref_ray.picturenews.scene_facts import (
    COLOURS,
    MARKS,
    OBJECTS,
    PLACES,
    SHAPES,
    Chart,
    Emblem,
    Picture,
    Portrait,
    Scene,
)

EVERY_KIND: list[Picture] = [
    Scene("boat", "red", 2, "harbour"),
    Portrait("scarf", "green"),
    Chart((3, 9, 1)),
    Emblem("logo", "star", "blue"),
    Emblem("advertisement", "circle", "white"),
]


def pixels(picture: Picture, seed: int = 5, size: int = 112) -> bytes:
    return draw(picture, random.Random(seed), size).tobytes()


@pytest.mark.parametrize("picture", EVERY_KIND)
def test_same_facts_and_seed_give_the_same_pixels(picture: Picture) -> None:
    assert pixels(picture) == pixels(picture)
    assert pixels(picture, seed=6) != pixels(picture, seed=5)


@pytest.mark.parametrize("picture", EVERY_KIND)
@pytest.mark.parametrize("size", [112, 224])
def test_a_picture_is_rgb_of_the_size_asked_for(picture: Picture, size: int) -> None:
    image = draw(picture, random.Random(0), size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_every_fact_is_visible_in_the_pixels() -> None:
    pictures: list[Picture] = [Scene(name, "red", 1, "park") for name in OBJECTS]
    pictures += [Scene("car", "red", count, place) for count in (1, 2, 3) for place in PLACES]
    pictures += [Scene("car", colour, 1, "street") for colour in COLOURS]
    pictures += [Portrait(mark, colour) for mark in MARKS for colour in COLOURS]
    pictures += [Chart((first, 5, 5)) for first in range(1, 10)]
    pictures += [Emblem(kind, shape, "red") for kind in ("logo", "advertisement") for shape in SHAPES]
    assert len({pixels(picture) for picture in pictures}) == len(set(pictures))


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("colour", COLOURS)
def test_the_named_colour_fills_a_good_part_of_a_single_object(name: str, colour: str) -> None:
    image = draw(Scene(name, colour, 1, "mountains"), random.Random(3))
    paint = Image.new("RGB", image.size, PAINT[colour])
    bands = [band.point(lambda value: 255 if value < 8 else 0) for band in ImageChops.difference(image, paint).split()]
    painted = ImageChops.darker(ImageChops.darker(bands[0], bands[1]), bands[2]).histogram()[255]
    assert painted > 0.03 * 224 * 224


def test_a_near_duplicate_is_smaller_but_looks_the_same(tmp_path: Path) -> None:
    image = draw(EVERY_KIND[0], random.Random(1))
    copy, quality = near_duplicate(image, random.Random(2))
    assert copy.mode == "RGB" and 168 <= copy.width == copy.height <= 208 and 60 <= quality <= 80
    save_jpeg(copy, tmp_path / "copy.jpg", quality)
    saved = Image.open(io.BytesIO((tmp_path / "copy.jpg").read_bytes()))
    small = [one.convert("L").resize((16, 16)) for one in (image, saved)]
    difference = ImageChops.difference(*small).histogram()
    assert sum(level * count for level, count in enumerate(difference)) / 256 < 12
