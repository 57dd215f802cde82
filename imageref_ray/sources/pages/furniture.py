"""The pictures of a folder that belong to its pages' frame, not to their content: navigation, logos, badges, icons.

Known are those that stand on a large part of the pages (by their content: a copy in every folder is the same picture),
that are no larger than an icon, that come from a service for badges, and those that the reader of a page found outside
its content. Every one is left out of its documents, and told once: file, number of pages, reason.
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
from imageref_ray.sources.entries import STAGE

FEWEST = 5
"""Pages that a picture must stand on to be furniture for their number, however few there are."""

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
        """`frequent`: file → how many of the `pages` it stands on, for those that stand on too many."""
        self._root, self._limits, self._frequent, self._pages = root, limits, frequent, pages
        self._reasons: dict[str, str] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def reason(self, address: str) -> str:
        """Why the picture at an address (a path or on the web) is furniture; empty if it is none."""
        if address not in self._reasons:
            self._reasons[address] = self._find_reason(address)
        return self._reasons[address]

    def leave_out(self, pictures: Iterable[tuple[str, str]]) -> None:
        """Count pictures (address, reason) that one page has and its document has not."""
        self._left_out.update(set(pictures))

    def rows(self) -> Iterator[Failure]:
        """A failure for every picture that was left out: its file, how many pages have it, and why."""
        for (address, reason), pages in sorted(self._left_out.items()):
            name = os.path.relpath(address, self._root) if os.path.isabs(address) else address
            where = f"{pages} pages" if pages > 1 else "1 page"
            message = well_formed(f"{name} is left out of {where}: {reason}")
            yield Failure(well_formed(self._root.name), STAGE, "Furniture", message, item=well_formed(name))

    def _find_reason(self, address: str) -> str:
        if BADGES.match(address):
            return "a badge"
        if address in self._frequent:
            share = f"{self._frequent[address]} of {self._pages} pages"
            return f"it stands on {share}, more than source.furniture.share"
        width, height = _size(address) if self._limits.icon_side else (0, 0)
        if 0 < max(width, height) <= self._limits.icon_side:
            return f"an icon of {width} x {height} px; source.furniture.icon_side is {self._limits.icon_side}"
        return ""


def find_furniture(root: Path, limits: FurnitureConfig, pictures: Iterable[Iterable[str]]) -> Furniture:
    """The furniture of a folder; `pictures` are for each page the addresses of all its pictures."""
    if limits.share >= 1:
        return Furniture(root, limits, {}, 0)  # without a look at the pages: no picture is furniture for its number
    pages: defaultdict[str, set[int]] = defaultdict(set)
    count = 0
    for count, addresses in enumerate(pictures, 1):
        for address in addresses:
            pages[address].add(count)
    most = max(limits.share * count, FEWEST - 1)
    copies: defaultdict[object, set[str]] = defaultdict(set)
    for address, same_size in _by_size(pages).items():
        together = set().union(*(pages[other] for other in same_size))
        copies[_content(address) if len(same_size) > 1 and len(together) > most else address].add(address)
    frequent: dict[str, int] = {}
    for same in copies.values():
        number = len(set().union(*(pages[address] for address in same)))
        if number > most:
            frequent |= dict.fromkeys(same, number)
    if len(frequent) == len(pages):  # a frame has a picture in it: the only ones of a folder are its content
        frequent = {}
    return Furniture(root, limits, frequent, count)


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
