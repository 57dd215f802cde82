"""A folder of pages with their images (a crawl, a manual) → samples, and a failure for every unusable page.

    page_files.py ─▶ page ─page_formats.py─▶ title, text, images ─figures.py─▶ captions, mentions
                                             ─furniture.py─▶ without logos and icons
                                             ─sections.py─▶ one document a section ─▶ samples

One page is one document, a long one a document a section; one sample is a document, or all pages of one sub-folder.
Ids depend only on paths relative to the root: the same folder always gives the same samples, wherever it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from imageref_ray.core.config.source import SectionsConfig, SourceConfig
from imageref_ray.core.records import MARKER, Document, Failure, Image, Sample
from imageref_ray.core.text import well_formed
from imageref_ray.sources.entries import STAGE, Unusable, image_id
from imageref_ray.sources.pages import figures, page_files, page_formats, picture_files, sections
from imageref_ray.sources.pages.furniture import Furniture, find_furniture, told, without
from imageref_ray.sources.pages.html_page import pictures_of
from imageref_ray.sources.pages.page import Page, Picture

HTML = (".html", ".htm", ".xhtml")
INDEX_PAGES = ("index", "readme")
"""Names of the pages whose title is their folder's."""


class _Read(NamedTuple):
    """A page, or why it cannot be used; its id, and how messages name it."""

    page: Page | Unusable
    id: str
    where: str


class _Parts(NamedTuple):
    """What of a page can be used: its documents (one, or one a section), and a failure for every other section."""

    documents: list[Document]
    failures: list[Failure]


def read(folder: page_files.Folder, config: SourceConfig) -> Iterator[Sample | Failure]:
    """Samples in the order of the pages, each after the failures of its pages and images; `limit` counts samples."""
    for kind, count in sorted(folder.ignored.items()):
        message = f"{count} {kind} files in {folder.root} match no pattern of source.pages and are not read"
        yield Failure(
            well_formed(folder.root.name) or ".",
            STAGE,
            "IgnoredFiles",
            well_formed(message),
            item=f"*{well_formed(kind)}",
        )
    names = [path.relative_to(folder.root) for path in folder.pages]
    furniture = find_furniture(folder.root, config.furniture, (_addresses(folder, path) for path in folder.pages))
    found: Iterator[Sample | Failure]
    if config.group == "page":
        found = itertools.chain.from_iterable(_page_samples(folder, name, config.sections, furniture) for name in names)
    else:
        names.sort(key=lambda name: name.parent.parts)
        groups = itertools.groupby(names, lambda name: name.parent)
        found = itertools.chain.from_iterable(
            _folder_sample(folder, name, list(group), furniture) for name, group in groups
        )
    count = 0
    for item in found:
        yield item
        count += isinstance(item, Sample)
        if count == config.limit:
            break
    yield from furniture.rows()


def make_id(name: Path, key: str = "") -> str:
    """The id of a page or folder: its name, for readability, and a hash of its relative path, for uniqueness.

    `key` is the page's name in a file of several.
    """
    stem = re.sub(r"[^\w-]+", "-", key.rpartition("/")[2] or name.stem or "root")[:48]
    path = f"{name.as_posix()}#{key}" if key else name.as_posix()
    return f"{stem}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"


def _page_samples(
    folder: page_files.Folder, name: Path, limits: SectionsConfig, furniture: Furniture
) -> Iterator[Sample | Failure]:
    for read in _pages(folder.root, name):
        if isinstance(read.page, Unusable):
            yield Failure(read.id, STAGE, read.page.error, str(read.page))
            continue
        document, failures = _document(folder, name, read, read.page, read.id, furniture)
        yield from failures
        parts = _sections(document, limits)
        yield from parts.failures
        for part in parts.documents:
            yield Sample(part.id, part.title, (part,))
        if not document.images:
            yield Failure(read.id, STAGE, "NoImages", f"{read.where} has no image")
        elif not parts.documents:
            yield Failure(read.id, STAGE, "NoSections", f"{read.where} has no section that can be used")


def _folder_sample(
    folder: page_files.Folder, name: Path, members: list[Path], furniture: Furniture
) -> Iterator[Sample | Failure]:
    """All pages of a sub-folder as one sample; they are never cut."""
    sample_id = make_id(name)
    documents: list[tuple[Path, Document]] = []
    for member, read in ((name, read) for name in members for read in _pages(folder.root, name)):
        if isinstance(read.page, Unusable):
            yield Failure(sample_id, STAGE, read.page.error, str(read.page), item=read.id)
            continue
        document, failures = _document(folder, member, read, read.page, sample_id, furniture)
        documents.append((member, document))
        yield from failures
    if any(document.images for _, document in documents):
        yield Sample(sample_id, _topic(name, documents), tuple(document for _, document in documents))
    elif documents:
        yield Failure(sample_id, STAGE, "NoImages", f"{folder.root / name} has no image")
    else:
        yield Failure(sample_id, STAGE, "NoDocuments", f"{folder.root / name} has no usable page")


