"""A `srcset` attribute → its candidates, by the algorithm of the HTML Standard ("parse a srcset attribute")."""

from __future__ import annotations

import re
from typing import NamedTuple

SPACE = " \t\n\f\r"
NUMBER = re.compile(r"-?(\d+(\.\d+)?|\.\d+)([eE][-+]?\d+)?")
"""A valid floating-point number of HTML."""


class Candidate(NamedTuple):
    """An address with its width (pixels) or density; neither is density 1."""

    address: str
    width: int | None = None
    density: float | None = None

    @property
    def size(self) -> float:
        return float(self.width if self.width is not None else 1 if self.density is None else self.density)


def parse(text: str) -> list[Candidate]:
    """The valid candidates, in order; one with a wrong descriptor is left out, as browsers do."""
    candidates: list[Candidate] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE + ",":
            at += 1
        if at == len(text):
            return candidates
        start = at
        while at < len(text) and text[at] not in SPACE:
            at += 1
        address = text[start:at]
        descriptors: list[str] = []
        if address.endswith(","):
            address = address.rstrip(",")
        else:
            at, descriptors = _descriptors(text, at)
        if address and (candidate := _candidate(address, descriptors)):
            candidates.append(candidate)


def _descriptors(text: str, at: int) -> tuple[int, list[str]]:
    """Where the candidate's descriptors end, and what they are; commas in parentheses belong to them."""
    found: list[str] = []
    current, depth = "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if depth == 0 and character in SPACE + ",":
            if current:
                found.append(current)
            current = ""
            if character == ",":
                return at, found
            continue
        depth = max(0, depth + (character == "(") - (character == ")"))
        current += character
    return at, [*found, current] if current else found


def _candidate(address: str, descriptors: list[str]) -> Candidate | None:
    """None if a descriptor is unknown, wrong or there twice."""
    width: int | None = None
    density: float | None = None
    height = False
    for descriptor in descriptors:
        value, unit = descriptor[:-1], descriptor[-1]
        if unit == "w" and re.fullmatch(r"[0-9]{1,9}", value) and int(value) and width is None and density is None:
            width = int(value)
        elif unit == "x" and NUMBER.fullmatch(value) and (width, density, height) == (None, None, False):
            density = float(value)
            if not 0 <= density < float("inf"):
                return None
        elif unit == "h" and re.fullmatch(r"[0-9]{1,9}", value) and int(value) and not height and density is None:
            height = True
        else:
            return None
    return None if height and width is None else Candidate(address, width, density)
