"""The words of the project as frozen values: what a sample is before, during and after a build.

Rows go in and out through `to_row` / `from_row`: nested values become plain dicts and lists that
Parquet and JSON keep as they are. Pixels are never part of a record, only paths and hashes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MARKER = re.compile(r"\[Image (\d+)\]")
"""Where an image stood in a document's text; the number is the image's index (file stem), from 0."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a document. `id` is `"<doc_id>/<index>.<ext>"`; sizes are pixels (upright), 0 until verified.

    `uri` is where it is read; `origin` is the address it was fetched from, empty for a file used where it lies.
    """

    id: str
    uri: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    origin: str = ""

    @property
    def index(self) -> int:
        """The marker number this image answers to in its document's text (the file's stem)."""
        stem = self.id.rsplit("/", 1)[-1].split(".", 1)[0]
        return int(stem) if stem.isdigit() else -1


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A picture that shows what image `of` (an id of the same sample) shows; only that one is used."""

    image: Image
    of: str


@dataclass(frozen=True, slots=True)
class Document:
    """One retrieved text with its images; `text` holds `[Image k]` where image k stood.

    `duplicates` stand in the text too but are no images of the document: they get no number and no caption.
    """

    id: str
    title: str
    text: str
    images: tuple[Image, ...] = ()
    url: str = ""
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One user request: its instruction and its documents in order."""

    id: str
    instruction: str
    documents: tuple[Document, ...] = ()
    category: str = ""

    @property
    def images(self) -> tuple[Image, ...]:
        """All images in document order, then image order: `images[k - 1]` is `IMAGE_k`."""
        return tuple(image for document in self.documents for image in document.images)


@dataclass(frozen=True, slots=True)
class Caption:
    """Two texts for one image: what is seen, and what it is, knowing the document."""

    image_id: str
    description: str
    caption: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The choice at one slot (`<Position slot>`, from 1): an image id or nothing."""

    slot: int
    image_id: str | None = None
    analysis: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What requests cost. `prompt_tokens` includes `image_tokens` and `cached_tokens`."""

    requests: int = 0
    prompt_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(operator.add, _counts(self), _counts(other)))


_counts = operator.attrgetter(*(f.name for f in dataclasses.fields(Usage)))


@dataclass(frozen=True, slots=True)
class Record:
    """A sample on its way through a build: every stage returns a richer copy (`dataclasses.replace`).

    `response` is Markdown without images; `placements` use the before-content slots of `response`.
    """

    sample: Sample
    response: str = ""
    captions: tuple[Caption, ...] = ()
    placements: tuple[Placement, ...] = ()
    usage: Usage = field(default_factory=Usage)

    @property
    def id(self) -> str:
        return self.sample.id


@dataclass(frozen=True, slots=True)
class Answer:
    """One of several answers to a question; weights compare answers of one question and need not sum to anything."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class VisualQuestion:
    """An annotated question about an image: identical answers are one, with their summed weight.

    `task` is the annotation's kind (`prompts.TASKS`); `choices` are those of multiple choice, `correct` is the
    index of the right one (-1: none known).
    """

    id: str
    image: Image
    task: str
    question: str
    answers: tuple[Answer, ...]
    choices: tuple[str, ...] = ()
    correct: int = -1


@dataclass(frozen=True, slots=True)
class Unit:
    """One step of a correction: a sentence or section, and what became of it.

    `action` is `"kept"`, `"changed"` (`replacement` took its place) or `"dropped"`. Probabilities (0 to 1, that the
    image shows it) are of the unit and of the replacement that was tried; None where nothing was asked.
    """

    text: str
    action: str = "kept"
    replacement: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def said(self) -> str:
        """What stands in the corrected answer for it."""
        return {"kept": self.text, "changed": self.replacement, "dropped": ""}[self.action]


@dataclass(frozen=True, slots=True)
class Instruction:
    """A question about an image on its way: asked and drafted by one wording, answered anew, corrected in units.

    `draft` came with the question, `answer` is one pass given the question alone, `ended` says why correction did
    (`"end"`, `"steps"`, `"repeats"`, `"length"`). `candidates` are a knowledge question's answers.
    `problem` says why it is of no use (its reply was no question, or asked again what was asked before).
    """

    id: str
    image: Image
    task: str
    instruction: str = ""
    question: str = ""
    draft: str = ""
    answer: str = ""
    units: tuple[Unit, ...] = ()
    corrected: str = ""
    ended: str = ""
    candidates: tuple[Answer, ...] = ()
    problem: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Failure:
    """A quarantine row: what failed, where, why, and what was spent on it.

    `item` names the part (an image, a document) if not the whole.
    """

    record_id: str
    stage: str
    error: str
    message: str
    item: str = ""
    attempt: int = 1
    usage: Usage = field(default_factory=Usage)


def well_formed(text: str) -> str:
    """The text as UTF-8 can hold it: halves of surrogate pairs that belong together are joined, others become U+FFFD.

    Halves come from JSON escapes (a reply that was cut inside one) and from file names that are no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def json_text(value: Any) -> str:
    """Plain values as JSON that Arrow and files take, whatever was read."""
    return well_formed(json.dumps(value, ensure_ascii=False))


def to_row(value: Any) -> dict[str, Any]:
    """A dataclass value as plain dicts and lists (tuples become lists)."""
    return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}


def from_row(kind: type[T], row: dict[str, Any]) -> T:
    """The inverse of `to_row`: `from_row(Record, to_row(record)) == record`. Unknown keys are ignored."""
    hints = _hints(kind)  # type: ignore[arg-type]
    names = [f.name for f in dataclasses.fields(kind) if f.name in row]  # type: ignore[arg-type]
    return kind(**{name: _typed(hints[name], row[name]) for name in names})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The annotated types of a class: to read them takes longer than to make a value."""
    return typing.get_type_hints(kind)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_row(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next((one for one in typing.get_args(hint) if _is_nested(one)), None)
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        return tuple(_typed(typing.get_args(hint)[0], item) for item in value)
    nested = isinstance(hint, type) and dataclasses.is_dataclass(hint)
    return from_row(hint, value) if nested and isinstance(value, dict) else value


def _is_nested(hint: Any) -> bool:
    """Whether a value of this type is a table or list in a row."""
    return dataclasses.is_dataclass(hint) or typing.get_origin(hint) is tuple
