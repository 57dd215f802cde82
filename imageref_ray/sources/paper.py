"""The ImageRef-VL data layout → samples, and a failure for every part of it that cannot be used.

    DATA/<events>.jsonl   DATA/news/<newsID>.json   DATA/image/<newsID>/<index>.<ext>

An event keeps its usable parts; it fails as a whole only if no document or no image is left. What is left out by
choice (paper_choice.py) is a failure of that part, not of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import read_text
from imageref_ray.core.json_files import BrokenJson, JsonRow, json_rows, parse_json
from imageref_ray.core.records import Document, Failure, Image, Sample
from imageref_ray.sources.entries import STAGE, Unusable, id_text, json_object, safe_name
from imageref_ray.sources.paper_choice import EVERYTHING, EXCLUDED, Choice


def read(
    root: Path, events: str = "events.jsonl", limit: int | None = None, choice: Choice = EVERYTHING
) -> Iterator[Sample | Failure]:
    """Samples in the file's order, each after the failures of its parts; `limit` counts events, without those that
    have no labels where only labelled ones are read.

    Raises ConfigError if the event file does not exist or is UTF-16 without its mark.
    """
    path = root / events
    if not path.is_file():
        raise ConfigError(f"event file {path} does not exist; set source.root and source.events to the data")
    seen: set[str] = set()
    count = excluded = 0
    for row in json_rows(path):
        if count == limit:
            return
        event = _parse_event(events + row.place, row, seen)
        if isinstance(event, Failure):
            yield event
        elif choice.labels and (name := event["paasEventID"]) not in choice.labelled:
            yield Failure(name, STAGE, "NotLabelled", f"{choice.labels} has no labels of event {name}", item=name)
        else:
            for item in _event(root, event, choice):
                count += isinstance(item, Sample)
                excluded += isinstance(item, Failure) and item.error == EXCLUDED
                yield item
    if choice.exclude and choice.excluded and not excluded:
        message = f"none of the {len(choice.excluded):,} documents in {choice.exclude} is one of {events}"
        yield Failure(choice.exclude.name, STAGE, "NothingExcluded", message, item=choice.exclude.name)
    for name in sorted(choice.labelled - seen):
        message = f"{choice.labels} has labels of event {name}, which is not in {events}"
        yield Failure(name, STAGE, "UnknownEvent", message, item=name)


def document(root: Path, news: str) -> Document:
    """One article by its newsID. Raises ConfigError if it cannot be used."""
    try:
        return _document(root, safe_name(news, "BrokenDocument", "newsID"))[0]
    except Unusable as problem:
        raise ConfigError(f"{problem}; fix the file or do not refer to it") from None


def responses(events: Path, ids: set[str]) -> dict[str, str]:
    """Event id → its reference text (`# title` and summary), for the given ids of an event file."""
    texts: dict[str, str] = {}
    for row in json_rows(events):
        try:
            event = json_object(row.read, "BrokenEvent")
        except Unusable:
            continue
        if (name := id_text(event.get("paasEventID"))) in ids:
            texts[name] = f"# {event.get('title') or ''}\n{event.get('summary') or ''}".strip()
    return texts


def _parse_event(where: str, row: JsonRow, seen: set[str]) -> dict[str, Any] | Failure:
    """An event with its id as text, which is added to `seen`; or why the line has none."""
    try:
        event = json_object(row.read, "BrokenEvent")
        name = safe_name(event.get("paasEventID"), "BrokenEvent", "paasEventID")
        if name in seen:
            raise Unusable("RepeatedEvent", f"event {name} is in the file more than once")
    except Unusable as problem:
        return Failure(where, STAGE, problem.error, f"{where}: {problem}")
    seen.add(name)
    return {**event, "paasEventID": name}


def _event(root: Path, event: dict[str, Any], choice: Choice) -> Iterator[Sample | Failure]:
    name = event["paasEventID"]
    documents: list[Document] = []
    sources = event.get("sources")
    for source in sources if isinstance(sources, list) else []:
        news = id_text(source.get("newsID")) or "" if isinstance(source, dict) else ""
        try:
            choice.check_document(news)
            document, missing = _document(root, safe_name(news, "BrokenEvent", "newsID"))
            choice.check_images(news, missing)
        except Unusable as problem:
            yield Failure(name, STAGE, problem.error, str(problem), item=news)
            continue
        if any(document.id == other.id for other in documents):
            continue  # the same article listed twice is one document
        documents.append(document)
        for item in missing:
            yield Failure(name, STAGE, "MissingImage", f"{root / 'image' / item} does not exist", item=item)
    if not documents:
        yield Failure(name, STAGE, "NoDocuments", "no usable document is left")
    elif not any(document.images for document in documents):
        yield Failure(name, STAGE, "NoImages", f"none of its {len(documents)} documents has an image")
    else:
        yield Sample(name, _instruction(event), tuple(documents), _category(event))


def _document(root: Path, news: str) -> tuple[Document, list[str]]:
    """One article with its images in index order, and the names (`newsID/index`) of listed images without a file."""
    path = root / "news" / f"{news}.json"
    try:
        text_of_file = read_text(path)
        article = json_object(lambda: parse_json(text_of_file), "BrokenDocument")
    except FileNotFoundError:
        raise Unusable("MissingDocument", f"{path} does not exist") from None
    except OSError as error:
        raise Unusable("BrokenDocument", f"{path} cannot be read: {error}") from None
    except ConfigError as error:
        raise Unusable("BrokenDocument", str(error)) from None
    except Unusable as problem:
        raise Unusable(problem.error, f"{path}: {problem}") from None
    text = article.get("article_text")
    if not isinstance(text, str) or not text.strip():
        raise Unusable("EmptyDocument", f"{path} has no article_text")
    images = _images(root / "image" / news, news)
    info = article.get("image_info")
    listed = info if isinstance(info, list) else []
    present = {image.index for image in images}
    missing = [f"{news}/{k}" for k in range(len(listed)) if k not in present and not _is_mpo(root / "image" / news, k)]
    return Document(news, str(article.get("title") or ""), text, images, str(article.get("url") or "")), missing


def _images(folder: Path, news: str) -> tuple[Image, ...]:
    """The folder's `<index>.<ext>` files by index; of two with the same index the first by name."""
    if not folder.is_dir():
        return ()
    first: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.stem.isdecimal() and path.suffix.lower() != ".mpo" and path.is_file():
            first.setdefault(int(path.stem), path)
    return tuple(Image(f"{news}/{path.name}", str(path)) for _, path in sorted(first.items()))


def _is_mpo(folder: Path, index: int) -> bool:
    """Whether the image is an `.mpo` file: the layout skips those, so they are not missing."""
    return (folder / f"{index}.mpo").exists()


def _category(event: dict[str, Any]) -> str:
    attributes = event.get("attrs")
    try:
        attributes = parse_json(attributes) if isinstance(attributes, str) else attributes
    except BrokenJson:
        return ""
    return str(attributes.get("category", "")) if isinstance(attributes, dict) else ""


def _instruction(event: dict[str, Any]) -> str:
    """The event's instruction if it has one, else its title (the user's topic)."""
    return str(event.get("instruction") or event.get("title") or "")
