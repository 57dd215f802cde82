"""Draw a portrait, a chart or an emblem, with a brush over the whole picture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import lru_cache

from PIL import ImageFont

from imageref_ray.picturenews.draw_places import jitter
from imageref_ray.picturenews.draw_primitives import INK, PAINT, Brush, Colour, Point, arc, mix, shade
from imageref_ray.picturenews.scene_facts import MOST_VALUE, Chart, Emblem, Portrait

SKINS: tuple[Colour, ...] = ((246, 214, 186), (228, 184, 148), (190, 140, 104), (142, 98, 72))
HAIRS: tuple[Colour, ...] = ((104, 76, 58), (150, 116, 84), (196, 170, 128), (146, 142, 140))
WALLS: tuple[Colour, ...] = ((204, 216, 222), (216, 222, 204), (230, 216, 206), (214, 208, 224))
COATS: tuple[Colour, ...] = ((134, 146, 160), (150, 142, 130), (140, 156, 146), (156, 142, 158))
ACCENTS: tuple[Colour, ...] = ((98, 130, 164), (110, 150, 140), (160, 128, 150), (150, 136, 108))
LOUD: tuple[tuple[Colour, Colour], ...] = (
    ((250, 130, 178), (255, 206, 224)),
    ((64, 200, 196), (198, 240, 234)),
    ((190, 150, 110), (238, 220, 192)),
)


@lru_cache(maxsize=8)
def font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=pixels)


def hat(brush: Brush, colour: Colour) -> None:
    brush.poly([(0.3, 0.28), (0.33, 0.08), (0.4, 0.045), (0.6, 0.045), (0.67, 0.08), (0.7, 0.28)], colour)
    brush.plain().box((0.31, 0.2), (0.69, 0.25), shade(shade(colour)))
    brush.box((0.17, 0.25), (0.83, 0.325), colour, 0.035)


def scarf(brush: Brush, colour: Colour) -> None:
    brush.poly([(0.54, 0.72), (0.7, 0.72), (0.74, 0.98), (0.56, 0.98)], shade(colour))
    brush.box((0.27, 0.62), (0.73, 0.79), colour, 0.08)
    for x in (0.38, 0.5, 0.62):
        brush.plain().stroke([(x - 0.02, 0.64), (x + 0.02, 0.77)], shade(shade(colour)), 0.014)


def tie(brush: Brush, colour: Colour) -> None:
    brush.poly([(0.46, 0.77), (0.54, 0.77), (0.61, 0.96), (0.5, 1.05), (0.39, 0.96)], colour)
    brush.poly([(0.43, 0.67), (0.57, 0.67), (0.54, 0.78), (0.46, 0.78)], shade(colour))


def beard(brush: Brush, colour: Colour) -> None:
    outer = [(0.29, 0.38), *arc((0.5, 0.48), (0.235, 0.28), 180, 0, 20), (0.71, 0.38)]
    inner = [(0.66, 0.5), (0.58, 0.51), (0.5, 0.49), (0.42, 0.51), (0.34, 0.5)]
    brush.poly([*outer, *inner], colour)
    brush.poly(arc((0.5, 0.56), (0.075, 0.035), 0, 180, 8), (196, 112, 104))


MARKS: dict[str, Callable[[Brush, Colour], None]] = {"hat": hat, "scarf": scarf, "tie": tie, "beard": beard}


def face(brush: Brush, rng: random.Random, hair: Colour, skin: Colour) -> None:
    """Head with hair, eyes, nose and mouth; the hair is short or long, parted by `rng`."""
    plain = brush.plain()
    if rng.random() < 0.4:
        brush.box((0.25, 0.22), (0.75, 0.62), hair, 0.12)
    brush.box((0.42, 0.5), (0.58, 0.74), mix(skin, INK, 0.12))
    for x in (0.285, 0.715):
        brush.oval((x, 0.42), (0.035, 0.055), skin)
    brush.oval((0.5, 0.4), (0.21, 0.25), skin)
    part = rng.uniform(-0.08, 0.08)
    brush.poly([*arc((0.5, 0.36), (0.22, 0.23), 180, 360, 18), (0.64, 0.29), (0.5 + part, 0.24), (0.36, 0.29)], hair)
    for x in (0.42, 0.58):
        plain.oval((x, 0.4), (0.024, 0.03), INK)
        plain.stroke([(x - 0.04, 0.345), (x + 0.04, 0.34)], hair, 0.016)
    plain.stroke([(0.5, 0.4), (0.485, 0.46), (0.51, 0.465)], mix(skin, INK, 0.35), 0.012)
    plain.stroke(arc((0.5, 0.52), (0.07, 0.04), 20, 160, 8), (170, 84, 80), 0.018)


def portrait(brush: Brush, fact: Portrait, rng: random.Random) -> None:
    plain = brush.plain()
    frame = jitter(rng.choice(((172, 148, 112), (140, 120, 100), (186, 176, 156))), rng)
    plain.box((0, 0), (1, 1), jitter(rng.choice(WALLS), rng))
    plain.oval((0.5, 0.48), (0.42, 0.42), jitter((226, 228, 226), rng))
    coat, shirt = jitter(rng.choice(COATS), rng), (206, 214, 218)
    size, slide = rng.uniform(0.9, 0.99), rng.uniform(-0.03, 0.03)
    origin = brush.at((0.5 - size / 2 + slide, 1 - size))
    person = Brush(brush.image, origin, brush.width * size, brush.line)
    person.poly([(0.06, 1.1), (0.1, 0.84), (0.26, 0.73), (0.74, 0.73), (0.9, 0.84), (0.94, 1.1)], coat)
    face(person, rng, rng.choice(HAIRS), rng.choice(SKINS))
    if fact.mark == "tie":
        person.poly([(0.38, 0.68), (0.62, 0.68), (0.7, 1.1), (0.3, 1.1)], shirt)
    else:
        person.poly(
            [(0.4, 0.72), (0.5, 0.8), (0.6, 0.72), (0.66, 0.74), (0.5, 0.88), (0.34, 0.74)], mix(coat, INK, 0.2)
        )
    MARKS[fact.mark](person, PAINT[fact.colour])
    for inset, tint in ((0.0, frame), (0.032, mix(frame, INK, 0.35))):
        width = round(brush.width * (0.035 if inset == 0 else 0.008))
        near, far = brush.at((inset, inset)), brush.at((1 - inset, 1 - inset))
        brush.pen.rectangle((*near, *far), outline=tint, width=width)


def chart(brush: Brush, fact: Chart, rng: random.Random) -> None:
    plain, accent = brush.plain(), jitter(rng.choice(ACCENTS), rng)
    plain.box((0, 0), (1, 1), jitter((236, 236, 232), rng, 5))
    plain.box((0.03, 0.03), (0.97, 0.97), (254, 254, 254), 0.03)
    foot, unit, shift = 0.91, 0.071, rng.uniform(-0.015, 0.015)
    for step in range(1, MOST_VALUE + 1):
        plain.stroke([(0.09, foot - step * unit), (0.93, foot - step * unit)], (220, 222, 224), 0.006)
    letters = font(round(brush.width * 0.15))
    for middle, value in zip((0.235, 0.51, 0.785), fact.values, strict=True):
        x, top = middle + shift, foot - value * unit
        brush.box((x - 0.09, top), (x + 0.09, foot), accent)
        plain.box((x - 0.055, top - 0.14), (x + 0.055, top - 0.012), (254, 254, 254))
        brush.pen.text(
            brush.at((x, top - 0.02)), str(value), INK, letters, anchor="ms", stroke_width=max(1, brush.line // 3)
        )
    plain.stroke([(0.09, 0.1), (0.09, foot), (0.94, foot)], INK, 0.012)


def corners(sides: int, radius: float, star: bool = False) -> list[Point]:
    """A regular polygon (or star) about (0.5, 0.46), one corner up."""
    points, count = [], sides * 2 if star else sides
    for corner in range(count):
        reach = radius * 0.45 if star and corner % 2 else radius
        angle = math.radians(360 * corner / count - 90)
        points.append((0.5 + reach * math.cos(angle), 0.46 + reach * math.sin(angle)))
    return points


def shape(brush: Brush, name: str, radius: float, colour: Colour) -> None:
    match name:
        case "circle":
            brush.oval((0.5, 0.46), (radius * 0.85, radius * 0.85), colour)
        case "square":
            half = radius * 0.76
            brush.box((0.5 - half, 0.46 - half), (0.5 + half, 0.46 + half), colour)
        case "triangle":
            brush.poly(corners(3, radius), colour)
        case _:
            brush.poly(corners(5, radius, star=True), colour)


def logo(brush: Brush, fact: Emblem, rng: random.Random) -> None:
    plain = brush.plain()
    card = jitter((238, 238, 234), rng, 6)
    plain.box((0, 0), (1, 1), card)
    plain.oval((0.5, 0.46), (0.36, 0.36), (136, 142, 150))
    plain.oval((0.5, 0.46), (0.315, 0.315), mix(card, (206, 216, 222), 0.7))
    shape(brush, fact.shape, rng.uniform(0.24, 0.27), PAINT[fact.colour])
    left = rng.uniform(0.2, 0.26)
    while left < 0.74:
        wide = rng.uniform(0.04, 0.12)
        plain.box((left, 0.88), (left + wide, 0.925), (120, 126, 134), 0.02)
        left += wide + 0.025


def advertisement(brush: Brush, fact: Emblem, rng: random.Random) -> None:
    plain = brush.plain()
    strong, pale = rng.choice(LOUD)
    plain.box((0, 0), (1, 1), pale)
    turn, rays = rng.uniform(0, 30), 12
    for ray in range(rays):
        start = turn + ray * 360 / rays
        plain.poly([(0.5, 0.46), *arc((0.5, 0.46), (1, 1), start, start + 180 / rays, 2)], strong)
    shape(brush, fact.shape, rng.uniform(0.3, 0.34), PAINT[fact.colour])
    deep = mix(strong, INK, 0.45)
    brush.poly([(0.02, 0.8), (0.98, 0.8), (0.93, 0.875), (0.98, 0.95), (0.02, 0.95), (0.07, 0.875)], deep)
    left = 0.15
    while left < 0.8:
        wide = rng.uniform(0.05, 0.12)
        plain.box((left, 0.855), (left + wide, 0.9), (255, 250, 240), 0.02)
        left += wide + 0.03


def emblem(brush: Brush, fact: Emblem, rng: random.Random) -> None:
    (logo if fact.kind == "logo" else advertisement)(brush, fact, rng)
