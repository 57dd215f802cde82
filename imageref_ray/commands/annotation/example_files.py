"""Example files → in-context examples. An entry that cannot be used is refused before any request is paid for.

    captions    {"image_path": "<document>/<k>.<ext>", "description", "caption"}
             or {"document": {"id", "title"?, "text", "images"}, "image": k, "description", "caption"}
    placement   {"event_id", "caption_str": ["IMAGE_1: …", …], "result": {"predictions": […]}}
             or {"response": "# …", "caption_str", "result"}

The first form of each is the paper's: it refers to the build's source (captions: of any kind; placement: its event
file). The second contains its document or response; relative paths in it start from the example file's folder.
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
from imageref_ray.core.json_files import read_json
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

REASON_KEYS = ("analysis", "explanation")


class CaptionEntry(Config):
    """One caption example as written in its file; unknown keys are ignored."""

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
    """One placement example as written in its file; unknown keys are ignored."""

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
Example = TypeVar("Example", CaptionExample, PlaceExample)


def caption_examples(
    config: ExamplesConfig | None, source: SourceConfig, pack: Pack, folder: Path
) -> Examples[CaptionExample]:
    """The examples with verified images; images on the web are downloaded into `folder`. Raises ConfigError."""
    if config is None or config.choose == "none":
        return NO_EXAMPLES
    entries = _read_entries(config, "caption_examples", CaptionEntry, pack)
    in_source = _images_of_source(
        source, {entry.image_path: where for where, entry in entries.items() if entry.image_path}
    )
    examples = []
    for where, entry in entries.items():
        root = source.root if entry.image_path else config.file.parent
        document, image = in_source[entry.image_path] if entry.image_path else _own_document(where, entry, root)
        document, image = _verify(where, document, image, source.model_copy(update={"root": root}), folder)
        examples.append(CaptionExample(document, image, entry.description, entry.caption))
    return _select(examples, config)


def place_examples(
    config: ExamplesConfig | None, source: SourceConfig, pack: Pack, words: int | None
) -> Examples[PlaceExample]:
    """The examples, their reasons cut to the length the prompt asks for (`words` as in `prompts.place`).

    Raises ConfigError.
    """
    if config is None or config.choose == "none":
        return NO_EXAMPLES
    entries = _read_entries(config, "place_examples", PlaceEntry, pack)
    texts = _event_texts(source, {str(e.event_id): where for where, e in entries.items() if e.event_id is not None})
    examples = [
        _place_example(where, entry, entry.response or texts[str(entry.event_id)], words)
        for where, entry in entries.items()
    ]
    return _select(examples, config)


def identity(examples: Examples[Any]) -> list[Any]:
    """What of the examples changes rows: their content and how they are chosen, not where their images are stored."""
    rows = []
    for example in examples.pool:
        row = to_row(example)
        if isinstance(example, CaptionExample):
            for image in (row["image"], *row["document"]["images"]):
                image.update(uri="", origin="")
        rows.append(row)
    return rows if examples.index is None else [{"similar": examples.count}, *rows]


def _select(examples: Sequence[Example], config: ExamplesConfig) -> Examples[Example]:
    if config.choose == "similar":
        return by_likeness(examples, config.count)
    return Examples(tuple(examples), config.count)


def _read_entries(config: ExamplesConfig, key: str, kind: type[Entry], pack: Pack) -> dict[str, Entry]:
    """Where an entry is (`key: file, example n`, for messages) → the entry; only entries that may be used."""
    if not pack.examples:
        raise ConfigError(
            f"{key}: the prompt pack {pack.name} takes no examples; remove {key} or choose another prompt pack"
        )
    try:
        values = read_json(config.file)
    except (OSError, ConfigError) as error:
        raise ConfigError(f"{key}: cannot be read as JSON: {error}") from None
    if not isinstance(values, list):
        raise ConfigError(
            f"{key}: {config.file} holds {type(values).__name__}, not a list; fix the file or remove {key}"
        )
    if len(values) < config.count:
        raise ConfigError(
            f"{key}: {config.file} has {len(values)} examples, fewer than {key}.count ({config.count}); "
            f"add examples or lower {key}.count"
        )
    candidates = values if config.choose == "similar" else values[: config.count]
    places = (f"{key}: {config.file}, example {number}" for number, _ in enumerate(candidates, 1))
    return {where: check(kind, value, where) for where, value in zip(places, candidates, strict=True)}


def _images_of_source(source: SourceConfig, ids: Mapping[str, str]) -> dict[str, tuple[Document, Image]]:
    """Image id → document and image, for `ids` (id → the entry that names it) in a source of any kind."""
    images: dict[str, tuple[Document, Image]] = {}
    for document in _documents(source, ids) if ids else ():
        images |= {image.id: (document, image) for image in document.images if image.id in ids}
        if len(images) == len(ids):
            break
    if missing := [id for id in ids if id not in images]:
        raise ConfigError(
            f"{ids[missing[0]]}: no image {missing[0]} in {source.root}; name it as the source does "
            "(document/index.ext), or give the example a document of its own"
        )
    return images


def _documents(source: SourceConfig, ids: Mapping[str, str]) -> Iterator[Document]:
    """Where the images may be: the articles that their ids name, or all documents of the source."""
    if source.kind == "paper":
        for id, where in ids.items():
            try:
                yield paper.document(source.root, id.partition("/")[0])
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
        return
    for item in sources.read(source.model_copy(update={"limit": None})):  # examples may be beyond the build's limit
        if isinstance(item, Record):
            yield from item.sample.documents


def _own_document(where: str, entry: CaptionEntry, root: Path) -> tuple[Document, Image]:
    """The document and image that an entry contains."""
    try:
        document, failures = samples.parse_document(where, entry.document, root, FilterConfig())
    except Unusable as problem:
        raise ConfigError(f"{where}: {problem}; fix its document") from None
    if failures:
        raise ConfigError(f"{where}: {failures[0].message}; fix its document")
    image = next((image for image in document.images if image.index == entry.image), None)
    if image is None:
        raise ConfigError(
            f"{where}: image is {entry.image}, but its document has {len(document.images)} images, counted from 0"
        )
    return document, image


def _verify(where: str, document: Document, image: Image, source: SourceConfig, folder: Path) -> tuple[Document, Image]:
    """The document with only this image, as a file that decodes. The image filters do not apply: it was chosen by hand.

    Raises ConfigError for an image that cannot be used.
    """
    sample = Sample("example", "", (dataclasses.replace(document, images=(image,)),))
    sample, failures = prepare_images(sample, source.model_copy(update={"filters": FilterConfig()}), folder)
    if failures:
        raise ConfigError(f"{where}: {failures[0].message}; choose an example whose image can be used")
    return sample.documents[0], sample.images[0]


def _event_texts(source: SourceConfig, ids: Mapping[str, str]) -> dict[str, str]:
    """Event id → its reference text, for `ids` (id → the entry that names it)."""
    if not ids:
        return {}
    if source.kind != "paper":
        raise ConfigError(
            f"{next(iter(ids.values()))}: event_id names an event, and a source of kind {source.kind} has none; "
            "give the example a response of its own"
        )
    events = source.root / source.events
    try:
        texts = paper.responses(events, set(ids))
    except OSError as error:
        raise ConfigError(f"place_examples: {events} cannot be read: {error.strerror}; set source.events") from None
    if missing := sorted(set(ids) - set(texts)):
        raise ConfigError(f"place_examples: events {', '.join(missing)} are not in {events}; fix the example file")
    return texts


def _place_example(where: str, entry: PlaceEntry, text: str, words: int | None) -> PlaceExample:
    response = markdown.strip_images(text)
    slots = len(markdown.slots(response, "before"))
    if not slots:
        raise ConfigError(f"{where}: its response has no header line (`# …`), so no image can be placed; add one")
    reply = json.dumps(_shorten_reasons(entry.result, words), ensure_ascii=False)
    try:
        parsing.placement(reply, entry.caption_str, slots)
    except parsing.ParseError as error:
        raise ConfigError(f"{where}: {error}; fix its result") from None
    return PlaceExample(entry.caption_str, response, reply)


def _shorten_reasons(result: Any, words: int | None) -> Any:
    """The result with its reasons cut to `words` words; None leaves them as they are, 0 removes them."""
    if words is None:
        return result
    if isinstance(result, dict):
        return {**result, "predictions": _shorten_reasons(result.get("predictions"), words)}
    if not isinstance(result, list):
        return result
    return [
        {
            key: first_words(value, words) if key in REASON_KEYS and isinstance(value, str) else value
            for key, value in prediction.items()
            if words or key not in REASON_KEYS
        }
        if isinstance(prediction, dict)
        else prediction
        for prediction in result
    ]
