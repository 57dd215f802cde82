"""The paper's files: label CSV, insertion, caption, annotation and result JSONL, read and written.

Invalid input raises a ConfigError that says the file, the line, what is wrong and how to fix it.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import replacing
from imageref_ray.core.files import require_file, shown
from imageref_ray.core.json_files import BrokenJson, NotText, json_rows
from imageref_ray.core.label_rows import COLUMNS, label_rows
from imageref_ray.core.records import Image
from imageref_ray.dataset.label_cells import read_cell
from imageref_ray.dataset.turns import IMAGE_TAG, SampleError, read_images, read_turns

T = TypeVar("T")

Relevance = Mapping[int, Mapping[str, int]]
"""Labelled slot (from 1) → image id → highest relevance there, 1 to 3; an empty mapping: no image fits."""

Placed = Mapping[int, str]
"""Slot (from 1) → id of the image placed there."""

POSITION = re.compile(r"<Position ([0-9]{1,6})>")
LABEL = re.compile(r"IMAGE_([0-9]{1,6}):\s*$")
GRADES = ("1", "2", "3")
TURNS = "expected an id and two conversation turns (human, gpt) with a text value each"


@dataclass(frozen=True, slots=True)
class Insertion:
    """One line of an insertion file: `images[k - 1]` is the id of `IMAGE_k` in the model's `result` text."""

    event_id: str
    images: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class DocumentCaptions:
    """One line of a caption file: a document's texts by image id. Where samples have other documents of the same id,
    `sample` says whose these are; empty: everyone's."""

    document: str
    captions: Mapping[str, str]
    descriptions: Mapping[str, str]
    sample: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One line of an annotation file: `prompt` is the human turn with its images in place, `reference` the answer;
    `numbered` if the file writes its id as a number."""

    id: str
    prompt: tuple[str | Image, ...]
    reference: str
    numbered: bool = False

    @property
    def images(self) -> tuple[Image, ...]:
        """`images[k - 1]` is `IMAGE_k`: by the label before each image, or by their order if not all have a label.

        A document's text may have its images in another order than their numbers.
        """
        pairs = itertools.pairwise(("", *self.prompt))
        labelled = [(_label(before), image) for before, image in pairs if isinstance(image, Image)]
        if sorted(label for label, _ in labelled) == list(range(1, len(labelled) + 1)):
            labelled.sort(key=lambda pair: pair[0])
        return tuple(image for _, image in labelled)

    @property
    def text(self) -> str:
        """The human turn without its images and their labels."""
        return markdown.strip_images("".join(LABEL.sub("", part) for part in self.prompt if isinstance(part, str)))


def _label(before: str | Image) -> int:
    """The k of an `IMAGE_k:` at the end of a text, else 0."""
    match = LABEL.search(before) if isinstance(before, str) else None
    return int(match[1]) if match else 0


def image_id(path: str) -> str:
    """The last two parts of a path or url, `"<newsID>/<file>"`: the image id in all files."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def read_labels(path: Path) -> dict[str, Relevance]:
    """Label CSV (paasEventID, image_map, result) → event id → slot → image id → highest relevance.

    Cells are Python literals or JSON; relevance grades other than 1, 2 and 3 are ignored.
    """
    labels: dict[str, Relevance] = {}
    for where, event, row in label_rows(path):
        labels[event] = _relevance(read_cell(row, "image_map", where), read_cell(row, "result", where), where)
    return labels


def write_labels(path: Path, labels: Mapping[str, Relevance]) -> None:
    """The inverse of `read_labels`; label keys are the image ids themselves."""
    with replacing(path) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for event, relevance in labels.items():
            images = {image: image for slot in relevance for image in relevance[slot]}
            result = {
                f"<Position {slot}>": {
                    grade: [image for image, value in fits.items() if value == int(grade)] for grade in GRADES
                }
                for slot, fits in relevance.items()
            }
            writer.writerow((event, repr(images), repr(result)))


