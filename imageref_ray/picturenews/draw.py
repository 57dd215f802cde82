"""A `Picture` and a seeded random generator → RGB pixels.

The same picture and generator state give the same pixels. Drawn at twice the size and reduced, so that edges are
smooth; objects are large, because the embedded model reads 112 × 112 pixels.
"""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from imageref_ray.picturenews.draw_figures import chart, emblem, portrait
from imageref_ray.picturenews.draw_objects import FLYING, OBJECTS
from imageref_ray.picturenews.draw_places import PLACES
from imageref_ray.picturenews.draw_primitives import PAINT, Brush
from imageref_ray.picturenews.scene_facts import Chart, Emblem, Picture, Portrait, Scene

OVERSAMPLING = 2
OBJECT_WIDTHS = {1: (0.46, 0.54), 2: (0.36, 0.41), 3: (0.27, 0.295)}  # of the picture's width


def scene(brush: Brush, fact: Scene, rng: random.Random) -> None:
    """The place, then the objects side by side, each within its own share of the width."""
    PLACES[fact.place](brush.plain(), rng)
    share = 1 / fact.count
    foot = {1: 0.78, 2: 0.7, 3: 0.64}[fact.count] if fact.object in FLYING else 0.91
    flip = rng.choice((-1, 1))
    for index in range(fact.count):
        width = rng.uniform(*OBJECT_WIDTHS[fact.count])
        slack = min(0.16, (share - width) / 2)
        x = (index + 0.5) * share + rng.uniform(-slack, slack) * 0.7
        y = foot + rng.uniform(-0.06, 0.05)
        if fact.object not in FLYING:
            ground = Brush(brush.image, brush.at((x, y)), width * brush.width)
            ground.oval((0.0, 0.0), (0.42, 0.035), (118, 122, 122))
        object_brush = Brush(brush.image, brush.at((x, y)), width * brush.width, brush.line, flip)
        OBJECTS[fact.object](object_brush, PAINT[fact.colour])


def draw(picture: Picture, rng: random.Random, size: int = 224) -> Image.Image:
    """The picture as RGB, `size` × `size` pixels."""
    pixels = size * OVERSAMPLING
    image = Image.new("RGB", (pixels, pixels))
    brush = Brush(image, (0, 0), pixels, line=max(1, round(pixels / 110)))
    match picture:
        case Scene():
            scene(brush, picture, rng)
        case Portrait():
            portrait(brush, picture, rng)
        case Chart():
            chart(brush, picture, rng)
        case Emblem():
            emblem(brush, picture, rng)
    return image.reduce(OVERSAMPLING)


def near_duplicate(image: Image.Image, rng: random.Random) -> tuple[Image.Image, int]:
    """A near-duplicate of the image: at most 4 % cropped off its width and height, resized to 168–208 pixels.

    Returns it with the JPEG quality (60–80) to save it with.
    """
    wide, high = image.size
    left, right = rng.uniform(0.0, 0.02) * wide, wide - rng.uniform(0.0, 0.02) * wide
    top, bottom = rng.uniform(0.0, 0.02) * high, high - rng.uniform(0.0, 0.02) * high
    size, quality = rng.randint(168, 208), rng.randint(60, 80)
    copy = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    return copy, quality


def save_jpeg(image: Image.Image, path: Path, quality: int = 88) -> None:
    """Write `image` as a JPEG; the folder must exist."""
    image.save(path, "JPEG", quality=quality)
