"""A brush for flat illustrations: shapes in local coordinates → outlined pixels.

Coordinates are fractions of the brush's width: x to the right, y down. An object is drawn with its
bottom centre at (0, 0), in x from -0.5 to 0.5 and y from about -1 to 0; a background uses the whole
picture, 0 to 1 in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (44, 44, 58)
GLASS: Colour = (206, 226, 236)
PAINT: dict[str, Colour] = {
    "red": (218, 36, 40),
    "orange": (250, 134, 16),
    "yellow": (254, 220, 32),
    "green": (30, 150, 62),
    "blue": (30, 92, 220),
    "purple": (136, 50, 178),
    "white": (252, 252, 252),
    "black": (26, 26, 30),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0–1) of `second` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def shade(colour: Colour) -> Colour:
    """A shade of the colour that is distinct but still has the same name."""
    if max(colour) < 60:
        return mix(colour, (255, 255, 255), 0.16)
    return mix(colour, INK, 0.1 if min(colour) > 200 else 0.22)


def arc(centre: Point, radii: Point, start: float, end: float, steps: int = 20) -> list[Point]:
    """Points of an elliptic arc, angles in degrees, clockwise from the right."""
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles]


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws on `image` at `origin` (pixels); one local unit is `width` pixels; `flip` is 1 or -1."""

    image: Image.Image
    origin: Point
    width: float
    line: int = 0  # outline in pixels; 0 draws none
    flip: int = 1
    pen: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pen", ImageDraw.Draw(self.image))

    def plain(self) -> Brush:
        """The same brush without outlines."""
        return replace(self, line=0)

    def at(self, point: Point) -> Point:
        return self.origin[0] + self.flip * point[0] * self.width, self.origin[1] + point[1] * self.width

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        corners = [self.at(point) for point in points]
        self.pen.polygon(corners, fill=fill)
        if self.line:
            self.pen.line([*corners, *corners[:2]], fill=INK, width=self.line, joint="curve")

    def oval(self, centre: Point, radii: Point, fill: Colour) -> None:
        x, y = self.at(centre)
        across, down = radii[0] * self.width, radii[1] * self.width
        outline = INK if self.line else None
        self.pen.ellipse((x - across, y - down, x + across, y + down), fill, outline, max(self.line, 1))

    def box(self, corner: Point, opposite: Point, fill: Colour, radius: float = 0.0) -> None:
        (x0, y0), (x1, y1) = self.at(corner), self.at(opposite)
        edges = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        outline = INK if self.line else None
        self.pen.rounded_rectangle(edges, radius * self.width, fill, outline, max(self.line, 1))

    def stroke(self, points: Sequence[Point], fill: Colour, thickness: float) -> None:
        """An open line, `thickness` in local units."""
        corners = [self.at(point) for point in points]
        self.pen.line(corners, fill=fill, width=max(1, round(thickness * self.width)), joint="curve")
