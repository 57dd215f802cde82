"""The pictures of a folder that belong to its pages' frame, not to their content: navigation, logos, badges, icons.

Known are those that stand on a large part of the pages (by their content: a copy in every folder is the same picture),
icons that no text is about, badges (by their service), and those that the reader of a page found outside its content.
Every one is left out of its documents, and told once: file, number of pages, reason.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import PIL.Image

from imageref_ray.core.config.source import FurnitureConfig
from imageref_ray.core.images import DECODE_ERRORS, FORMATS
from imageref_ray.core.records import MARKER, Failure
from imageref_ray.core.text import well_formed
from imageref_ray.sources.entries import SCHEME, STAGE
from imageref_ray.sources.pages.page import Page

FEWEST = 5
"""Pages that a picture must stand on to be furniture for their number, however few there are."""

ICON_SHARE = 0.05
"""An icon on more than this fraction of the pages is a sign of theirs, whatever stands beside it."""

SMALLEST = 9
"""Pixels; what is not even so long is a bullet or a spacer."""

BADGES = re.compile(
    r"https?://(img\.shields\.io|badgen\.net|badge\.fury\.io|badges\.\w+\.\w+|codecov\.io/.*\.svg|coveralls\.io/repos/.*|"
    r"(www\.)?travis-ci\.(org|com)/.*|circleci\.com/.*\.svg|readthedocs\.org/projects/[^/]+/badge|zenodo\.org/badge|"
    r"mybinder\.org/badge.*|github\.com/.*/badge\.svg|colab\.research\.google\.com/assets/.*badge\S*)([/?#].*)?$",
    re.IGNORECASE,
)
"""Services that draw badges."""


class Furniture:
    """Which pictures of a folder are furniture, and what has been left out of which pages."""

    def __init__(self, root: Path, limits: FurnitureConfig, frequent: Mapping[str, int], pages: int) -> None:
        """`frequent`: file → how many of the `pages` it stands on, for those that stand on too many for an icon."""
        self._root, self._limits, self._frequent, self._pages = root, limits, frequent, pages
        self._sizes: dict[str, tuple[int, int]] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def reason(self, address: str, told: bool) -> str:
        """Why the picture at an address (a path or on the web) is furniture; empty if it is none.

        `told`: words stand in its line, or it has a caption; an icon is content only then.
        """
        if BADGES.match(address):
            return "a badge"
        number = self._frequent.get(address, 0)
        share = f"stands on {number} of {self._pages} pages"
        if number > _most(self._limits.share, self._pages):
            return f"it {share}, more than source.furniture.share"
        width, height = self._size(address) if self._limits.icon_side else (0, 0)
        if not 0 < max(width, height) <= self._limits.icon_side:
            return ""
        icon = f"an icon of {width} x {height} px (source.furniture.icon_side is {self._limits.icon_side})"
        if max(width, height) < SMALLEST:
            return f"{icon}, too small to show anything"
        if number:
            return f"{icon} that {share}"
        return "" if told else f"{icon} without words in its line"

    def leave_out(self, pictures: Iterable[tuple[str, str]]) -> None:
        """Count pictures (address, reason) that one page has and its document has not."""
        self._left_out.update(set(pictures))

    def rows(self) -> Iterator[Failure]:
        """A failure for every picture that was left out, those of most pages first: its file, how many, and why."""
        for (address, reason), pages in sorted(self._left_out.items(), key=lambda item: (-item[1], item[0])):
            name = address if SCHEME.match(address) else os.path.relpath(address, self._root)
            where = f"{pages} pages" if pages > 1 else "1 page"
            message = well_formed(f"{name} is left out of {where}: {reason}")
            yield Failure(well_formed(self._root.name), STAGE, "Furniture", message, item=well_formed(name))

    def _size(self, address: str) -> tuple[int, int]:
        if address not in self._sizes:
            self._sizes[address] = _size(address)
        return self._sizes[address]


def find_furniture(root: Path, limits: FurnitureConfig, pictures: Iterable[Iterable[str]]) -> Furniture:
    """The furniture of a folder; `pictures` are for each page the addresses of all its pictures."""
    if limits.share >= 1:
        return Furniture(root, limits, {}, 0)  # without a look at the pages: no picture is furniture for its number
    pages: defaultdict[str, set[int]] = defaultdict(set)
    count = 0
    for count, addresses in enumerate(pictures, 1):
        for address in addresses:
            pages[address].add(count)
    most = _most(min(limits.share, ICON_SHARE), count)
    copies: defaultdict[object, set[str]] = defaultdict(set)
    for address, same_size in _by_size(pages).items():
        together = set().union(*(pages[other] for other in same_size))
        copies[_content(address) if len(same_size) > 1 and len(together) > most else address].add(address)
    frequent: dict[str, int] = {}
    for same in copies.values():
        number = len(set().union(*(pages[address] for address in same)))
        if number > most:
            frequent |= dict.fromkeys(same, number)
    if all(frequent.get(address, 0) > _most(limits.share, count) for address in pages):
        frequent = {}  # a frame has a picture in it: the only ones of a folder are its content
    return Furniture(root, limits, frequent, count)


def told(page: Page) -> set[int]:
    """The numbers of a page's pictures with words in their line, or with a caption of their own."""
    numbers = {k for k, picture in enumerate(page.images) if picture.caption}
    for line in page.text.split("\n"):
        marked = MARKER.findall(line)
        if marked and re.search(r"[^\W\d_]{2}|[\u2e80-\ud7ff\uf900-\uffef]", MARKER.sub("", line)):
            numbers.update(map(int, marked))
    return numbers


def without(text: str, pictures: Iterable[int]) -> str:
    """The text of a page without the markers of some of its pictures; the others keep their numbers."""
    gone = {str(k) for k in pictures}
    if not gone:
        return text
    lines = []
    for line in text.split("\n"):
        left = MARKER.sub(lambda marker: "\0" if marker[1] in gone else marker[0], line)
        if left == line:
            lines.append(line)
        elif left := re.sub(r" *\0 *", " ", left).strip():
            lines.append(left)
    return "\n".join(lines)


def _most(share: float, pages: int) -> float:
    """The number of pages that a picture may stand on."""
    return max(share * pages, FEWEST - 1)


def _by_size(addresses: Iterable[str]) -> dict[str, set[str]]:
    """Address → the addresses of files as large as its own; only itself for an address on the web."""
    sizes: defaultdict[object, set[str]] = defaultdict(set)
    own: dict[str, object] = {}
    for address in addresses:
        try:
            own[address] = os.path.getsize(address)
        except (OSError, ValueError):
            own[address] = address
        sizes[own[address]].add(address)
    return {address: sizes[size] for address, size in own.items()}


def _content(address: str) -> str:
    try:
        return hashlib.sha256(Path(address).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return address


def _size(address: str) -> tuple[int, int]:
    """(width, height) of a picture on this machine in pixels, from its header; (0, 0) if it cannot be told."""
    try:
        with PIL.Image.open(address, formats=FORMATS) as picture:
            return picture.size
    except (PIL.Image.DecompressionBombError, *DECODE_ERRORS):
        return 0, 0