def read_insertions(path: Path) -> dict[str, Insertion]:
    """Insertion JSONL ({"event_id", "image_paths", "result"}) → event id → Insertion."""
    return _keyed(path, "the insertion JSONL", parse_insertion, lambda item: item.event_id)


def write_insertions(path: Path, insertions: Iterable[Insertion]) -> None:
    """The inverse of `read_insertions`."""
    write_jsonl(path, ({"event_id": i.event_id, "image_paths": list(i.images), "result": i.result} for i in insertions))


def insertion(event_id: str, images: Sequence[str], placed: Placed, slots: int) -> Insertion:
    """A placement in the paper's format: every slot from 1 to `slots` with `IMAGE_k` or `Not Insert`."""
    numbers = {image: number for number, image in reversed(list(enumerate(images, 1)))}
    chosen = {slot: f"IMAGE_{numbers[image]}" for slot, image in placed.items()}
    predictions = [
        {"position": f"<Position {slot}>", "image": chosen.get(slot, "Not Insert")} for slot in range(1, slots + 1)
    ]
    return Insertion(event_id, tuple(images), json.dumps({"predictions": predictions}, ensure_ascii=False))


def read_questions(path: Path, root: Path) -> dict[str, Question]:
    """Annotation JSONL ({"id", "image", "conversations"}) → id → Question; relative image paths are under `root`."""
    return _keyed(path, "the annotation JSONL", lambda row, where: _question(row, where, root), lambda item: item.id)


def read_answers(path: Path) -> dict[str, str]:
    """Result JSONL ({"id", "result"}) → id → text; a result that is null is an empty answer."""
    return dict(_keyed(path, "the answer JSONL", parse_answer, lambda item: item[0]).values())


def write_answers(path: Path, questions: Mapping[str, Question], answers: Mapping[str, str]) -> None:
    """Answers in the paper's format: a blank line between blocks, ids as the questions' file writes them."""
    write_jsonl(
        path,
        (
            {"id": int(id) if questions[id].numbered else id, "result": with_blank_lines(answer)}
            for id, answer in answers.items()
        ),
    )


def with_blank_lines(text: str) -> str:
    """A text as the paper's result files have it: a blank line between plain lines."""
    return markdown.spaced(text)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line, UTF-8; the file is on the disk completely or not at all."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _relevance(image_map: dict[Any, Any], result: dict[Any, Any], where: str) -> Relevance:
    if odd := [key for key, path in image_map.items() if not isinstance(path, str)]:
        raise ConfigError(f"{where}: image_map names no image for {shown(repr(odd[0]))}; give its path")
    images = {str(key): image_id(path) for key, path in image_map.items()}
    relevance: dict[int, dict[str, int]] = {}
    for position, groups in result.items():
        match = POSITION.fullmatch(str(position).strip())
        if match is None or not isinstance(groups, dict):
            shape = "'<Position k>': {'1': [], '2': [], '3': []}"
            raise ConfigError(f"{where}: result contains {shown(f'{position!r}: {groups!r}')}; expected {shape}")
        if not int(match[1]):
            raise ConfigError(f"{where}: result contains {position!r}; positions count from 1: renumber them")
        fits = relevance.setdefault(int(match[1]), {})
        for grade, keys in sorted((str(grade), keys) for grade, keys in groups.items() if str(grade) in GRADES):
            if not isinstance(keys, list | tuple):
                raise ConfigError(
                    f"{where}: {position} grade {grade} contains {shown(repr(keys))}, not a list of label keys"
                )
            for key in map(str, keys):
                if key not in images:
                    raise ConfigError(
                        f"{where}: {position} names {shown(repr(key))}, which is not in image_map; add it or remove it"
                    )
                fits[images[key]] = int(grade)
    return relevance


def _keyed(path: Path, what: str, parse: Callable[[dict[str, Any], str], T], key: Callable[[T], str]) -> dict[str, T]:
    """The objects of a JSONL file or a JSON list by their keys, which must be unique."""
    require_file(path, what)
    items: dict[str, T] = {}
    for row in json_rows(path):
        where = f"{path} {row.where}"
        item = parse(json_row(row.read, where), where)
        if key(item) in items:
            raise ConfigError(f"{where}: id {key(item)} is repeated; keep one of its lines")
        items[key(item)] = item
    return items


