"""In-context examples as values, and which of them a request shows: the first ones, or those most like its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Image
from imageref_ray.stages.prompts import tfidf


@dataclass(frozen=True, slots=True)
class CaptionExample:
    """A worked caption: the image in its document, what is seen, what it is."""

    document: Document
    image: Image
    description: str
    caption: str


@dataclass(frozen=True, slots=True)
class PlaceExample:
    """A worked placement: captions in order, the response without images, the reply's JSON text."""

    captions: tuple[str, ...]
    response: str
    result: str


E = TypeVar("E", CaptionExample, PlaceExample)


@dataclass(frozen=True, slots=True)
class Examples(Generic[E]):
    """A pool of examples, `count` of which are shown: the first, or by `index` (of the pool's texts) the most alike.

    Shown examples are in the pool's order, so that requests with the same examples begin with the same tokens.
    """

    pool: tuple[E, ...] = ()
    count: int = 0
    index: tfidf.Index | None = None

    @property
    def first(self) -> tuple[E, ...]:
        """The examples for a request without any text to compare."""
        return self.pool[: self.count]

    def like(self, text: str) -> tuple[E, ...]:
        """The examples for a request about this text (see `text_of`)."""
        if self.index is None:
            return self.first
        return tuple(self.pool[number] for number in sorted(tfidf.nearest(self.index, text, self.count)))


NO_EXAMPLES: Examples[Any] = Examples()


def by_likeness(pool: Sequence[E], count: int) -> Examples[E]:
    """Examples of which the `count` most like a request's text are shown."""
    return Examples(tuple(pool), count, tfidf.index([text_of(example) for example in pool]))


def text_of(example: CaptionExample | PlaceExample) -> str:
    """The text by which an example is compared."""
    if isinstance(example, CaptionExample):
        return document_text(example.document)
    return place_text(example.response, example.captions)


def document_text(document: Document) -> str:
    """The text by which a caption's request is compared: the whole document, so that all its images get the same."""
    return markdown.render(document)


def place_text(response: str, captions: Sequence[str]) -> str:
    """The text by which a placement's request is compared: the response and the captions."""
    return "\n".join((response, *captions))
