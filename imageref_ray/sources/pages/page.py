"""What every reader of pages gives: title, text with `[Image k]` in place of picture k, and the pictures, in order."""

from __future__ import annotations

from dataclasses import dataclass

from imageref_ray.core.images import Problem
from imageref_ray.core.records import MARKER


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as its page writes it: addresses, best first, and the page's own words, in one line each.

    `caption` is a figure's, `mention` the sentences that refer to it (figures.py). `anywhere`: the address is the name
    of a file that may be anywhere in the folder (Obsidian).
    """

    addresses: tuple[str, ...]
    alt: str = ""
    title: str = ""
    caption: str = ""
    mention: str = ""
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """`base` is the web address that pictures' addresses are relative to, `url` the page's own (empty if unknown).

    `problems` are what of the page could not be used, `left_out` the pictures outside its content, with the reason.
    """

    title: str
    text: str
    images: tuple[Picture, ...] = ()
    url: str = ""
    base: str = ""
    problems: tuple[Problem, ...] = ()
    left_out: tuple[tuple[Picture, str], ...] = ()


def one_line(text: str) -> str:
    """The text in one line, without anything that looks like a marker of a picture."""
    return " ".join(MARKER.sub(r"(Image \1)", text).split())


def untitled(text: str, title: str) -> str:
    """The text without a first line that only repeats the title (documents are rendered with their title)."""
    first, _, rest = text.partition("\n")
    return rest if first.startswith("#") and one_line(first.lstrip("#")) == one_line(title) else text
