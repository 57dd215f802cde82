"""Verified images of a sample → why one is filtered out: size, aspect ratio, animation, scores, near duplicates.

The images are valid; every filter is off unless the config sets it.
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
"""The stage in the failure of every image that is filtered out."""

COLOUR_DISTANCE = 48
"""Images that differ by more than this (mean over channels, 0..255) in one of 8 x 8 cells are not near duplicates."""


class Features(NamedTuple):
    """Features for near-duplicate detection: a 64-bit perceptual hash of the brightness, colours [8, 8, 3]."""

    hash: imagehash.ImageHash
    colours: np.ndarray


def by_scores(entry: Mapping[str, Any], limits: FilterConfig) -> Problem | None:
    """Why an image is filtered out by scores in its row: `ocr_text` or `ocr_chars`, and `aesthetics`.

    A score that is missing or not a number is ignored.
    """
    text, chars = entry.get("ocr_text"), entry.get("ocr_chars")
    length = len("".join(text.split())) if isinstance(text, str) else chars
    if limits.max_ocr_chars is not None and _number(length) and length > limits.max_ocr_chars:
        return Problem("TextInImage", f"has {length} characters of text, more than source.filters.max_ocr_chars")
    score = entry.get("aesthetics")
    if limits.min_aesthetics is not None and _number(score) and not score >= limits.min_aesthetics:
        return Problem("LowAesthetics", f"has an aesthetic score of {score}, below source.filters.min_aesthetics")
    return None


def by_shape(decoded: DecodedImage, limits: FilterConfig) -> Problem | None:
    """Why a verified image is filtered out by its size in pixels, its width / height, or because it is animated."""
    width, height = decoded.image.width, decoded.image.height
    if limits.min_side is not None and min(width, height) < limits.min_side:
        return Problem("SmallImage", f"has {width} x {height} px: the shorter side is below source.filters.min_side")
    if limits.aspect and not limits.aspect[0] <= width / height <= limits.aspect[1]:
        return Problem("OddShape", f"has {width} x {height} px: {width / height:.2f} is outside source.filters.aspect")
    if decoded.animated and not limits.animated:
        return Problem("AnimatedImage", "is animated, which source.filters.animated filters out")
    return None


def features(pixels: PIL.Image.Image) -> Features:
    """The features of an image (RGB) for near-duplicate detection.

    The hash (DCT of the grey 32 x 32 image, lowest 8 x 8 frequencies against their median) ignores colours: a red
    and a blue boat at the same place have the same hash, so 8 x 8 colour versions are compared as well.
    """
    small = pixels.resize((8, 8), PIL.Image.Resampling.BOX)
    return Features(imagehash.phash(pixels), np.asarray(small, np.int16))


def are_near_duplicates(first: Features, second: Features, bits: int) -> bool:
    """Whether the hashes of two images differ in at most `bits` of 64, and no colour by more than COLOUR_DISTANCE."""
    cells = np.abs(first.colours - second.colours).mean(axis=2)
    return first.hash - second.hash <= bits and float(cells.max()) <= COLOUR_DISTANCE


def near_duplicates(images: Iterable[tuple[Image, Features]], bits: int) -> dict[str, str]:
    """Image id → id of the image that is kept instead: of near duplicates the one with the most pixels, the first of
    equals."""
    kept: list[tuple[Image, Features]] = []
    duplicates: dict[str, str] = {}
    for image, own in sorted(images, key=lambda pair: -pair[0].width * pair[0].height):
        original = next((other.id for other, known in kept if are_near_duplicates(own, known, bits)), None)
        if original is None:
            kept.append((image, own))
        else:
            duplicates[image.id] = original
    return duplicates


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
