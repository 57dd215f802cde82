"""The addresses of a page's picture → the file that it is, or the web address to fetch it from.

A path is tried as it is written, without percent signs or query, with backslashes as slashes, in the other Unicode
form (macOS writes decomposed names), from the page's folder or, beginning with `/`, from those that sites serve.
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urljoin

from imageref_ray.sources.entries import SCHEME, is_data
from imageref_ray.sources.pages.page import Picture

SERVED = ("static", "public", "docs", "source", "assets", "content")
"""Folders whose files a site serves from `/`, in the root or in a folder above the page."""


def choose(picture: Picture, root: Path, page: Path, base: str, names: Mapping[str, Path]) -> str | None:
    """The first address with a file, else the first on the web, else the path of the missing file.

    `names` are the folder's picture files by their name in lower case. None if the picture is inside the page (data:).
    """
    written = [f"https:{address}" if address.startswith("//") else address for address in picture.addresses]
    relative = [address for address in written if not SCHEME.match(address) or re.match(r"[A-Za-z]:[\\/]", address)]
    local = (path for address in relative for path in _paths(address, root, page))  # mostly the first is the file
    likeliest = next(local, None)
    if found := next((path for path in itertools.chain([likeliest], local) if path and os.path.isfile(path)), None):
        return found
    if picture.anywhere:
        inside = (path for path in _paths(f"/{written[0]}", root, page) if os.path.isfile(path))
        known = names.get(name_of(unquote(Path(written[0]).name)))
        if found := next(inside, str(known) if known else None):
            return found
    on_the_web = [urljoin(base, address) if base and address in relative else address for address in written]
    outside = (address for address in on_the_web if SCHEME.match(address) and not is_data(address))
    return next(outside, likeliest)


def name_of(name: str) -> str:
    """A file's name as names are compared: composed, in lower case."""
    return unicodedata.normalize("NFC", name).casefold()


def _paths(address: str, root: Path, page: Path) -> Iterator[str]:
    """The possible paths of a relative address, the likeliest first."""
    plain = re.split(r"[?#]", address, maxsplit=1)[0]
    names = dict.fromkeys((unquote(plain), address, unquote(address), plain))
    names |= dict.fromkeys(name.replace("\\", "/") for name in list(names))
    for name in list(names):
        names |= dict.fromkeys(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    names = {name: None for name in names if name.strip("/") and "\0" not in name}
    for name in names:
        if name[0] in "/@~":
            inner = name.removeprefix("@site").removeprefix("~@").removeprefix("@").lstrip("/")
            yield from (os.path.normpath(folder / inner) for folder in _served(root, page))
        else:
            yield os.path.normpath(page.parent / name)
    as_folder = page.with_suffix("")  # a site may serve page.html as page/index.html
    yield from (os.path.normpath(as_folder / name) for name in names if name[0] not in "/@~")


def _served(root: Path, page: Path) -> list[Path]:
    """The folders that a site may serve as `/`: the root, the folders from there to the page, and some in each."""
    above = [root, *(folder for folder in reversed(page.parents) if folder != root and folder.is_relative_to(root))]
    return [*above, *(folder / name for folder in above for name in SERVED)]
