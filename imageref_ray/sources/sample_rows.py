"""The rows of a `samples` file: what they hold, and how a record becomes one (samples.py reads them).

`write` and `samples.read` are each other's inverse: with the same root, a record that was written is read as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from imageref_ray.core.records import Document, Image, Record
from imageref_ray.sources.entries import SCHEME

WORDS = ("alt", "title", "caption", "mention")
"""The document's own words for an image (see `Image`)."""


class ImageRow(BaseModel):
    """An image of a document."""

    uri: str = Field(description="path, relative to source.root, or address (http(s):, s3:, gs:, file:)")
    index: int | None = Field(None, ge=0, description="k of its `[Image k]`; default: its place in the list, from 0")
    alt: str = Field("", description="the document's alternative text")
    title: str = Field("", description="the document's title for it")
    caption: str = Field("", description="the caption of its figure")
    mention: str = Field("", description="the sentences of the text that refer to it")
    ocr_text: str | None = Field(None, description="the text in it, for source.filters.max_ocr_chars")
    ocr_chars: float | None = Field(None, description="or how many characters that has")
    aesthetics: float | None = Field(None, description="its aesthetic score, for source.filters.min_aesthetics")


class DocumentRow(BaseModel):
    """A document of a sample."""

    id: str = Field(description="a name that can be a file's, unlike those of the sample's other documents")
    text: str = Field(description="the text, with `[Image k]` where image k stands")
    title: str = Field("", description="its title")
    url: str = Field("", description="its address on the web")
    images: list[str | ImageRow] = Field([], description="images, or only their paths or addresses")


class SampleRow(BaseModel):
    """A row of a `samples` file: one question with its documents."""

    id: str = Field(description="a name that can be a file's and that no other sample has")
    instruction: str = Field("", description="the question; default: the first document's title")
    category: str = Field("", description="the kind of question, kept in the records")
    response: str = Field("", description="the answer as Markdown with headers; where it is given, none is generated")
    documents: list[DocumentRow] = Field(min_length=1, description="the documents, at least one of them with an image")


def write(record: Record, root: Path) -> dict[str, Any]:
    """The row of a record of any source; paths under `root` become relative to it."""
    sample = record.sample
    row = SampleRow(
        id=sample.id,
        instruction=sample.instruction,
        category=sample.category,
        response=record.response,
        documents=[_document(document, root) for document in sample.documents],
    )
    return row.model_dump(exclude_defaults=True)


def _document(document: Document, root: Path) -> DocumentRow:
    images: list[str | ImageRow] = [_image(image, place, root) for place, image in enumerate(document.images)]
    return DocumentRow(id=document.id, text=document.text, title=document.title, url=document.url, images=images)


def _image(image: Image, place: int, root: Path) -> ImageRow:
    index = None if image.index == place else image.index
    words = {key: getattr(image, key) for key in WORDS}
    return ImageRow(uri=_relative(image.uri, root), index=index, **words)


def _relative(uri: str, root: Path) -> str:
    """A path below the root as it is written from there; any other address as it is."""
    if SCHEME.match(uri) or not Path(uri).is_relative_to(root):
        return uri
    return str(Path(uri).relative_to(root))
