"""JSONL or Parquet files of samples with their documents → records, and a failure for every part that is unusable.

    {"id", "instruction"?, "category"?, "response"?,
     "documents": [{"id", "text" (with [Image k]), "title"?, "url"?, "images": [address or {"uri", scores…}]}]}

`images[k]` stands where the text says `[Image k]`. A sample that brings its response keeps it: it is not written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imageref_ray.core import markdown
from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.config.source import FilterConfig
from imageref_ray.core.records import Document, Failure, Image, Record, Sample
from imageref_ray.sources import image_filters
from imageref_ray.sources.entries import STAGE, Unusable, image_id, json_object, located, safe_name

SUFFIXES = (".jsonl", ".parquet")
ROWS = 64
"""Parquet rows held in memory at a time."""

Entry = tuple[str, dict[str, Any] | Unusable]
"""Where a sample stands (`file:number`, from 1), and what stands there."""


def files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The files that are read, by name. Raises ConfigError where there is none or one cannot be read."""
    missing = [name for name in patterns if not any(mark in name for mark in "*?[") and not (root / name).is_file()]
    found = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    if missing or not found:
        raise ConfigError(
            f"{', '.join(missing or patterns)} in {root}: no such file; set source.root and source.files to the samples"
        )
    if strange := [path.name for path in found if path.suffix not in SUFFIXES]:
        raise ConfigError(f"{', '.join(strange)} in {root}: source.files reads {' and '.join(SUFFIXES)} files only")
    return found


def read(
    root: Path, paths: Sequence[Path], limits: FilterConfig, limit: int | None = None
) -> Iterator[Record | Failure]:
    """Records in the files' order, each after the failures of its parts; `limit` counts lines and rows.

    Relative addresses of images are paths under `root`; `limits` are applied to scores that come with an image.
    """
    seen: set[str] = set()
    entries = (entry for path in paths for entry in _entries(path))
    for count, (where, row) in enumerate(entries, 1):
        if limit is not None and count > limit:
            return
        try:
            if isinstance(row, Unusable):
                raise row
            name = safe_name(row.get("id"), "BrokenSample", "id")
            if name in seen:
                raise Unusable("RepeatedSample", f"sample {name} stands in the files more than once")
        except Unusable as problem:
            yield Failure(where, STAGE, problem.error, f"{where}: {problem}")
            continue
        seen.add(name)
        yield from _sample(name, where, row, root, limits)


def _entries(path: Path) -> Iterator[Entry]:
    return _lines(path) if path.suffix == ".jsonl" else _rows(path)


def _lines(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path.name}:{number}", _parsed(line)


def _parsed(line: bytes) -> dict[str, Any] | Unusable:
    try:
        return json_object(line.decode("utf-8-sig"), "BrokenSample")
    except UnicodeDecodeError as error:
        return Unusable("BrokenSample", f"not UTF-8: {error}")
    except Unusable as problem:
        return problem


def _rows(path: Path) -> Iterator[Entry]:
    """A file that breaks off is one failure more, after the rows that could be read."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        message = " ".join(str(error).split())
        yield path.name, Unusable("BrokenFile", f"cannot be read as Parquet after row {number}: {message}")


def _sample(
    name: str, where: str, row: Mapping[str, Any], root: Path, limits: FilterConfig
) -> Iterator[Record | Failure]:
    documents: list[Document] = []
    try:
        response = _response(row.get("response"))
        listed = row.get("documents")
        if not isinstance(listed, list):
            raise Unusable("BrokenSample", f"documents is {type(listed).__name__}, not a list")
        for number, entry in enumerate(listed, 1):
            try:
                document, failures = parse_document(name, entry, root, limits)
                if any(document.id == other.id for other in documents):
                    raise Unusable("RepeatedDocument", f"document {document.id} stands in the sample more than once")
            except Unusable as problem:
                yield Failure(name, STAGE, problem.error, f"{where}: {problem}", item=f"documents[{number}]")
                continue
            documents.append(document)
            yield from failures
        yield Record(_whole(name, row, documents), response)
    except Unusable as problem:
        yield Failure(name, STAGE, problem.error, f"{where}: {problem}")


def _whole(name: str, row: Mapping[str, Any], documents: list[Document]) -> Sample:
    """The sample, if there is something to ask about it and something to show."""
    if not documents:
        raise Unusable("NoDocuments", "no usable document is left")
    if not any(document.images for document in documents):
        raise Unusable("NoImages", f"none of its {len(documents)} documents has a picture")
    instruction = _text(row, "instruction") or documents[0].title
    if not instruction:
        raise Unusable("NoInstruction", "has neither an instruction nor a title of its first document")
    return Sample(name, instruction, tuple(documents), _text(row, "category"))


def _response(value: object) -> str:
    """A given response without images, or nothing. It needs a header: pictures are placed after headers."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise Unusable("BrokenSample", f"response is {type(value).__name__}, not text")
    text = markdown.strip_images(value)
    if not markdown.slots(text, "before") or not markdown.slots(text, "after"):
        raise Unusable("NoSlots", "its response needs a header line (`# …`) and text under it for pictures to stand at")
    return text


def parse_document(name: str, entry: object, root: Path, limits: FilterConfig) -> tuple[Document, list[Failure]]:
    """One entry of a sample's `documents` with its usable images, and the others' failures. Raises Unusable.

    `name` is the sample's; relative addresses are paths under `root`.
    """
    if not isinstance(entry, dict):
        raise Unusable("BrokenDocument", f"is {type(entry).__name__}, not an object")
    document = safe_name(entry.get("id"), "BrokenDocument", "id")
    text = _text(entry, "text", "BrokenDocument")
    if not text:
        raise Unusable("EmptyDocument", f"document {document} has no text")
    listed = entry.get("images")
    if not isinstance(listed, list | None):
        raise Unusable("BrokenDocument", f"images of {document} is {type(listed).__name__}, not a list")
    images: list[Image] = []
    failures: list[Failure] = []
    for k, image in enumerate(listed or []):
        item = f"{document}/{k}"
        fields = {"uri": image} if isinstance(image, str) else image
        uri = fields.get("uri") if isinstance(fields, dict) else None
        if not isinstance(uri, str) or not uri.strip():
            failures.append(Failure(name, STAGE, "BrokenImage", f"image {item} has no address (uri)", item=item))
        elif problem := image_filters.by_scores(fields, limits):
            failures.append(Failure(name, image_filters.STAGE, problem.error, f"{uri} {problem.message}", item=item))
        else:
            images.append(Image(image_id(document, k, uri.strip()), located(root, uri.strip())))
    title, url = _text(entry, "title", "BrokenDocument"), _text(entry, "url", "BrokenDocument")
    return Document(document, title, text, tuple(images), url), failures


def _text(entry: Mapping[str, Any], key: str, error: str = "BrokenSample") -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(error, f"{key} is {type(value).__name__}, not text")
    return value.strip()
