"""A build's input files → what they say of a sample, and a failure for every line that is of no use.

    responses    {"id", "result"}                                    one line a sample
    captions     {"nid", "caption": {image: text}, "description"?}   one line a document; with "id" for this sample only
    insertions   {"event_id", "image_paths", "result"}               one line a sample

These are the ImageRef-VL release's files, and a build's own exports; other keys are ignored. In memory are ids and the
places of lines, not their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from imageref_ray.core.config import ConfigError, InputsConfig
from imageref_ray.core.files import require_file
from imageref_ray.core.json_files import JsonRow, json_at, json_rows
from imageref_ray.core.records import Failure, Record
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import DocumentCaptions, Insertion

T = TypeVar("T")

STAGE = "inputs"
"""The stage of every failure that an input file causes."""

Key = tuple[str, str]
"""(sample, document); one of them is empty, or for captions of one sample neither."""


class LineIndex(Generic[T]):
    """Where in a JSONL file the line of each key is. `problems` are the lines that cannot be used.

    `setting` names the file in messages; `parse` reads a line and raises ConfigError. Of two lines with one key the
    first counts. Raises ConfigError for a file that is not there, or UTF-16 without its mark.
    """

    def __init__(
        self, path: Path, setting: str, parse: Callable[[dict[str, Any], str], T], key: Callable[[T], Key]
    ) -> None:
        require_file(path, f"{setting}, or remove it")
        self._setting, self.problems = setting, list[Failure]()
        self._path, self._parse = path, parse
        self._places: dict[Key, JsonRow] = {}
        for row in json_rows(path):
            place = replace(row, text="")
            try:
                found = key(self._line(row.read, place))
            except ConfigError as error:
                self.problems.append(self._failure(place, "BrokenLine", str(error)))
                continue
            if found in self._places:
                message = f"{self._where(place)}: {_named(found)} has a line before this one, which is used"
                self.problems.append(self._failure(place, "RepeatedLine", message))
            else:
                self._places[found] = place

    def find(self, key: Key) -> T | None:
        """What the key's line says; None where there is none."""
        if key not in self._places:
            return None
        place = self._places[key]
        return self._line(lambda: json_at(self._path, place.offset, place.size), place)

    def unused(self, used: set[Key]) -> Iterator[Failure]:
        """A failure for every line whose key was not used."""
        for key, place in self._places.items():
            if key not in used:
                message = f"{self._where(place)} is of {_named(key)}, which is not among the samples that were read"
                yield self._failure(place, "UnknownId", message)

    def _line(self, read: Callable[[], Any], place: JsonRow) -> T:
        return self._parse(paper_formats.json_row(read, self._where(place)), self._where(place))

    def _where(self, place: JsonRow) -> str:
        return f"{self._path} {place.where}"

    def _failure(self, place: JsonRow, error: str, message: str) -> Failure:
        line = self._setting + place.place
        return Failure(line, STAGE, error, f"{self._setting}: {message}", item=line)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files that are given."""

    responses: LineIndex[tuple[str, str]] | None = None
    captions: LineIndex[DocumentCaptions] | None = None
    insertions: LineIndex[Insertion] | None = None

    def find(self, record: Record) -> dict[str, Any]:
        """What the files have for a record, as plain values, by file; None where a file has no line for it.

        captions: document → image → [caption, description].
        """
        found: dict[str, Any] = {}
        if self.responses:
            answer = self.responses.find((record.id, ""))
            found["responses"] = answer[1] if answer else None
        if self.captions:
            documents = [document.id for document in record.sample.documents]
            found["captions"] = {document: _captions(self.captions, record.id, document) for document in documents}
        if self.insertions:
            line = self.insertions.find((record.id, ""))
            found["insertions"] = {"images": list(line.images), "result": line.result} if line else None
        return found

    def watch(self, items: Iterable[Record | Failure]) -> Iterator[Record | Failure]:
        """The same items, after them a failure for every line of the files that cannot be or was not used."""
        used: set[Key] = set()
        for item in items:
            if isinstance(item, Record):
                documents = [document.id for document in item.sample.documents]
                used |= {(item.id, ""), *(("", name) for name in documents), *((item.id, name) for name in documents)}
            yield item
        for index in (self.responses, self.captions, self.insertions):
            if index:
                yield from index.problems
                yield from index.unused(used)


def open_inputs(config: InputsConfig) -> Inputs:
    """Index the files. Raises ConfigError for one that cannot be read at all."""
    responses, captions, insertions = config.responses, config.captions, config.insertions
    return Inputs(
        LineIndex(responses, "inputs.responses", paper_formats.parse_answer, lambda line: (line[0], ""))
        if responses
        else None,
        LineIndex(captions, "inputs.captions", paper_formats.parse_captions, lambda line: (line.sample, line.document))
        if captions
        else None,
        LineIndex(insertions, "inputs.insertions", paper_formats.parse_insertion, lambda line: (line.event_id, ""))
        if insertions
        else None,
    )


def _captions(index: LineIndex[DocumentCaptions], sample: str, document: str) -> dict[str, list[str]]:
    """The texts of a document's images: from the line for this sample only, else from the one for all."""
    line = index.find((sample, document)) or index.find(("", document))
    return {image: [text, line.descriptions.get(image, "")] for image, text in line.captions.items()} if line else {}


def _named(key: Key) -> str:
    sample, document = key
    return " in ".join(part for part in (document and f"document {document}", sample and f"sample {sample}") if part)