def json_row(read: Callable[[], Any], where: str) -> dict[str, Any]:
    """The object that `read` gives of one line of a JSONL file. Raises ConfigError, which names the line as `where`."""
    try:
        row = read()
    except NotText as error:
        raise ConfigError(f"{where}: {error}") from None
    except BrokenJson as error:
        raise ConfigError(f"{where}: {error}; write one JSON object per line") from None
    if not isinstance(row, dict):
        raise ConfigError(f"{where}: contains {type(row).__name__}; write one JSON object per line")
    return row


def parse_captions(row: dict[str, Any], where: str) -> DocumentCaptions:
    """A line of a caption file: {"nid", "caption": {image: text}}, and `description` and `id` where it has them.

    Raises ConfigError, as the other parsers of lines.
    """
    document, sample = row.get("nid"), row.get("id", "")
    if isinstance(document, bool) or not isinstance(document, str | int) or not isinstance(sample, str | int):
        raise ConfigError(f"{where}: nid is {shown(repr(document))}; expected the id of a document")
    texts = [row.get("caption"), row.get("description") or {}]
    for texts_of in texts:
        if not isinstance(texts_of, dict) or not all(isinstance(text, str | None) for text in texts_of.values()):
            shape = '{"nid": "12", "caption": {"12/0.jpg": "the caption"}}'
            raise ConfigError(f"{where}: caption and description hold a text for each image; write {shape}")
    for names in (Counter(map(image_id, of)) for of in texts if of):
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ConfigError(f"{where}: two texts are of the image {shown(repeated[0])}; keep one of them")
    captions, descriptions = ({image_id(key): text or "" for key, text in of.items()} for of in texts if of is not None)
    return DocumentCaptions(str(document), captions, descriptions, str(sample))


def parse_insertion(row: dict[str, Any], where: str) -> Insertion:
    """A line of an insertion file."""
    event, images, result = row.get("event_id"), row.get("image_paths"), row.get("result")
    if isinstance(event, bool) or not isinstance(event, str | int):
        raise ConfigError(f"{where}: event_id is {event!r}; expected a string of digits")
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ConfigError(f"{where}: image_paths is not a list of strings such as '12/0.jpg'; fix the line")
    if result is not None and not isinstance(result, str):
        result = json.dumps(result, ensure_ascii=False)
    return Insertion(str(event), tuple(map(image_id, images)), result or "")


def parse_answer(row: dict[str, Any], where: str) -> tuple[str, str]:
    """A line of a result file: id and text."""
    id, result = row.get("id"), row.get("result", 0)
    if isinstance(id, bool) or not isinstance(id, str | int) or not isinstance(result, str | None):
        raise ConfigError(f'{where}: expected {{"id": …, "result": "the answer\'s text"}}; fix the line')
    return str(id), result or ""


def _question(row: dict[str, Any], where: str, root: Path) -> Question:
    id = row.get("id")
    try:
        turns, paths = read_turns(row), read_images(row)
    except SampleError as error:
        raise ConfigError(f"{where}: {error}; {TURNS}") from None
    if id is None or isinstance(id, bool) or [role for role, _ in turns] != ["user", "assistant"]:
        raise ConfigError(f"{where}: {TURNS}")
    asked, reference = (text for _, text in turns)
    if len(texts := asked.split(IMAGE_TAG)) != len(paths) + 1:
        raise ConfigError(f"{where}: {len(texts) - 1} <image> tags for {len(paths)} images; write one tag per image")
    prompt: list[str | Image] = [texts[0]]
    for path, text in zip(paths, texts[1:], strict=True):
        uri = path if "://" in path or Path(path).is_absolute() else str(root / path)
        prompt += [Image(image_id(path), uri), text]
    return Question(str(id), tuple(part for part in prompt if part), reference, type(id) is int)
