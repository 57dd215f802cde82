"""Image files → small embedded images, and which of them are near duplicates.

For an image that is missing or damaged the page shows a sentence; it is never an error.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import PIL.Image

from imageref_ray.core.images import Problem, open_rgb, verify
from imageref_ray.core.records import Image

MAX_SIDE = 320
"""Longest side of a thumbnail in pixels."""

MAX_BYTES, MAX_PIXELS = 200_000_000, 80_000_000
"""Largest image that is opened: more than a build accepts by default, less than Pillow warns of."""

JPEG_QUALITY = 85

GRID_SIDE = 8
MAX_GRID_DISTANCE = 6.0
"""Images whose 8 x 8 colour grids differ by less than this (mean of 0..255) count as near duplicates."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image as the page shows it: `src` is a data URI (empty if it cannot be shown), `problem` says what is wrong
    with the file, `grid` is its colours at 8 x 8, for comparison."""

    src: str = ""
    problem: str = ""
    grid: bytes = b""


def make_thumbnail(image: Image, run: Path) -> Thumbnail:
    """The thumbnail of `image`; a relative path starts at the working directory, or at a folder above `run`."""
    path = find_file(image.uri, run)
    verified = verify(replace(image, uri=str(path)), MAX_BYTES, MAX_PIXELS)
    if isinstance(verified, Problem):
        return Thumbnail(problem=verified.message)
    try:
        pixels = open_rgb(str(path))
    except OSError as error:
        return Thumbnail(problem=f"{path} cannot be read: {error.strerror or error}")
    changed = bool(image.sha256) and verified.sha256 != image.sha256
    return Thumbnail(
        src=data_uri(pixels, MAX_SIDE),
        problem=f"{path} has changed since the run (different sha256)" if changed else "",
        grid=pixels.resize((GRID_SIDE, GRID_SIDE), PIL.Image.Resampling.BOX).tobytes(),
    )


def data_uri(image: PIL.Image.Image, max_side: int) -> str:
    """An RGB image as a JPEG data URI, scaled down to at most `max_side` pixels wide and high."""
    thumbnail = image.copy()
    thumbnail.thumbnail((max_side, max_side))
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def find_file(uri: str, run: Path) -> Path:
    """The path of an image. A run's relative paths start where it was started, which may be another folder than now."""
    path = Path(uri)
    if path.is_absolute() or path.is_file():
        return path
    return next((parent / path for parent in run.resolve().parents if (parent / path).is_file()), path)


def find_near_duplicates(thumbnails: Sequence[Thumbnail]) -> list[list[int]]:
    """For each thumbnail the indices of its near duplicates (copies, other sizes, slightly cropped)."""
    duplicates: list[list[int]] = [[] for _ in thumbnails]
    for (i, a), (j, b) in itertools.combinations(enumerate(thumbnails), 2):
        if a.grid and b.grid and _grid_distance(a.grid, b.grid) < MAX_GRID_DISTANCE:
            duplicates[i].append(j)
            duplicates[j].append(i)
    return duplicates


def _grid_distance(a: bytes, b: bytes) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
