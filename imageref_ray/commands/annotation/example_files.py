"""Example files → in-context examples, checked before anything is paid: an entry that cannot be shown is refused.

    captions    {"image_path": "<document>/<k>.<ext>", "description", "caption"}
             or {"document": {"id", "title"?, "text", "images"}, "image": k, "description", "caption"}
    placement   {"event_id", "caption_str": ["IMAGE_1: …", …], "result": {"predictions": […]}}
             or {"response": "# …", "caption_str", "result"}

The first form of each is the paper's: it refers to the source at hand (captions: of any kind; placement: to the event
file). The second brings its document or response along; its relative addresses start from the example file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, model_validator

from imageref_ray import sources
from imageref_ray.core import markdown
from imageref_ray.core.config import Config, ConfigError, ExamplesConfig, FilterConfig, SourceConfig, check
from imageref_ray.core.records import Document, Image, Record, Sample, to_row
from imageref_ray.sources import paper, samples
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.prepare_images import prepare_images
from imageref_ray.stages import parsing
from imageref_ray.stages.prompts import (
    NO_EXAMPLES,
    CaptionExample,
    Examples,
    Pack,
    PlaceExample,
    by_likeness,
    first_words,
)

REASONS = ("analysis", "explanation")


class CaptionEntry(Config):
    """One caption example as its file has it; other keys are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    image_path: str = ""
    document: dict[str, Any] | None = None
    image: int = Field(0, ge=0)
    description: str = Field(min_length=1)
    caption: str = Field(min_length=1)

    @model_validator(mode="after")
    def _one_document(self) -> CaptionEntry:
        if bool(self.image_path) == (self.document is not None):
            raise ValueError("give either image_path (document/index.ext in the source) or a document of its own")
        return self


