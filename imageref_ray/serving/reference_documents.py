"""Documents of `POST /v1/reference` → a sample with verified images, and what of them was left out.

text            `[Image k]` ─────────────────────────▶ images[k]
markdown, html  page_reader.py ─▶ pictures ─by name──▶ images, or the page's own data URLs
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Document, Sample
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.page_reader import PageReader, UnreadablePage
from imageref_ray.serving.reference_body import ReferenceBody, SentDocument
from imageref_ray.serving.request_images import ImageError, public_uri, receive_image
from imageref_ray.sources.pages.html_page import join
from imageref_ray.sources.pages.page import Page, Picture

DATA = re.compile(
    r"data:image/[a-z0-9.+-]{1,40}(?:;[^;,\s\"'<>()]{1,200}){0,8};base64,[a-z0-9+/=%]*(?:\s*[\r\n]\s*[a-z0-9+/=%]+)*",
    re.ASCII | re.IGNORECASE,
)
"""A picture that stands in a page itself, its data maybe over several lines."""

IN_PAGE = "data:image/png;base64,{}"
"""What a page is read with in place of it: where its data are in the list of them."""

NOT_SENT = "was not sent; put it into `images`, and into `names` what the page calls it"
SHOWN = 200
"""Characters of an address that a row shows."""


@dataclass(slots=True)
class Received:
    """The sample of a request, image id → its address for the answer, and what could not be used."""

    sample: Sample
    urls: dict[str, str] = field(default_factory=dict)
    left_out: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A document before its images are looked at: number, address, and what rows about it call each of them."""

    document: Document
    images: tuple[tuple[int, str, int | str, Picture], ...]
    left_out: tuple[dict[str, Any], ...] = ()


async def receive_documents(body: ReferenceBody, settings: ServeConfig, reader: PageReader) -> Received:
    """The body as a sample; images that cannot be used are left out and told. Raises WireError."""
    found = [await _sent(i, document, reader) for i, document in enumerate(body.documents)]
    if sum(len(sent.images) for sent in found) > settings.max_images:
        raise WireError(f"more than {settings.max_images} images in one request", "documents")
    return await asyncio.to_thread(_received, body.question, found, settings)


def _received(question: str, found: Sequence[_Sent], settings: ServeConfig) -> Received:
    received = Received(Sample("request", question))
    documents = []
    for sent in found:
        name, images = sent.document.id, []
        for k, url, where, picture in sent.images:
            try:
                image = receive_image(url, f"{name}/{k}", settings)
            except ImageError as error:
                received.left_out.append({"document": name, "image": where, "reason": str(error)})
                continue
            words = {key: getattr(picture, key) for key in ("alt", "title", "caption", "mention")}
            images.append(replace(image, **words))
            received.urls[image.id] = public_uri(url, image)
        received.left_out += sent.left_out
        documents.append(replace(sent.document, images=tuple(images)))
    received.sample = replace(received.sample, documents=tuple(documents))
    return received


async def _sent(number: int, sent: SentDocument, reader: PageReader) -> _Sent:
    name = sent.id or str(number + 1)
    if sent.format == "text":
        images = tuple((k, url, k, Picture(())) for k, url in enumerate(sent.images))
        return _Sent(Document(name, sent.title, sent.text, (), sent.url), images)
    data: list[str] = []

    def lifted(found: re.Match[str]) -> str:
        data.append(found[0])
        return IN_PAGE.format(len(data) - 1)

    try:
        page = await reader.read(sent.format, DATA.sub(lifted, sent.text))
    except UnreadablePage as error:
        raise WireError(f"documents[{number}]: the page {error}", f"documents[{number}].text") from None
    known = {IN_PAGE.format(i): url for i, url in enumerate(data)}
    document = Document(name, sent.title or page.title, page.text, (), sent.url or page.url)
    return _of_page(document, page, sent, known)


def _of_page(document: Document, page: Page, sent: SentDocument, data: dict[str, str]) -> _Sent:
    """A page's pictures with the images that were sent for them, and a row for each that has none."""
    known = {_plain(url): url for url in sent.images}
    known |= {_plain(name): url for name, url in zip(sent.names or (), sent.images, strict=False)}
    images, used = [], set()
    rows: list[dict[str, Any]] = []

    def row(address: str, reason: str) -> None:
        shown = "a picture in the page" if address in data else address[:SHOWN]
        rows.append({"document": document.id, "image": shown, "reason": reason})

    for k, picture in enumerate(page.images):
        names = [name for address in picture.addresses for name in _names(address, document.url or page.base)]
        url = next((url for name in names if (url := data.get(name) or known.get(name))), None)
        if url is None:
            row(picture.addresses[0], NOT_SENT)
        else:
            images.append((k, url, next((i for i, one in enumerate(sent.images) if one == url), k), picture))
            used.add(url)
    for picture, reason in page.left_out:
        row(picture.addresses[0], reason)
    rows += [{"document": document.id, "image": None, "reason": problem.message} for problem in page.problems]
    unused = [i for i, url in enumerate(sent.images) if url not in used]
    rows += [{"document": document.id, "image": i, "reason": "is not in the page"} for i in unused]
    return _Sent(document, tuple(images), tuple(rows))


def _names(address: str, base: str) -> Iterator[str]:
    """What `names` or `images` may call the picture at an address, the surest first."""
    yield address
    if base:
        yield _plain(join(base, address))
    plain = _plain(address)
    yield plain
    yield plain.rsplit("/", 1)[-1]


def _plain(address: str) -> str:
    """An address without what makes no other picture of it: escapes, `./`, a query."""
    path = urllib.parse.unquote(address.strip()).removeprefix("./")
    return path if path.startswith("data:") else re.split(r"[?#]", path, maxsplit=1)[0]
