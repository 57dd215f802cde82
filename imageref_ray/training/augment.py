"""Random changes of an image that keep what it shows."""

from __future__ import annotations

import math
import random

from PIL import Image

AREA = (0.5, 1.0)
"""Share of the image's area that is kept."""

STRETCH = (3 / 4, 4 / 3)
"""By how much the aspect ratio changes."""

TRIES = 10


def crop_and_flip(image: Image.Image, generator: random.Random) -> Image.Image:
    """A random part of the image, mirrored in half of the cases, as VIGC's release trains (LAVIS's BLIP processor).

    The part is to be resized to the size that was planned for the whole image, so the number of tiles does not change.
    Its aspect ratio is drawn relative to the image's own (theirs: to 1, for every image becomes a square there).
    """
    width, height = image.size
    for _ in range(TRIES):
        area = generator.uniform(*AREA)
        stretch = math.exp(generator.uniform(*map(math.log, STRETCH)))
        wide, high = round(width * math.sqrt(area * stretch)), round(height * math.sqrt(area / stretch))
        if 0 < wide <= width and 0 < high <= height:
            left, top = generator.randint(0, width - wide), generator.randint(0, height - high)
            image = image.crop((left, top, left + wide, top + high))
            break
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else image