class PlaceEntry(Config):
    """One placement example as its file has it; other keys are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    event_id: int | str | None = None
    response: str = ""
    caption_str: tuple[str, ...] = Field(min_length=1)
    result: dict[str, Any] | list[Any]

    @model_validator(mode="after")
    def _one_response(self) -> PlaceEntry:
        if bool(self.response) == (self.event_id is not None):
            raise ValueError("give either event_id (in the source's event file) or a response of its own")
        return self


Entry = TypeVar("Entry", CaptionEntry, PlaceEntry)
E = TypeVar("E", CaptionExample, PlaceExample)


def caption_examples(
    wanted: ExamplesConfig | None, source: SourceConfig, pack: Pack, folder: Path
) -> Examples[CaptionExample]:
    """The examples with their pictures verified; those on the web are fetched into `folder`. Raises ConfigError."""
    if wanted is None or wanted.choose == "none":
        return NO_EXAMPLES
    entries = _read(wanted, "caption_examples", CaptionEntry, pack)
    found = _of_source(source, {entry.image_path: where for where, entry in entries.items() if entry.image_path})
    made = []
    for where, entry in entries.items():
        root = source.root if entry.image_path else wanted.file.parent
        document, image = found[entry.image_path] if entry.image_path else _own(where, entry, root)
        document, image = _verified(where, document, image, source.model_copy(update={"root": root}), folder)
        made.append(CaptionExample(document, image, entry.description, entry.caption))
    return _chosen(made, wanted)


def place_examples(
    wanted: ExamplesConfig | None, source: SourceConfig, pack: Pack, words: int | None
) -> Examples[PlaceExample]:
    """The examples, their reasons no longer than what is asked for (`words` as in `prompts.place`).

    Raises ConfigError.
    """
    if wanted is None or wanted.choose == "none":
        return NO_EXAMPLES
    entries = _read(wanted, "place_examples", PlaceEntry, pack)
    texts = _of_events(source, {str(e.event_id): where for where, e in entries.items() if e.event_id is not None})
    made = [
        _placed(where, entry, entry.response or texts[str(entry.event_id)], words) for where, entry in entries.items()
    ]
    return _chosen(made, wanted)


def identity(examples: Examples[Any]) -> list[Any]:
    """What of the examples changes rows: their content and how they are chosen, not where their pictures lie."""
    rows = []
    for example in examples.pool:
        row = to_row(example)
        if isinstance(example, CaptionExample):
            for image in (row["image"], *row["document"]["images"]):
                image.update(uri="", origin="")
        rows.append(row)
    return rows if examples.index is None else [{"similar": examples.count}, *rows]


def _chosen(made: Sequence[E], wanted: ExamplesConfig) -> Examples[E]:
    return by_likeness(made, wanted.count) if wanted.choose == "similar" else Examples(tuple(made), wanted.count)


def _read(wanted: ExamplesConfig, key: str, kind: type[Entry], pack: Pack) -> dict[str, Entry]:
    """Where an entry stands → the entry, of those that may be shown."""
    if not pack.examples:
        raise ConfigError(f"{key}: the prompt pack {pack.name} shows no examples; leave {key} out or take another pack")
    try:
        found = json.loads(wanted.file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{key}: {wanted.file} cannot be read as JSON ({error}); mend it or leave {key} out"
        ) from None
    if not isinstance(found, list):
        kind_found = type(found).__name__
        raise ConfigError(f"{key}: {wanted.file} holds {kind_found}, not a list; mend it or leave {key} out")
    if len(found) < wanted.count:
        raise ConfigError(
            f"{key}: {wanted.file} has {len(found)} examples, fewer than {key}.count ({wanted.count}); change one"
        )
    entries = {f"{key}: {wanted.file}, example {number}": entry for number, entry in enumerate(found, 1)}
    used = list(entries.items()) if wanted.choose == "similar" else list(entries.items())[: wanted.count]
    return {where: check(kind, entry, where) for where, entry in used}


def _of_source(source: SourceConfig, wanted: Mapping[str, str]) -> dict[str, tuple[Document, Image]]:
    """Image id → document and image, for the wanted ids (id → where it is asked for) of a source of any kind."""
    found: dict[str, tuple[Document, Image]] = {}
    for document in _documents(source, wanted) if wanted else ():
        found |= {image.id: (document, image) for image in document.images if image.id in wanted}
        if len(found) == len(wanted):
            break
    if missing := [id for id in wanted if id not in found]:
        raise ConfigError(
            f"{wanted[missing[0]]}: no image {missing[0]} in {source.root}; name it as the source does "
            "(document/index.ext), or give the example a document of its own"
        )
    return found


def _documents(source: SourceConfig, wanted: Mapping[str, str]) -> Iterator[Document]:
    """Where the wanted images may be: the articles that their ids name, or all documents of the source."""
    if source.kind == "paper":
        for id, where in wanted.items():
            try:
                yield paper.document(source.root, id.partition("/")[0])
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
        return
    for item in sources.read(source.model_copy(update={"limit": None})):  # examples may lie beyond the build's limit
        if isinstance(item, Record):
            yield from item.sample.documents


def _own(where: str, entry: CaptionEntry, root: Path) -> tuple[Document, Image]:
    """The document that an entry brings along."""
    try:
        document, failures = samples.parse_document(where, entry.document, root, FilterConfig())
    except Unusable as problem:
        raise ConfigError(f"{where}: {problem}; mend its document") from None
    if failures:
        raise ConfigError(f"{where}: {failures[0].message}; mend its document")
    image = next((image for image in document.images if image.index == entry.image), None)
    if image is None:
        raise ConfigError(f"{where}: its document has {len(document.images)} images, none is number {entry.image}")
    return document, image


def _verified(
    where: str, document: Document, image: Image, source: SourceConfig, folder: Path
) -> tuple[Document, Image]:
    """The document with this picture alone, as a file that is certain to decode; chosen by hand, it is not filtered."""
    alone = Sample("example", "", (dataclasses.replace(document, images=(image,)),))
    found, failures = prepare_images(alone, source.model_copy(update={"filters": FilterConfig()}), folder)
    if failures:
        raise ConfigError(f"{where}: {failures[0].message}; give an example whose picture can be used")
    return found.documents[0], found.images[0]


def _of_events(source: SourceConfig, wanted: Mapping[str, str]) -> dict[str, str]:
    """Event id → its reference text, for the wanted ids (id → where it is asked for)."""
    if not wanted:
        return {}
    if source.kind != "paper":
        raise ConfigError(
            f"{next(iter(wanted.values()))}: event_id names an event, and a source of kind {source.kind} has none; "
            "give the example a response of its own"
        )
    events = source.root / source.events
    try:
        texts = paper.responses(events, set(wanted))
    except OSError as error:
        raise ConfigError(f"place_examples: {events} cannot be read: {error.strerror}; set source.events") from None
    if missing := sorted(set(wanted) - set(texts)):
        raise ConfigError(f"place_examples: events {', '.join(missing)} are not in {events}; mend the example file")
    return texts


def _placed(where: str, entry: PlaceEntry, text: str, words: int | None) -> PlaceExample:
    response = markdown.strip_images(text)
    slots = len(markdown.slots(response, "before"))
    if not slots:
        raise ConfigError(f"{where}: its response has no header line (`# …`) for a picture to stand under; add one")
    reply = json.dumps(_worded(entry.result, words), ensure_ascii=False)
    try:
        parsing.placement(reply, entry.caption_str, slots)
    except parsing.ParseError as error:
        raise ConfigError(f"{where}: {error}; mend its result") from None
    return PlaceExample(entry.caption_str, response, reply)


def _worded(result: Any, words: int | None) -> Any:
    """The result with its reasons cut to so many words; None leaves them as they are, 0 takes them out."""
    if words is None:
        return result
    if isinstance(result, dict):
        return {**result, "predictions": _worded(result.get("predictions"), words)}
    if not isinstance(result, list):
        return result
    return [
        {
            key: first_words(value, words) if key in REASONS and isinstance(value, str) else value
            for key, value in entry.items()
            if words or key not in REASONS
        }
        if isinstance(entry, dict)
        else entry
        for entry in result
    ]
