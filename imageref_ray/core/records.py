"""The records of the project as frozen dataclasses: a sample before, during and after a build.

`to_row` / `from_row` convert records to and from rows: nested values become plain dicts and lists that
Parquet and JSON can store. Pixels are never part of a record, only paths and hashes.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

DIGITS = 4000
"""Of a number in a text; Python reads no number of more than 4,300."""

MARKER = re.compile(rf"\[Image (\d{{1,{DIGITS}}})\]")
"""The place of an image in a document's text; the number is the image's index (file stem), from 0."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a document. `id` is `"<doc_id>/<index>.<ext>"`; sizes are in pixels (upright), 0 until verified.

    `uri` is the path or address to read; `origin` is the address it was fetched from, empty for a local file. The
    last four are the document's own words for it: alternative text, title, caption (of a figure), and the sentences
    that refer to it ("see Figure 3").
    """

    id: str
    uri: str
    sha256: str = ""
    width: int = 0
    height: int = 0
    origin: str = ""
    alt: str = ""
    title: str = ""
    caption: str = ""
    mention: str = ""

    @property
    def index(self) -> int:
        """The number of this image's marker in its document's text (the file's stem), -1 if it has none."""
        stem = self.id.rsplit("/", 1)[-1].split(".", 1)[0]
        return int(stem) if stem.isdecimal() and len(stem) <= DIGITS else -1

    @property
    def words(self) -> tuple[str, ...]:
        """The document's own words for it, the most telling first, none that another contains."""
        texts = [text for text in (self.caption, self.alt, self.title, self.mention) if text]
        known = [text.casefold() for text in texts]
        contained = {i for i, a in enumerate(known) for j, b in enumerate(known) if a in b and (a != b or j < i)}
        return tuple(text for i, text in enumerate(texts) if i not in contained)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A near copy of image `of` (an image id of the same sample); only that one is used."""

    image: Image
    of: str


@dataclass(frozen=True, slots=True)
class Document:
    """One retrieved text with its images; `text` has the marker `[Image k]` at the place of image k.

    `duplicates` have markers too but are not images of the document: they get no number and no caption.
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
    """Two texts about one image: what it shows (description), and what it is in its document (caption)."""

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
    """Numbers of requests and tokens. `prompt_tokens` includes `image_tokens` and `cached_tokens`."""

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
    """A sample in a build: every stage returns a copy with more fields filled in (`dataclasses.replace`).

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
    """One of several answers to a question; weights compare the answers of one question and need not add up to 1."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class VisualQuestion:
    """An annotated question about an image: identical answers are merged, with the sum of their weights.

    `task` is the kind of annotation (`prompts.TASKS`); `choices` are those of a multiple-choice question, `correct`
    is the index of the right one (-1: unknown). `question_type` and `answer_type` are the data set's own, empty for
    none.
    """

    id: str
    image: Image
    task: str
    question: str
    answers: tuple[Answer, ...]
    choices: tuple[str, ...] = ()
    correct: int = -1
    question_type: str = ""
    answer_type: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """One step of a correction: a sentence or section, and what was done with it.

    `action` is `"kept"`, `"changed"` (to `replacement`) or `"dropped"`. `before` and `after` are the probabilities
    (0 to 1) that the image shows the unit and the replacement that was tried; None if the model was not asked, or the
    engine returns no log-probabilities.
    """

    text: str
    action: str = "kept"
    replacement: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def corrected(self) -> str:
        """The unit's text in the corrected answer."""
        return {"kept": self.text, "changed": self.replacement, "dropped": ""}[self.action]


@dataclass(frozen=True, slots=True)
class Instruction:
    """A generated question about an image: question and draft from one request, answered again, corrected in units.

    `draft` came with the question, `answer` is the reply to the question alone, `ended` is why the correction ended
    (`"end"`, `"steps"`, `"repeats"`, `"length"`). `candidates` are the answers to a knowledge question.
    `problem` is why it cannot be used (the reply was not a question, or repeated an earlier one).
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
    """A quarantine row: what failed, at which stage, why, and the tokens spent on it.

    `item` is the id of the part that failed (an image, a document), empty if the whole record did.
    """

    record_id: str
    stage: str
    error: str
    message: str
    item: str = ""
    attempt: int = 1
    usage: Usage = field(default_factory=Usage)


def to_row(value: Any) -> dict[str, Any]:
    """A record as a row, `{field: value}`: nested records become dicts, tuples become lists.

    `Sample` → `{"id", "instruction", "documents": [{"id", …, "images": [{"id", "uri", …}]}], "category"}`.
    """
    return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}


def from_row(kind: type[T], row: dict[str, Any]) -> T:
    """A row `{field: value}` as a record of class `kind`: `from_row(Record, to_row(record)) == record`.

    Keys that are not fields are ignored, missing ones get their defaults. Raises TypeError if a field without
    default is missing.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    names = [f.name for f in dataclasses.fields(kind) if f.name in row]  # type: ignore[arg-type]
    return kind(**{name: _typed(hints[name], row[name]) for name in names})


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The annotated types of a class, cached: resolving them takes longer than creating a value."""
    return typing.get_type_hints(kind)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_row(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next((option for option in typing.get_args(hint) if _is_nested(option)), None)
    if isinstance(value, list) and typing.get_origin(hint) is tuple:
        return tuple(_typed(typing.get_args(hint)[0], item) for item in value)
    nested = isinstance(hint, type) and dataclasses.is_dataclass(hint)
    return from_row(hint, value) if nested and isinstance(value, dict) else value


def _is_nested(hint: Any) -> bool:
    """Whether a value of this type is a dict or list in a row."""
    return dataclasses.is_dataclass(hint) or typing.get_origin(hint) is tuple
