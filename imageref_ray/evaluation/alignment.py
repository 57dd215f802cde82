"""A free answer beside a reference text: which section of one is which of the other, and where its images belong.

    reference ─▶ sections ─┐
    answer ─▶ sections ────┴─▶ similarity of every pair ─▶ best one-to-one assignment ─▶ images at the reference's slots

A section is a header line with the lines under it, the first one the title with the overview. Sections match in any
order. Similarity is Dice's coefficient of letter trigrams, which knows no language: case, punctuation and width of
letters do not count.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from imageref_ray.core import markdown

THRESHOLD = 0.5
"""Least similarity of two sections that are the same. Measured on picturenews (60 events): a section with a fifth of
its words changed has 0.74 in the median, two sections of one event 0.11 (99 % of them below 0.50)."""


@dataclass(frozen=True, slots=True)
class Section:
    """A header (empty where the text begins without one) and the lines under it, without images.

    `images[i]` are the k of the images after line i - 1: those in `images[0]` follow the header.
    """

    header: str
    lines: tuple[str, ...]
    images: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Aligned:
    """`images`: slot of the reference (policy "after", from 1) → the k placed there, in the answer's order.

    `lost`: the k that have no place there: in sections that none of the reference matches, or under a header that has
    no paragraph. `found` of `sections` sections of the reference have a match in the answer.
    """

    images: dict[int, tuple[int, ...]]
    lost: tuple[int, ...]
    found: int
    sections: int


def align(reference: str, answer: str, threshold: float = THRESHOLD) -> Aligned:
    """Where the answer's images belong in the reference text; neither text needs to be a response."""
    wanted, given = sections(reference), sections(answer)
    first_slots = [1 + sum(len(section.lines) for section in wanted[:i]) for i in range(len(wanted))]
    pairs = _pairs(wanted, given, threshold)
    with_slots = {i: j for i, j in pairs.items() if wanted[i].lines}
    images: dict[int, tuple[int, ...]] = {}
    for i, j in sorted(with_slots.items(), key=lambda pair: pair[1]):
        for slot, ks in _by_slot(wanted[i], given[j], first_slots[i]).items():
            images[slot] = (*images.get(slot, ()), *ks)
    kept = set(with_slots.values())
    lost = [k for j, section in enumerate(given) if j not in kept for ks in section.images for k in ks]
    return Aligned(images, tuple(lost), len(pairs), len(wanted))


def sections(text: str) -> list[Section]:
    """The text's sections in order; a text without any line has none."""
    parts: list[tuple[str, list[str], list[list[int]]]] = [("", [], [[]])]
    for line in markdown.lines(text):
        rest = markdown.strip_images(line)
        if rest and markdown.is_header(rest):
            parts.append((rest, [], [[]]))
        elif rest:
            parts[-1][1].append(rest)
            parts[-1][2].append([])
        parts[-1][2][-1] += [reference.k for reference in markdown.references(line)]
    return [
        Section(header, tuple(lines), tuple(map(tuple, images)))
        for header, lines, images in parts
        if header or lines or any(images)
    ]


def similarity(a: Section, b: Section) -> float:
    """0 to 1: the mean of headers' and paragraphs' likeness, or the paragraphs' alone where a header is missing."""
    body = dice(" ".join(a.lines), " ".join(b.lines))
    return (dice(a.header, b.header) + body) / 2 if a.header and b.header else body


def dice(a: str, b: str) -> float:
    """Dice's coefficient of two texts' trigrams of letters and digits: 1 for the same letters, 0 for none in common."""
    one, other = _trigrams(a), _trigrams(b)
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def _pairs(wanted: list[Section], given: list[Section], threshold: float) -> dict[int, int]:
    """Index in `wanted` → index in `given` of the most similar sections, each used once."""
    if not wanted or not given:
        return {}
    scores = np.array([[similarity(a, b) for b in given] for a in wanted])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if scores[i, j] >= threshold}


def _by_slot(wanted: Section, given: Section, first: int) -> dict[int, tuple[int, ...]]:
    """Slot → k for the images of one section; those after a further paragraph than the reference has go to its last."""
    placed: dict[int, tuple[int, ...]] = {}
    for after, ks in enumerate(given.images):
        if ks:
            slot = first + min(max(after - 1, 0), len(wanted.lines) - 1)
            placed[slot] = (*placed.get(slot, ()), *ks)
    return placed


@lru_cache(256)  # every section is compared with every other
def _trigrams(text: str) -> Counter[str]:
    letters = "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
    return Counter(letters[i : i + 3] for i in range(max(1, len(letters) - 2)) if letters)
