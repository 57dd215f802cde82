"""Draw the silhouettes of the twelve objects, with a brush at the object's foot and a colour.

`OBJECTS` maps the name to its drawing function; `FLYING` are the ones in the air.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from imageref_ray.picturenews.draw_primitives import GLASS, INK, Brush, Colour, arc, shade

WOOD: Colour = (139, 98, 62)
LEAF: Colour = (104, 140, 92)
TYRE: Colour = (62, 62, 70)
HUB: Colour = (214, 214, 210)


def boat(brush: Brush, colour: Colour) -> None:
    brush.box((-0.025, -0.98), (0.025, -0.25), WOOD)
    brush.poly([(0.05, -0.95), (0.05, -0.34), (0.44, -0.34)], colour)
    brush.poly([(-0.05, -0.84), (-0.05, -0.34), (-0.36, -0.34)], shade(colour))
    brush.poly([(-0.5, -0.28), (0.5, -0.28), (0.34, 0.0), (-0.34, 0.0)], colour)
    brush.plain().stroke([(-0.4, -0.17), (0.4, -0.17)], HUB, 0.035)


def wheels(brush: Brush, places: tuple[float, float], radius: float) -> None:
    for x in places:
        brush.oval((x, -radius), (radius, radius), TYRE)
        brush.plain().oval((x, -radius), (radius * 0.45, radius * 0.45), HUB)


def car(brush: Brush, colour: Colour) -> None:
    brush.poly([(-0.32, -0.32), (-0.2, -0.56), (0.12, -0.56), (0.3, -0.32)], colour)
    brush.poly([(-0.24, -0.33), (-0.16, -0.5), (-0.05, -0.5), (-0.05, -0.33)], GLASS)
    brush.poly([(0.02, -0.33), (0.02, -0.5), (0.09, -0.5), (0.22, -0.33)], GLASS)
    brush.box((-0.5, -0.35), (0.5, -0.09), colour, 0.08)
    brush.plain().box((0.43, -0.28), (0.49, -0.22), (250, 236, 190))
    wheels(brush, (-0.27, 0.27), 0.125)


def bus(brush: Brush, colour: Colour) -> None:
    brush.box((-0.5, -0.72), (0.5, -0.08), colour, 0.06)
    for column in range(4):
        left = -0.44 + column * 0.19
        brush.box((left, -0.63), (left + 0.15, -0.42), GLASS)
    brush.box((0.32, -0.63), (0.45, -0.12), GLASS)
    brush.plain().stroke([(-0.48, -0.3), (0.3, -0.3)], shade(shade(colour)), 0.04)
    wheels(brush, (-0.27, 0.2), 0.11)


def house(brush: Brush, colour: Colour) -> None:
    brush.box((0.2, -0.94), (0.32, -0.6), shade(colour))
    brush.box((-0.4, -0.54), (0.4, 0.0), colour)
    brush.poly([(-0.5, -0.52), (0.0, -0.95), (0.5, -0.52)], shade(colour))
    brush.box((-0.08, -0.3), (0.1, 0.0), WOOD)
    for left in (-0.32, 0.17):
        brush.box((left, -0.42), (left + 0.16, -0.25), GLASS)


def tent(brush: Brush, colour: Colour) -> None:
    brush.poly([(0.0, -0.74), (0.5, 0.0), (-0.5, 0.0)], colour)
    brush.poly([(0.0, -0.74), (0.17, 0.0), (-0.17, 0.0)], shade(colour))
    brush.poly([(0.0, -0.5), (0.1, 0.0), (-0.1, 0.0)], TYRE)
    brush.stroke([(-0.04, -0.8), (0.0, -0.74), (0.04, -0.8)], INK, 0.025)


def tree(brush: Brush, colour: Colour) -> None:
    brush.poly([(-0.08, -0.5), (0.08, -0.5), (0.12, 0.0), (-0.12, 0.0)], WOOD)
    blobs = [(-0.24, -0.52, 0.25), (0.24, -0.52, 0.25), (-0.16, -0.78, 0.25), (0.17, -0.79, 0.24), (0.0, -0.96, 0.2)]
    for x, y, radius in blobs:
        brush.oval((x, y), (radius, radius), colour)
    plain = brush.plain()
    for x, y, radius in blobs:
        inner = radius - brush.line / brush.width
        plain.oval((x, y), (inner, inner), colour)
    plain.oval((0.0, -0.65), (0.2, 0.2), colour)
    for x, y in ((-0.2, -0.55), (0.16, -0.6), (-0.06, -0.85)):
        plain.stroke(arc((x, y), (0.09, 0.07), 20, 160, 8), shade(shade(colour)), 0.025)


def balloon(brush: Brush, colour: Colour) -> None:
    brush.stroke([(0.0, -0.34), (0.04, -0.25), (-0.04, -0.13), (0.02, 0.0)], INK, 0.022)
    brush.poly([(0.0, -0.4), (0.07, -0.31), (-0.07, -0.31)], shade(colour))
    brush.oval((0.0, -0.8), (0.38, 0.44), colour)
    brush.plain().stroke(arc((0.0, -0.82), (0.27, 0.32), 195, 250, 8), (255, 255, 255), 0.045)


def kite(brush: Brush, colour: Colour) -> None:
    tail = [(0.0, -0.3), (0.1, -0.2), (-0.06, -0.1), (0.08, 0.0)]
    brush.stroke(tail, INK, 0.022)
    for x, y in tail[1:]:
        brush.poly([(x - 0.09, y - 0.045), (x + 0.09, y + 0.045), (x + 0.09, y - 0.045), (x - 0.09, y + 0.045)], colour)
    top, right, bottom, left = (0.0, -1.1), (0.42, -0.76), (0.0, -0.28), (-0.42, -0.76)
    brush.poly([top, right, bottom, left], colour)
    brush.plain().poly([(0.0, -0.76), (0.36, -0.75), (0.0, -0.34)], shade(colour))
    for ends in ([top, bottom], [left, right]):
        brush.stroke(ends, INK, 0.018)


def fish(brush: Brush, colour: Colour) -> None:
    brush.poly([(-0.22, -0.3), (-0.5, -0.54), (-0.44, -0.3), (-0.5, -0.06)], shade(colour))
    brush.poly([(-0.12, -0.48), (0.02, -0.66), (0.2, -0.48)], shade(colour))
    brush.oval((0.1, -0.3), (0.4, 0.24), colour)
    brush.poly([(0.06, -0.3), (-0.1, -0.2), (0.04, -0.14)], shade(colour))
    brush.oval((0.33, -0.36), (0.055, 0.055), (255, 255, 255))
    brush.plain().oval((0.34, -0.36), (0.026, 0.026), INK)
    brush.stroke(arc((0.12, -0.3), (0.1, 0.18), -60, 60, 8), shade(shade(colour)), 0.025)


def bird(brush: Brush, colour: Colour) -> None:
    brush.poly([(0.4, -0.5), (0.5, -0.43), (0.4, -0.38)], (240, 190, 90))
    brush.poly([(-0.22, -0.3), (-0.5, -0.34), (-0.5, -0.16), (-0.2, -0.16)], shade(colour))
    brush.poly(
        [(0.1, -0.32), (0.06, -0.7), (-0.12, -0.9), (-0.34, -0.96), (-0.28, -0.6), (-0.16, -0.32)], shade(colour)
    )
    brush.oval((0.0, -0.26), (0.32, 0.18), colour)
    brush.oval((0.29, -0.44), (0.15, 0.15), colour)
    brush.plain().oval((0.16, -0.33), (0.14, 0.12), colour)
    brush.poly([(0.06, -0.3), (0.1, -0.62), (0.02, -0.86), (-0.14, -0.98), (-0.16, -0.6), (-0.14, -0.3)], colour)
    brush.plain().oval((0.33, -0.47), (0.04, 0.04), (255, 255, 255))
    brush.plain().oval((0.335, -0.47), (0.022, 0.022), INK)


def flower(brush: Brush, colour: Colour) -> None:
    brush.stroke([(0.0, -0.6), (0.02, -0.3), (0.0, 0.0)], INK, 0.085)
    brush.stroke([(0.0, -0.6), (0.02, -0.3), (0.0, -0.01)], LEAF, 0.05)
    brush.poly([(0.02, -0.08), (0.14, -0.26), (0.36, -0.28), (0.22, -0.1)], LEAF)
    brush.poly([(0.0, -0.04), (-0.12, -0.2), (-0.34, -0.2), (-0.2, -0.04)], LEAF)
    for petal in range(6):
        angle = math.radians(30 + 60 * petal)
        brush.oval((0.27 * math.cos(angle), -0.7 + 0.27 * math.sin(angle)), (0.18, 0.18), colour)
    brush.oval((0.0, -0.7), (0.14, 0.14), (196, 146, 84))


def umbrella(brush: Brush, colour: Colour) -> None:
    handle = [(0.0, -1.0), (0.0, -0.12), *arc((0.09, -0.12), (0.09, 0.1), 180, 10, 10)]
    brush.stroke(handle, INK, 0.065)
    brush.stroke(handle, WOOD, 0.035)
    edge = [point for x in (0.333, 0.0, -0.333) for point in arc((x, -0.5), (0.167, 0.09), 0, -180, 8)]
    brush.poly([*arc((0.0, -0.5), (0.5, 0.46), 180, 360, 24), *edge], colour)
    rib = [*arc((0.0, -0.5), (0.167, 0.46), 180, 360, 16), *arc((0.0, -0.5), (0.167, 0.09), 0, -180, 8)]
    brush.poly(rib, shade(colour))


OBJECTS: dict[str, Callable[[Brush, Colour], None]] = {
    "boat": boat,
    "car": car,
    "bus": bus,
    "house": house,
    "tent": tent,
    "tree": tree,
    "balloon": balloon,
    "kite": kite,
    "fish": fish,
    "bird": bird,
    "flower": flower,
    "umbrella": umbrella,
}
FLYING = frozenset({"balloon", "kite", "bird"})
