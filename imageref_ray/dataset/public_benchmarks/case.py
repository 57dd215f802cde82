"""What every benchmark's row becomes: a sample, a reference answer with image lines, and labels at its slots.

Their answers have images in the middle of a text; ours have them on a line of their own, after the paragraph that
they followed. An image before a section's first paragraph belongs to that paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Sample
from imageref_ray.dataset.paper_formats import Relevance, image_id


class Unusable(ValueError):
    """A row is not as the benchmark documents it; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question. `labels`: slot (policy "after") → images of the reference there, of relevance 3; `unknown`
    references of the reference name no image of the sample."""

    sample: Sample
    reference: str
    labels: Relevance
    unknown: int


Read = Callable[[int, Mapping[str, Any]], Case]
"""The case of a row and its number in the file (from 1); raises Unusable."""


def make_case(sample: Sample, answer: str, mark: re.Pattern[str], numbers: Mapping[str, int]) -> Case:
    """The case of an answer whose images are what `mark` finds; `numbers`: its group `name` → k of `IMAGE_k`.

    Raises Unusable for an answer without text.
    """
    unknown = 0
    written: list[str] = []
    for line in markdown.lines(answer):
        parts = _parts(line, mark)
        known = [(part, name) for part, name in parts if not name or name in numbers]
        unknown += len(parts) - len(known)
        texts = (markdown.image_line(numbers[name]) if name else part for part, name in known)
        written.append("\n" * line.startswith("\n") + "\n\n".join(texts))
    lines = markdown.lines("\n".join(written))
    placed: dict[int, list[int]] = {}
    slot, begun = 0, False
    for line in lines:
        if match := markdown.REFERENCE.fullmatch(line.strip()):
            placed.setdefault(slot if begun else slot + 1, []).append(int(match["bare"]))
        else:
            begun = not markdown.is_header(line)
            slot += begun
    if not slot:
        raise Unusable("its answer has no paragraph")
    labels: dict[int, dict[str, int]] = {number: {} for number in range(1, slot + 1)}
    for number, ks in placed.items():
        labels[min(number, slot)] |= {image_id(sample.images[k - 1].uri): 3 for k in ks}
    return Case(sample, "\n".join(lines), labels, unknown)


def text_of(row: Mapping[str, Any], key: str) -> str:
    """A text of the row. Raises Unusable if it is missing or empty."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Unusable(f"{key} is not a text")
    return value


def list_of(row: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    """A list of the row whose elements are of `kind`. Raises Unusable for anything else."""
    value = row.get(key)
    if not isinstance(value, list) or not all(isinstance(element, kind) for element in value):
        raise Unusable(f"{key} is not a list of {kind.__name__}")
    return value


def id_of(row: Mapping[str, Any], key: str) -> str:
    """The row's id as text. Raises Unusable without one."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Unusable(f"{key} is {value!r}, not an id")
    return str(value)


def _parts(line: str, mark: re.Pattern[str]) -> list[tuple[str, str]]:
    """Texts, with "", and marks, with their names, of a line in order. Other images are dropped, and what is left of it
    without any letter or digit (a list's dash before an image)."""
    parts: list[tuple[str, str]] = []
    at = 0
    for match in mark.finditer(line):
        parts += [(markdown.strip_images(line[at : match.start()]), ""), (match[0], match["name"])]
        at = match.end()
    parts.append((markdown.strip_images(line[at:]), ""))
    return [(part, name) for part, name in parts if name or any(map(str.isalnum, part))]
