"""A build's input files → what they say of a sample, and a failure for every line that is of no use.

    responses    {"id", "result"}                                    one line a sample
    captions     {"nid", "caption": {image: text}, "description"?}   one line a document; with "id" for this sample only
    insertions   {"event_id", "image_paths", "result"}               one line a sample

These are the ImageRef-VL release's files, and a build's own exports; other keys are ignored. In memory are ids and the
places of lines, not their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from imageref_ray.core.config import ConfigError, InputsConfig
from imageref_ray.core.files import MARKS, require_file
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
    first counts. Raises ConfigError for a file that is not there or not UTF-8.
    """

    def __init__(
        self, path: Path, setting: str, parse: Callable[[dict[str, Any], str], T], key: Callable[[T], Key]
    ) -> None:
        require_file(path, f"{setting}, or remove it")
        self._setting, self.problems = setting, list[Failure]()
        self._path, self._parse = path, parse
        self._places: dict[Key, tuple[int, int]] = {}
        _check_encoding(path)
        for offset, number, line in _lines(path):
            try:
                found = key(self._line(line, number))
            except ConfigError as error:
                self.problems.append(self._failure(number, "BrokenLine", str(error)))
                continue
            if found in self._places:
                message = f"{self._where(number)}: {_named(found)} has a line before this one, which is used"
                self.problems.append(self._failure(number, "RepeatedLine", message))
            else:
                self._places[found] = (offset, number)

    def find(self, key: Key) -> T | None:
        """What the key's line says; None where there is none."""
        if key not in self._places:
            return None
        offset, number = self._places[key]
        with self._path.open("rb") as file:
            file.seek(offset)
            return self._line(file.readline(), number)

    def unused(self, used: set[Key]) -> Iterator[Failure]:
        """A failure for every line whose key was not used."""
        for key, (_, number) in self._places.items():
            if key not in used:
                message = f"{self._where(number)} is of {_named(key)}, which is not among the samples that were read"
                yield self._failure(number, "UnknownId", message)

    def _line(self, line: bytes, number: int) -> T:
        return self._parse(paper_formats.json_row(line, self._where(number)), self._where(number))

    def _where(self, number: int) -> str:
        return f"{self._path} line {number}"

    def _failure(self, number: int, error: str, message: str) -> Failure:
        line = f"{self._setting}:{number}"
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


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Every line that is not empty: where it begins (bytes), its number, its content."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield offset, number, line
            offset += len(line)


def _check_encoding(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(4)
    name = next((name for mark, name in MARKS.items() if begin.startswith(mark)), "utf-8")
    if not name.startswith("utf-8"):
        raise ConfigError(f"{path} is {name.upper()}; save the file as UTF-8")


def _named(key: Key) -> str:
    sample, document = key
    return " in ".join(part for part in (document and f"document {document}", sample and f"sample {sample}") if part)
