"""JSONL or Parquet files of samples with their documents → records, and a failure for every part that is unusable.

sample_rows.py says what a row holds. A sample with a response keeps it: none is generated for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.config.source import FilterConfig
from imageref_ray.core.json_files import JsonRow, json_rows
from imageref_ray.core.parquet_files import columns_of, parquet_rows
from imageref_ray.core.records import Document, Failure, Image, Record, Sample
from imageref_ray.core.text import well_formed
from imageref_ray.sources import image_filters
from imageref_ray.sources.entries import STAGE, Unusable, image_id, json_object, resolve_address, safe_name
from imageref_ray.sources.pages.interleaved_pages import is_interleaved
from imageref_ray.sources.pages.page import one_line
from imageref_ray.sources.sample_rows import WORDS

SUFFIXES = (".jsonl", ".parquet")
Entry = tuple[str, dict[str, Any] | Unusable]
"""The position of a sample (`file:number` from 1, in a JSON list `file[number]` from 0), and its row or why there is
none."""


def files(root: Path, patterns: Sequence[str]) -> list[Path]:
    """The files to read, sorted by path. Raises ConfigError if there is none or one has another format."""
    missing = [name for name in patterns if not any(mark in name for mark in "*?[") and not (root / name).is_file()]
    paths = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    if missing or not paths:
        raise ConfigError(
            f"no file in {root} matches {', '.join(missing or patterns)}; set source.root and source.files to the data"
        )
    if unsupported := [path.name for path in paths if path.suffix not in SUFFIXES]:
        raise ConfigError(
            f"{', '.join(unsupported)} in {root}: only {' and '.join(SUFFIXES)} files are supported; fix source.files"
        )
    return paths


def read(
    root: Path, paths: Sequence[Path], limits: FilterConfig, limit: int | None = None
) -> Iterator[Record | Failure]:
    """Records in the files' order, each after the failures of its parts; `limit` counts records.

    Relative addresses of images are paths under `root`; `limits` filter images by the scores in their rows.
    """
    seen: set[str] = set()
    count = 0
    for where, row in (entry for path in paths for entry in _entries(path)):
        if count == limit:
            return
        try:
            if isinstance(row, Unusable):
                raise row
            name = safe_name(row.get("id"), "BrokenSample", "id")
            if name in seen:
                raise Unusable("RepeatedSample", f"sample {name} is in the files more than once")
        except Unusable as problem:
            yield Failure(where, STAGE, problem.error, f"{where}: {problem}")
            continue
        seen.add(name)
        for item in _sample(name, where, row, root, limits):
            count += isinstance(item, Record)
            yield item


def _entries(path: Path) -> Iterator[Entry]:
    """The rows of a file; one that cannot be read to its end adds an Unusable after the rows before."""
    name = well_formed(path.name)
    try:
        if path.suffix == ".jsonl":
            yield from ((name + row.place, _parsed(row)) for row in json_rows(path))
        elif is_interleaved(columns_of(path)):
            advice = "read it with source.kind: folder and source.pages: ['**/*.parquet']"
            yield name, Unusable("InterleavedFile", f"it has a row per text and picture, not per sample; {advice}")
        else:
            yield from ((f"{name}:{number}", row) for number, row in enumerate(parquet_rows(path), 1))
    except (ConfigError, OSError) as problem:
        yield name, Unusable("BrokenFile", str(problem))


def _parsed(row: JsonRow) -> dict[str, Any] | Unusable:
    try:
        return json_object(row.read, "BrokenSample")
    except Unusable as problem:
        return problem


def _sample(
    name: str, where: str, row: Mapping[str, Any], root: Path, limits: FilterConfig
) -> Iterator[Record | Failure]:
    documents: list[Document] = []
    try:
        response = _response(row.get("response"))
        listed = row.get("documents")
        if not isinstance(listed, list):
            raise Unusable("BrokenSample", f"documents must be a list, found {type(listed).__name__}")
        for number, entry in enumerate(listed, 1):
            try:
                document, failures = parse_document(name, entry, root, limits)
                if any(document.id == other.id for other in documents):
                    raise Unusable("RepeatedDocument", f"document {document.id} is in the sample more than once")
            except Unusable as problem:
                yield Failure(name, STAGE, problem.error, f"{where}: {problem}", item=f"documents[{number}]")
                continue
            documents.append(document)
            yield from failures
        yield Record(_checked(name, row, documents), response)
    except Unusable as problem:
        yield Failure(name, STAGE, problem.error, f"{where}: {problem}")


def _checked(name: str, row: Mapping[str, Any], documents: list[Document]) -> Sample:
    """The sample. Raises Unusable if it has no document, no image or no instruction."""
    if not documents:
        raise Unusable("NoDocuments", "no usable document is left")
    if not any(document.images for document in documents):
        raise Unusable("NoImages", f"none of its {len(documents)} documents has an image")
    instruction = _text(row, "instruction") or documents[0].title
    if not instruction:
        raise Unusable("NoInstruction", "neither the sample has an instruction nor its first document a title")
    return Sample(name, instruction, tuple(documents), _text(row, "category"))


def _response(value: object) -> str:
    """A given response without images, or "". Images are placed after headers: raises Unusable without one."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise Unusable("BrokenSample", f"response must be text, found {type(value).__name__}")
    text = markdown.strip_images(value)
    if not markdown.slots(text, "before") or not markdown.slots(text, "after"):
        raise Unusable("NoSlots", "its response needs a header line (`# …`) with text below it to place images at")
    return text


