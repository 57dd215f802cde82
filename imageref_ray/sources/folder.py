"""A folder of HTML or Markdown pages with their pictures (a crawl) → samples, and a failure for every unusable page.

One page is one document; one sample is a page, or all pages of one sub-folder. Ids are made of names alone: the same
folder always gives the same samples, wherever it lies.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urljoin

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.records import Document, Failure, Image, Sample
from imageref_ray.sources import html_page
from imageref_ray.sources.entries import SCHEME, STAGE, Unusable, image_id

MARKDOWN = (".md", ".markdown")
FIRST = ("index", "readme")
"""Pages that stand for their folder, by name."""

LARGEST_PAGE = 20_000_000
"""Bytes; a larger page is no page."""


def pages(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The pages that are read, by name, without hidden ones. Raises ConfigError where there is none."""
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    shown = sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))
    if not shown:
        raise ConfigError(
            f"{', '.join(patterns)} in {root}: no such page; set source.root and source.pages to the pages"
        )
    return shown


def read(
    root: Path, paths: Sequence[Path], group: Literal["page", "folder"] = "page", limit: int | None = None
) -> Iterator[Sample | Failure]:
    """Samples in the order of `paths`, each after the failures of its pages and pictures; `limit` counts samples."""
    names = [path.relative_to(root) for path in paths]
    samples = [(name, [name]) for name in names]
    if group == "folder":
        names.sort(key=lambda name: name.parent.parts)
        samples = [(folder, list(those)) for folder, those in itertools.groupby(names, lambda name: name.parent)]
    for name, members in samples[:limit]:
        yield from _sample(root, name, members)


def identity(name: Path) -> str:
    """A page's or folder's id: its own name, for people, and a hash of its whole path, for uniqueness."""
    stem = re.sub(r"[^\w-]+", "-", name.stem or "root")[:48]
    return f"{stem}-{hashlib.sha256(os.fsencode(name.as_posix())).hexdigest()[:12]}"


def _sample(root: Path, name: Path, members: list[Path]) -> Iterator[Sample | Failure]:
    own = identity(name)
    documents: dict[Path, Document] = {}
    for member in members:
        document = identity(member)
        try:
            documents[member], failures = _document(root, member, own)
        except Unusable as problem:
            yield Failure(own, STAGE, problem.error, str(problem), item=document if name != member else "")
            continue
        yield from failures
    if documents and not any(document.images for document in documents.values()):
        yield Failure(own, STAGE, "NoImages", f"{root / name} has no picture")
    elif documents:
        yield Sample(own, _topic(name, documents), tuple(documents.values()))
    elif name not in members:
        yield Failure(own, STAGE, "NoDocuments", f"{root / name} has no usable page")


def _topic(name: Path, documents: dict[Path, Document]) -> str:
    """What a sample is about: its page's title; of a folder its first page's, else the folder's name."""
    if name in documents:
        return documents[name].title
    standing = (document.title for path, document in documents.items() if path.stem.lower() in FIRST)
    return (
        next(standing, "") or " ".join(re.split(r"[-_\s]+", name.name)).strip() or next(iter(documents.values())).title
    )


def _document(root: Path, name: Path, sample: str) -> tuple[Document, list[Failure]]:
    """One page with its pictures, and a failure for each that has no address. Raises Unusable."""
    path = root / name
    try:
        if path.stat().st_size > LARGEST_PAGE:
            raise Unusable("PageTooLarge", f"{path} has more than {LARGEST_PAGE} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise Unusable("BrokenDocument", f"{path} cannot be read: {error.strerror}") from None
    found = html_page.from_markdown(data) if path.suffix.lower() in MARKDOWN else html_page.from_html(data)
    if not found.text:
        raise Unusable("EmptyDocument", f"{path} has no text")
    own = identity(name)
    images: list[Image] = []
    failures: list[Failure] = []
    for k, addresses in enumerate(found.pictures):
        address = _located(addresses, root, path, found.base)
        if address is None:
            message = f"image {k} of {path} is inside the page (data:); save the page with its pictures as files"
            failures.append(Failure(sample, STAGE, "EmbeddedImage", message, item=f"{own}/{k}"))
        else:
            images.append(Image(image_id(own, k, address), address))
    return Document(own, found.title or name.stem, found.text, tuple(images), found.url), failures


def _located(addresses: Sequence[str], root: Path, path: Path, base: str) -> str | None:
    """The first address with a file in the crawl, else the first on the web, else the path where it is missing.

    None where the page holds the picture itself.
    """
    written = [f"https:{address}" if address.startswith("//") else address for address in addresses]
    relative = [address for address in written if not SCHEME.match(address)]
    here = [file for address in relative for file in _files(address, root, path)]
    if file := next((file for file in here if os.path.isfile(file)), None):
        return file
    on_the_web = [urljoin(base, address) if base and address in relative else address for address in written]
    outside = (address for address in on_the_web if SCHEME.match(address) and not address.startswith("data:"))
    return next(outside, here[0] if here else None)


def _files(address: str, root: Path, path: Path) -> list[str]:
    """Where a relative address may lie: its name decoded and without its query, or as the crawler wrote it."""
    folder = root if address.startswith("/") else path.parent
    names = dict.fromkeys([unquote(re.split(r"[?#]", address, maxsplit=1)[0]), address, unquote(address)])
    return [os.path.normpath(folder / name.lstrip("/")) for name in names if name.strip("/") and "\0" not in name]
