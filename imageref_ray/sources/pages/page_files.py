"""A folder → its pages, its pictures by name, and how many files of which type are not read. Links are followed."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imageref_ray.core.config.base import ConfigError
from imageref_ray.sources.pages.picture_files import name_of

PICTURES = frozenset((
    ".apng", ".avif", ".bmp", ".eps", ".gif", ".heic", ".ico", ".jfif", ".jpeg", ".jpg", ".jxl", ".png", ".svg",
    ".svgz", ".tif", ".tiff", ".webp",
))  # fmt: skip
SITE_FILES = frozenset((
    "", ".cfg", ".css", ".eot", ".ini", ".inv", ".js", ".lock", ".map", ".mjs", ".otf", ".sass", ".scss", ".toml",
    ".ttf", ".woff", ".woff2", ".yaml", ".yml",
))  # fmt: skip
"""Types of files that belong to pages and hold no text of their own."""


@dataclass(frozen=True, slots=True)
class Folder:
    """`pages` by path; `pictures` are files by `name_of`; `ignored` is type → number of files that match no pattern."""

    root: Path
    pages: tuple[Path, ...]
    pictures: dict[str, Path]
    ignored: Counter[str]


def find(root: Path, patterns: Sequence[str]) -> Folder:
    """The files of a folder, without hidden ones; letter case does not matter. Raises ConfigError without any page."""
    wanted = [pattern.casefold().split("/") for pattern in patterns]
    pages: list[Path] = []
    pictures: dict[str, Path] = {}
    ignored: Counter[str] = Counter()
    for path in _walk(root):
        suffix = Path(re.split("[?#]", path.name, maxsplit=1)[0]).suffix.lower()  # a crawler keeps queries in names
        parts = path.relative_to(root).as_posix().casefold().split("/")
        if any(_matches(parts, pattern) for pattern in wanted):
            pages.append(path)
        elif suffix in PICTURES:
            pictures.setdefault(name_of(path.name), path)
        elif suffix not in SITE_FILES:
            ignored[suffix] += 1
    if not pages:
        raise ConfigError(
            f"no page in {root} matches {', '.join(patterns)}; set source.root and source.pages to the pages"
        )
    return Folder(root, tuple(sorted(pages)), pictures, ignored)


def _walk(root: Path) -> Iterator[Path]:
    """Every file below a folder in a fixed order; a folder that is reached again, by a link, counts once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(files) if name[0] != ".")
        yield from (path for path in paths if path.is_file())


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path's parts fit a glob pattern's: `**` is any number of folders."""
    if not pattern or pattern[0] != "**":
        fits = bool(path and pattern) and fnmatch.fnmatchcase(path[0], pattern[0])
        return not (path or pattern) or (fits and _matches(path[1:], pattern[1:]))
    return any(_matches(path[at:], pattern[1:]) for at in range(len(path) + 1))
