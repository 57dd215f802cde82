"""Picture files → small embedded pictures, and which of them look alike.

A picture that is gone or damaged is a sentence in its place, never an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import PIL.Image

from imageref_ray.commands import pages
from imageref_ray.core.images import Problem, open_rgb, verify
from imageref_ray.core.records import Image

LONGEST = 320
"""Longest side of an embedded picture in pixels."""

MAX_BYTES, MAX_PIXELS = 200_000_000, 80_000_000
"""What is opened at all: more than a build accepts unless told to, less than what Pillow warns of."""

GRID = 8
ALIKE = 6.0
"""Pictures whose 8 x 8 colour grids differ by less than this (mean of 0..255) look alike."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the page shows it: a data URI, or the `problem` with it; `grid` is what likeness is judged by."""

    src: str = ""
    problem: str = ""
    grid: bytes = b""


def embed(image: Image, run: Path) -> Picture:
    """The picture of `image`; a relative path counts from the working directory, else from a folder above the run."""
    path = locate(image.uri, run)
    found = verify(replace(image, uri=str(path)), MAX_BYTES, MAX_PIXELS)
    if isinstance(found, Problem):
        return Picture(problem=found.message)
    try:
        opened = open_rgb(str(path))
    except OSError as error:
        return Picture(problem=f"{path} cannot be read: {error.strerror or error}")
    changed = bool(image.sha256) and found.sha256 != image.sha256
    return Picture(
        src=pages.data_uri(opened, LONGEST),
        problem=f"{path} is not the file that the run saw: its sha256 has changed" if changed else "",
        grid=opened.resize((GRID, GRID), PIL.Image.Resampling.BOX).tobytes(),
    )


def locate(uri: str, run: Path) -> Path:
    """Where the file is. Runs name pictures relative to where they were started, which need not be here."""
    path = Path(uri)
    if path.is_absolute() or path.is_file():
        return path
    return next((parent / path for parent in run.resolve().parents if (parent / path).is_file()), path)


def alike(pictures: Sequence[Picture]) -> list[list[int]]:
    """For each picture the indices of those that look like it (copies, other sizes, slightly cropped)."""
    found: list[list[int]] = [[] for _ in pictures]
    for (i, a), (j, b) in itertools.combinations(enumerate(pictures), 2):
        if a.grid and b.grid and _difference(a.grid, b.grid) < ALIKE:
            found[i].append(j)
            found[j].append(i)
    return found


def _difference(a: bytes, b: bytes) -> float:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a)