def parse_document(name: str, entry: object, root: Path, limits: FilterConfig) -> tuple[Document, list[Failure]]:
    """One entry of a sample's `documents` with its usable images, and a failure for each other one. Raises Unusable.

    `name` is the sample's id; relative addresses are paths under `root`.
    """
    if not isinstance(entry, dict):
        raise Unusable("BrokenDocument", f"expected a JSON object, found {type(entry).__name__}")
    document = safe_name(entry.get("id"), "BrokenDocument", "id")
    text = _text(entry, "text", "BrokenDocument")
    if not text:
        raise Unusable("EmptyDocument", f"document {document} has no text")
    listed = entry.get("images")
    if not isinstance(listed, list | None):
        raise Unusable("BrokenDocument", f"images of {document} must be a list, found {type(listed).__name__}")
    images: dict[int, Image] = {}
    failures: list[Failure] = []
    for place, image in enumerate(listed or []):
        fields = {"uri": image} if isinstance(image, str) else image if isinstance(image, dict) else {}
        uri, k = fields.get("uri"), place if fields.get("index") is None else fields["index"]
        item = f"{document}/{k if isinstance(k, int) else place}"
        if not isinstance(uri, str) or not uri.strip():
            failures.append(Failure(name, STAGE, "BrokenImage", f"image {item} has no address (uri)", item=item))
        elif isinstance(k, bool) or not isinstance(k, int) or k < 0 or k in images:
            message = f"image {place} of {document} has the index {k!r}: expected a number from 0 that no other has"
            failures.append(Failure(name, STAGE, "BrokenImage", message, item=item))
        elif problem := image_filters.by_scores(fields, limits):
            failures.append(Failure(name, image_filters.STAGE, problem.error, f"{uri} {problem.message}", item=item))
        else:
            words: dict[str, Any] = {key: one_line(fields[key]) for key in WORDS if isinstance(fields.get(key), str)}
            images[k] = Image(image_id(document, k, uri.strip()), resolve_address(root, uri.strip()), **words)
    title, url = _text(entry, "title", "BrokenDocument"), _text(entry, "url", "BrokenDocument")
    return Document(document, title, text, tuple(images.values()), url), failures


def _text(entry: Mapping[str, Any], key: str, error: str = "BrokenSample") -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unusable(error, f"{key} must be text, found {type(value).__name__}")
    return value.strip()