def _topic(name: Path, documents: list[tuple[Path, Document]]) -> str:
    """The instruction of a folder's sample: its index page's title, else the folder's name."""
    index_titles = (document.title for path, document in documents if path.stem.lower() in INDEX_PAGES)
    return (
        next(index_titles, "")
        or well_formed(" ".join(re.split(r"[-_\s]+", name.name)).strip())
        or documents[0][1].title
    )


def _pages(root: Path, name: Path) -> Iterator[_Read]:
    """The pages in a file, with their pictures' words."""
    path = root / name
    for key, page in page_formats.read_pages(path):
        where = f"{path}#{key}" if key else str(path)
        if not isinstance(page, Unusable):
            page = figures.with_words(page) if page.text else Unusable("EmptyDocument", f"{where} has no text")
        yield _Read(page, make_id(name, key), where)


def _document(
    folder: page_files.Folder, name: Path, read: _Read, page: Page, sample_id: str, furniture: Furniture
) -> tuple[Document, list[Failure]]:
    """A page as a document with its images, and a failure for each that has no address and for its own problems."""
    path, page_id = folder.root / name, read.id
    failures = [
        Failure(sample_id, STAGE, problem.error, well_formed(f"{read.where}: {problem.message}"), item=page_id)
        for problem in page.problems
    ]
    images: list[Image] = []
    left_out = [(_choose(picture, folder, path, page.base) or "", reason) for picture, reason in page.left_out]
    numbers, with_words = set(), told(page)
    for k, picture in enumerate(page.images):
        address = _choose(picture, folder, path, page.base)
        if address is None:
            message = f"image {k} of {read.where} is embedded in the page (data:); save the page's images as files"
            failures.append(Failure(sample_id, STAGE, "EmbeddedImage", message, item=f"{page_id}/{k}"))
        elif reason := furniture.reason(address, k in with_words):
            left_out.append((address, reason))
            numbers.add(k)
        else:
            words = {key: getattr(picture, key) for key in ("alt", "title", "caption", "mention")}
            images.append(Image(image_id(page_id, k, address), address, **words))
    furniture.leave_out((address, reason) for address, reason in left_out if address)
    title = page.title or well_formed(name.stem)
    return Document(page_id, title, without(page.text, numbers), tuple(images), page.url), failures


def _choose(picture: Picture, folder: page_files.Folder, path: Path, base: str) -> str | None:
    return picture_files.choose(picture, folder.root, path, base, folder.pictures)


def _addresses(folder: page_files.Folder, path: Path) -> set[str]:
    """The addresses of all pictures of an HTML page, navigation included; none of another page, which has no such
    frame."""
    try:
        if path.suffix.lower() not in HTML or path.stat().st_size > page_formats.LARGEST_PAGE:
            return set()
        pictures, base = pictures_of(path.read_bytes())
    except OSError:
        return set()
    return {address for picture in pictures if (address := _choose(picture, folder, path, base))}


def _sections(document: Document, limits: SectionsConfig) -> _Parts:
    """The sections of a long document that have pictures, numbered; the document itself if it is short enough."""
    if not document.images:
        return _Parts([], [])
    most = sections.Limits(limits.max_tokens, limits.max_images)
    found = sections.split(document.title, document.text, most)
    if len(found) == 1 and found[0].fits:
        return _Parts([document], [])
    parts = _Parts([], [])
    for number, section in enumerate(found, 1):
        section_id, title = f"{document.id}-{number}", sections.BETWEEN.join(section.path)
        marked = {int(k) for k in MARKER.findall(section.text)}
        images = tuple(image for image in document.images if image.index in marked)
        problem = ""
        if not section.fits:
            problem = "SectionTooLarge"
            message = "is one table, list or piece of code that is larger than source.sections allows"
        elif not images:
            problem, message = "NoImages", "has no image"
        if problem:
            parts.failures.append(Failure(document.id, STAGE, problem, f"section {title!r} {message}", item=section_id))
            continue
        own = tuple(dataclasses.replace(image, id=f"{section_id}/{image.id.rpartition('/')[2]}") for image in images)
        parts.documents.append(Document(section_id, title, section.text, own, document.url))
    return parts
