"""Draw the muted backgrounds of the six places, with a brush over the whole picture (0–1 in both directions).

Backgrounds have no outlines and no strong colours, so that the objects in front of them are distinct.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from imageref_ray.picturenews.draw_primitives import Brush, Colour, mix

SKY: Colour = (190, 218, 234)
CLOUD: Colour = (240, 245, 247)
GREY: Colour = (150, 152, 156)


def jitter(colour: Colour, rng: random.Random, most: int = 9) -> Colour:
    red, green, blue = (min(255, max(0, part + rng.randint(-most, most))) for part in colour)
    return red, green, blue


def sky(brush: Brush, rng: random.Random, horizon: float) -> None:
    top = jitter(SKY, rng)
    bands = 10
    for band in range(bands):
        tint = mix(top, (244, 240, 228), band / bands)
        brush.box((0, horizon * band / bands), (1, horizon * (band + 1) / bands), tint)
    for _ in range(rng.randint(1, 3)):
        x, y, size = rng.random(), rng.uniform(0.06, 0.2), rng.uniform(0.05, 0.08)
        for step, scale in ((-0.9, 0.6), (0.0, 1.0), (0.9, 0.7)):
            brush.oval((x + step * size, y), (size * scale * 1.1, size * scale * 0.55), CLOUD)


def harbour(brush: Brush, rng: random.Random) -> None:
    horizon = rng.uniform(0.48, 0.53)
    sky(brush, rng, horizon)
    side, steel = rng.choice((0.1, 0.9)), (128, 140, 150)
    inward = 0.3 if side < 0.5 else -0.3
    brush.stroke([(side, horizon), (side, 0.12)], steel, 0.035)
    brush.stroke([(side - inward * 0.3, 0.15), (side + inward, 0.15)], steel, 0.03)
    brush.stroke([(side + inward * 0.9, 0.15), (side + inward * 0.9, 0.3)], steel, 0.012)
    for _ in range(3):
        left = rng.uniform(0.1, 0.8)
        brush.box((left, horizon - rng.uniform(0.05, 0.1)), (left + 0.14, horizon), jitter((172, 166, 164), rng))
    water = jitter((126, 172, 186), rng)
    brush.box((0, horizon), (1, 1), water)
    for _ in range(14):
        x, y = rng.random(), rng.uniform(horizon + 0.03, 0.84)
        brush.stroke([(x, y), (x + 0.09, y)], mix(water, CLOUD, 0.45), 0.012)
    brush.box((0, 0.88), (1, 1), (166, 162, 158))
    brush.box((0, 0.88), (1, 0.905), (192, 188, 182))
    for x in (0.06, 0.94):
        brush.box((x - 0.028, 0.82), (x + 0.028, 0.9), (104, 108, 116), 0.02)
        brush.box((x - 0.042, 0.81), (x + 0.042, 0.84), (104, 108, 116), 0.015)


def park(brush: Brush, rng: random.Random) -> None:
    horizon = rng.uniform(0.48, 0.53)
    sky(brush, rng, horizon)
    hedge = jitter((138, 168, 128), rng)
    brush.box((0, horizon - 0.12), (1, horizon + 0.05), hedge, 0.02)
    for bump in range(9):
        brush.oval((bump / 8, horizon - 0.12), (0.075, 0.035), hedge)
    lawn = jitter((182, 208, 152), rng)
    brush.box((0, horizon), (1, 1), lawn)
    way = rng.uniform(0.2, 0.8)
    path = [(way, horizon), (way + 0.06, horizon), (way * 0.6 + 0.5, 1), (way * 0.6 + 0.1, 1)]
    brush.poly(path, (224, 212, 186))
    for _ in range(12):
        x, y = rng.random(), rng.uniform(horizon + 0.05, 0.98)
        brush.stroke([(x - 0.012, y - 0.02), (x, y), (x + 0.012, y - 0.02)], mix(lawn, (80, 120, 70), 0.4), 0.008)
    left = rng.choice((0.02, 0.74))
    for y in (horizon - 0.07, horizon - 0.02, horizon + 0.04):
        brush.box((left, y), (left + 0.24, y + 0.03), (164, 130, 98))
    for x in (left + 0.03, left + 0.19):
        brush.box((x, horizon - 0.07), (x + 0.02, horizon + 0.12), (112, 104, 100))


def market(brush: Brush, rng: random.Random) -> None:
    brush.box((0, 0), (1, 1), jitter((228, 216, 200), rng))
    brush.box((0, 0.6), (1, 1), jitter((206, 192, 176), rng))
    tints: list[Colour] = [(206, 150, 142), (150, 178, 160), (152, 168, 192), (200, 176, 138)]
    rng.shuffle(tints)
    shift, stripes = rng.uniform(-0.06, 0.0), 5
    for stall in range(3):
        left, tint = shift + stall * 0.37, tints[stall]
        brush.box((left + 0.02, 0.2), (left + 0.33, 0.46), (182, 168, 156))
        brush.box((left + 0.01, 0.46), (left + 0.34, 0.64), mix((150, 118, 88), tint, 0.2))
        for crate in range(3):
            brush.box(
                (left + 0.03 + crate * 0.1, 0.41), (left + 0.12 + crate * 0.1, 0.47), jitter((196, 172, 130), rng)
            )
        for stripe in range(stripes):
            x, wide = left + stripe * 0.35 / stripes, 0.35 / stripes
            fill = tint if stripe % 2 == 0 else (246, 240, 230)
            brush.box((x, 0.04), (x + wide, 0.2), fill)
            brush.oval((x + wide / 2, 0.2), (wide / 2, 0.045), fill)
    for row in range(4):
        y = 0.68 + row * 0.09
        brush.stroke([(0, y), (1, y)], (190, 176, 160), 0.008)
        for column in range(6):
            x = column * 0.2 + (row % 2) * 0.1
            brush.stroke([(x, y), (x, y + 0.09)], (190, 176, 160), 0.008)


def beach(brush: Brush, rng: random.Random) -> None:
    horizon = rng.uniform(0.4, 0.45)
    sky(brush, rng, horizon)
    sun = (rng.choice((0.14, 0.86)), 0.15)
    brush.oval(sun, (0.11, 0.11), (250, 232, 186))
    brush.oval(sun, (0.08, 0.08), (248, 216, 140))
    brush.box((0, horizon), (1, horizon + 0.14), jitter((134, 190, 204), rng))
    shore = horizon + 0.14
    sand = jitter((238, 222, 180), rng)
    for wave in range(6):
        brush.oval((wave / 5, shore), (0.12, 0.025), (240, 246, 244))
    brush.box((0, shore + 0.008), (1, 1), sand)
    for _ in range(26):
        x, y = rng.random(), rng.uniform(shore + 0.04, 1)
        brush.oval((x, y), (0.008, 0.005), mix(sand, (170, 140, 90), 0.4))


def street(brush: Brush, rng: random.Random) -> None:
    sky(brush, rng, 0.2)
    left, foot = -rng.uniform(0.0, 0.1), 0.58
    while left < 1:
        wide = rng.uniform(0.26, 0.34)
        wall = jitter(rng.choice(((204, 186, 172), (188, 190, 196), (214, 202, 180), (180, 172, 178))), rng)
        top = rng.uniform(0.04, 0.1)
        brush.box((left, top), (left + wide, foot), wall)
        brush.box((left, top), (left + wide, top + 0.025), mix(wall, GREY, 0.5))
        for row in range(4):
            for column in range(3):
                x, y = left + wide * (0.12 + 0.3 * column), top + 0.06 + row * 0.115
                brush.box((x, y), (x + wide * 0.16, y + 0.07), mix(wall, (110, 124, 146), 0.6))
        left += wide + 0.006
    brush.box((0, foot), (1, 0.66), (208, 206, 202))
    road = jitter((142, 144, 150), rng, 6)
    brush.box((0, 0.66), (1, 1), road)
    start = rng.uniform(-0.2, 0.0)
    for dash in range(6):
        x = start + dash * 0.24
        brush.poly([(x + 0.02, 0.92), (x + 0.15, 0.92), (x + 0.14, 0.955), (x, 0.955)], (232, 230, 222))


def mountains(brush: Brush, rng: random.Random) -> None:
    sky(brush, rng, 0.62)
    peaks = ((0.2, 0.1, 0.34), (0.82, 0.14, 0.34), (0.52, 0.22, 0.3))
    for index, (middle, height, half) in enumerate(peaks):
        x, top = middle + rng.uniform(-0.06, 0.06), height + rng.uniform(-0.05, 0.05)
        rock = jitter(((152, 160, 178), (142, 150, 168), (164, 172, 188))[index], rng, 5)
        slope = half / (0.66 - top)
        brush.poly([(x, top), (x + half, 0.66), (x - half, 0.66)], rock)
        brush.poly([(x, top), (x + half, 0.66), (x + 0.05, 0.66)], mix(rock, GREY, 0.4))
        edge = [(x + slope * drop * side, top + drop) for side, drop in ((1.0, 0.16), (0.5, 0.11), (0.1, 0.17))]
        edge += [(x - slope * drop * side, top + drop) for side, drop in ((0.45, 0.11), (1.0, 0.15))]
        brush.poly([(x, top), *edge], (246, 248, 250))
    meadow = jitter((166, 178, 156), rng)
    brush.oval((rng.uniform(0.2, 0.4), 0.76), (0.8, 0.15), mix(meadow, GREY, 0.2))
    brush.box((0, 0.74), (1, 1), meadow)
    brush.oval((0.8, 0.78), (0.7, 0.12), meadow)
    for _ in range(7):
        x, y, size = rng.random(), rng.uniform(0.75, 0.97), rng.uniform(0.015, 0.03)
        brush.oval((x, y), (size * 1.4, size * 0.8), (178, 178, 176))


PLACES: dict[str, Callable[[Brush, random.Random], None]] = {
    "harbour": harbour,
    "park": park,
    "market": market,
    "beach": beach,
    "street": street,
    "mountains": mountains,
}
