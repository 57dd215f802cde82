"""Draws the images of the examples, with nothing but Pillow; they are committed, so this need not be run again.

python examples/draw.py
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
SIZE = 320
INK, SKY, SEA, SAND, GRASS = (44, 44, 60), (196, 222, 240), (126, 180, 200), (236, 218, 180), (160, 196, 140)
RED, BLUE, WHITE, GREEN, WOOD = (214, 40, 44), (30, 90, 214), (252, 252, 252), (60, 140, 70), (139, 98, 62)

Colour = tuple[int, int, int]
Pen = ImageDraw.ImageDraw
Thing = Callable[[Pen, float, float, float, Colour], None]


def boat(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    """A sailing boat whose keel is at (x, y)."""
    pen.line([(x, y - size), (x, y - size * 0.2)], fill=WOOD, width=5)
    pen.polygon(
        [(x + 4, y - size), (x + 4, y - size * 0.35), (x + size * 0.45, y - size * 0.35)], fill=colour, outline=INK
    )
    hull = [(-0.5, -0.28), (0.5, -0.28), (0.33, 0.0), (-0.33, 0.0)]
    pen.polygon([(x + a * size, y + b * size) for a, b in hull], fill=colour, outline=INK)


def tree(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    """A tree whose trunk stands at (x, y)."""
    pen.rectangle((x - size * 0.08, y - size * 0.5, x + size * 0.08, y), fill=WOOD, outline=INK)
    pen.ellipse((x - size * 0.4, y - size, x + size * 0.4, y - size * 0.3), fill=colour, outline=INK, width=3)


def house(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    """A house whose front wall stands at (x, y)."""
    pen.rectangle((x - size * 0.4, y - size * 0.55, x + size * 0.4, y), fill=colour, outline=INK, width=3)
    pen.polygon([(x - size * 0.5, y - size * 0.53), (x, y - size), (x + size * 0.5, y - size * 0.53)], fill=WOOD)
    pen.rectangle((x - size * 0.1, y - size * 0.3, x + size * 0.1, y), fill=WOOD, outline=INK)


def scene(thing: Thing, colour: Colour, count: int, ground: Colour) -> Image.Image:
    """So many of a thing, side by side under the sky."""
    image = Image.new("RGB", (SIZE, SIZE), SKY)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, SIZE * 0.6, SIZE, SIZE), fill=ground)
    step = SIZE / count
    for number in range(count):
        thing(pen, step * (number + 0.5), SIZE * 0.85, min(step * 0.85, 180), colour)
    return image


def chart(values: tuple[int, ...]) -> Image.Image:
    """A bar for each value, with its number above."""
    image = Image.new("RGB", (SIZE, SIZE), WHITE)
    pen = ImageDraw.Draw(image)
    width = SIZE // (len(values) + 1)
    for number, value in enumerate(values):
        left, top = width // 2 + number * width, 280 - value * 22
        pen.rectangle((left, top, left + width * 0.6, 280), fill=(110, 150, 148), outline=INK, width=3)
        pen.text((left + width * 0.3, top - 34), str(value), fill=INK, font_size=30, anchor="ma")
    pen.line([(24, 30), (24, 280), (300, 280)], fill=INK, width=4)
    return image


def main() -> None:
    """All images of all examples."""
    pages, samples = HERE / "markdown-pages" / "pages" / "images", HERE / "samples" / "samples" / "images"
    for path, image in (
        (pages / "start.jpg", scene(boat, RED, 3, SEA)),
        (pages / "finish.jpg", scene(boat, BLUE, 1, SEA)),
        (pages / "orchard.jpg", scene(tree, GREEN, 4, GRASS)),
        (pages / "visitors.jpg", chart((3, 9, 5))),
        (samples / "boathouse.jpg", scene(house, RED, 1, SAND)),
        (samples / "fleet.jpg", scene(boat, WHITE, 2, SEA)),
        (samples / "row.jpg", scene(tree, GREEN, 2, GRASS)),
        (samples / "cottages.jpg", scene(house, BLUE, 3, GRASS)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=88)


if __name__ == "__main__":
    main()
