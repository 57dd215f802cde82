"""A folder of HTML or Markdown pages with their images (a crawl) → samples, and a failure for every unusable page.

One page is one document; one sample is a page, or all pages of one sub-folder. Ids depend only on paths relative to
the root: the same folder always gives the same samples, wherever it is.
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
INDEX_PAGES = ("index", "readme")
"""Names of the pages whose title is their folder's."""

LARGEST_PAGE = 20_000_000
"""Bytes; larger pages are refused."""


def pages(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The pages to read, sorted by path, without hidden ones. Raises ConfigError if there is none."""
    matches = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    paths = sorted(path for path in matches if not any(part.startswith(".") for part in path.relative_to(root).parts))
    if not paths:
        raise ConfigError(
            f"no page in {root} matches {', '.join(patterns)}; set source.root and source.pages to the pages"
        )
    return paths


def read(
    root: Path, paths: Sequence[Path], group: Literal["page", "folder"] = "page", limit: int | None = None
) -> Iterator[Sample | Failure]:
    """Samples in the order of `paths`, each after the failures of its pages and images; `limit` counts samples."""
    names = [path.relative_to(root) for path in paths]
    samples = [(name, [name]) for name in names]
    if group == "folder":
        names.sort(key=lambda name: name.parent.parts)
        samples = [(folder, list(group)) for folder, group in itertools.groupby(names, lambda name: name.parent)]
    for name, members in samples[:limit]:
        yield from _sample(root, name, members)


def make_id(name: Path) -> str:
    """The id of a page or folder: its name, for readability, and a hash of its relative path, for uniqueness."""
    stem = re.sub(r"[^\w-]+", "-", name.stem or "root")[:48]
    return f"{stem}-{hashlib.sha256(os.fsencode(name.as_posix())).hexdigest()[:12]}"


def _sample(root: Path, name: Path, members: list[Path]) -> Iterator[Sample | Failure]:
    sample_id = make_id(name)
    documents: dict[Path, Document] = {}
    for member in members:
        document = make_id(member)
        try:
            documents[member], failures = _document(root, member, sample_id)
        except Unusable as problem:
            yield Failure(sample_id, STAGE, problem.error, str(problem), item=document if name != member else "")
            continue
        yield from failures
    if documents and not any(document.images for document in documents.values()):
        yield Failure(sample_id, STAGE, "NoImages", f"{root / name} has no image")
    elif documents:
        yield Sample(sample_id, _topic(name, documents), tuple(documents.values()))
    elif name not in members:
        yield Failure(sample_id, STAGE, "NoDocuments", f"{root / name} has no usable page")


def _topic(name: Path, documents: dict[Path, Document]) -> str:
    """A sample's instruction: its page's title; for a folder its index page's title, else the folder's name."""
    if name in documents:
        return documents[name].title
    index_titles = (document.title for path, document in documents.items() if path.stem.lower() in INDEX_PAGES)
    return (
        next(index_titles, "")
        or " ".join(re.split(r"[-_\s]+", name.name)).strip()
        or next(iter(documents.values())).title
    )


def _document(root: Path, name: Path, sample: str) -> tuple[Document, list[Failure]]:
    """One page with its images, and a failure for each that has no address. Raises Unusable."""
    path = root / name
    try:
        if path.stat().st_size > LARGEST_PAGE:
            raise Unusable("PageTooLarge", f"{path} has more than {LARGEST_PAGE} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise Unusable("BrokenDocument", f"{path} cannot be read: {error.strerror}") from None
    page = html_page.parse_markdown(data) if path.suffix.lower() in MARKDOWN else html_page.parse_html(data)
    if not page.text:
        raise Unusable("EmptyDocument", f"{path} has no text")
    page_id = make_id(name)
    images: list[Image] = []
    failures: list[Failure] = []
    for k, addresses in enumerate(page.images):
        address = _choose_address(addresses, root, path, page.base)
        if address is None:
            message = f"image {k} of {path} is embedded in the page (data:); save the page's images as files"
            failures.append(Failure(sample, STAGE, "EmbeddedImage", message, item=f"{page_id}/{k}"))
        else:
            images.append(Image(image_id(page_id, k, address), address))
    return Document(page_id, page.title or name.stem, page.text, tuple(images), page.url), failures


def _choose_address(addresses: Sequence[str], root: Path, path: Path, base: str) -> str | None:
    """The first address with a file in the crawl, else the first on the web, else the path of the missing file.

    None if the image is embedded in the page.
    """
    written = [f"https:{address}" if address.startswith("//") else address for address in addresses]
    relative = [address for address in written if not SCHEME.match(address)]
    local = [file for address in relative for file in _files(address, root, path)]
    if file := next((file for file in local if os.path.isfile(file)), None):
        return file
    on_the_web = [urljoin(base, address) if base and address in relative else address for address in written]
    outside = (address for address in on_the_web if SCHEME.match(address) and not address.startswith("data:"))
    return next(outside, local[0] if local else None)


def _files(address: str, root: Path, path: Path) -> list[str]:
    """Possible files of a relative address: percent-decoded without its query, or as a crawler may have saved it."""
    folder = root if address.startswith("/") else path.parent
    names = dict.fromkeys([unquote(re.split(r"[?#]", address, maxsplit=1)[0]), address, unquote(address)])
    return [os.path.normpath(folder / name.lstrip("/")) for name in names if name.strip("/") and "\0" not in name]
