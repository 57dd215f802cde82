"""Verified pictures of a sample → those worth keeping: size, shape, motion, given scores, and no two alike.

Nothing is wrong with what is left out here; every limit is off unless the config sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

import imagehash
import numpy as np
import PIL.Image

from imageref_ray.core.config.source import FilterConfig
from imageref_ray.core.images import DecodedImage, Problem
from imageref_ray.core.records import Image

STAGE = "filter"
"""The stage in every failure that stands for a picture left out."""

COLOUR_DISTANCE = 48
"""Two pictures that differ by more than this (mean of 0..255) in one cell of 8 x 8 are not alike."""


class Look(NamedTuple):
    """What of a picture is compared: a 64-bit perceptual hash of its brightness, and 8 x 8 colours."""

    hash: imagehash.ImageHash
    colours: np.ndarray


def by_scores(entry: Mapping[str, Any], limits: FilterConfig) -> Problem | None:
    """Why a picture is left out by scores that its source gives: `ocr_text` or `ocr_chars`, and `aesthetics`.

    A score that is not given, or is no number, decides nothing.
    """
    text, chars = entry.get("ocr_text"), entry.get("ocr_chars")
    length = len("".join(text.split())) if isinstance(text, str) else chars
    if limits.max_ocr_chars is not None and _number(length) and length > limits.max_ocr_chars:
        return Problem("TextInImage", f"has {length} characters of text, more than filters.max_ocr_chars")
    score = entry.get("aesthetics")
    if limits.min_aesthetics is not None and _number(score) and not score >= limits.min_aesthetics:
        return Problem("LowAesthetics", f"has an aesthetic score of {score}, below filters.min_aesthetics")
    return None


def by_shape(seen: DecodedImage, limits: FilterConfig) -> Problem | None:
    """Why a verified picture is left out by its size in pixels, its width / height, or because it moves."""
    width, height = seen.image.width, seen.image.height
    if limits.min_side is not None and min(width, height) < limits.min_side:
        return Problem("SmallImage", f"has {width} x {height} pixels, a side below filters.min_side")
    if limits.aspect and not limits.aspect[0] <= width / height <= limits.aspect[1]:
        return Problem("OddShape", f"has {width} x {height} pixels, {width / height:.2f} is outside filters.aspect")
    if seen.animated and not limits.animated:
        return Problem("AnimatedImage", "is animated, which filters.animated leaves out")
    return None


def look(picture: PIL.Image.Image) -> Look:
    """The features of a picture (RGB) by which near copies are found.

    The hash (DCT of the grey 32 x 32 picture, lowest 8 x 8 frequencies against their median) knows no colours:
    a red and a blue boat in one place hash alike, so small colour versions are compared as well.
    """
    small = picture.resize((8, 8), PIL.Image.Resampling.BOX)
    return Look(imagehash.phash(picture), np.asarray(small, np.int16))


def alike(one: Look, other: Look, bits: int) -> bool:
    """Whether two pictures show the same: hashes differ in at most `bits` of 64, and colours hardly anywhere."""
    cells = np.abs(one.colours - other.colours).mean(axis=2)
    return one.hash - other.hash <= bits and float(cells.max()) <= COLOUR_DISTANCE


def near_copies(pictures: Iterable[tuple[Image, Look]], bits: int) -> dict[str, str]:
    """Image id → id of the picture that is kept in its place. Of those alike the one with most pixels is kept,
    the first among equals."""
    kept: list[tuple[Image, Look]] = []
    copies: dict[str, str] = {}
    for image, seen in sorted(pictures, key=lambda pair: -pair[0].width * pair[0].height):
        same = next((other.id for other, known in kept if alike(seen, known, bits)), None)
        if same is None:
            kept.append((image, seen))
        else:
            copies[image.id] = same
    return copies


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
