"""No file of any kind ends in a traceback: every reader is fed files that were cut, flipped, re-encoded and nested.

Seeded, so that a failure comes again: its message names the reader and the number of the damage.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imageref_ray import sources
from imageref_ray.commands.annotation.input_files import open_inputs
from imageref_ray.core.config import ConfigError, InputsConfig, MixtureEntry, SourceConfig, TrainConfig
from imageref_ray.core.config import check as checked
from imageref_ray.core.files import read_csv
from imageref_ray.core.json_files import BrokenJson, json_rows
from imageref_ray.core.records import Document, Image, Record, Sample
from imageref_ray.dataset import mixture, paper_formats
from imageref_ray.dataset.check import check
from imageref_ray.dataset.public_benchmarks import import_test_set
from imageref_ray.evaluation import events
from imageref_ray.sources import image_sets, paper_choice, question_files, vqa_sets

TURNS = [{"from": "human", "value": "<image>\nWas ist «das»?"}, {"from": "gpt", "value": "Zwei Böte 😀."}]
ANNOTATION = {"id": 1, "image": "a.png", "conversations": TURNS}
PARTS = {"id": "2", "image": ["a.png"], "conversations": [TURNS[0], {"from": "gpt", "value": [{"type": "text"}]}]}
ALTERNATIVES = {"human": ["<image> A"], "gpt": "<answer>", "answers": ["x"], "weights": [1.5]}
DOCUMENT = {"id": "d", "title": "Tö", "text": "One [Image 0]", "url": "u", "images": ["a.png", {"uri": "b.png"}]}
SAMPLE = {"id": "s", "instruction": "Erzähl", "category": "c", "response": "# T\nText.", "documents": [DOCUMENT]}
EVENT = {"paasEventID": "7", "title": "T", "summary": "S", "attrs": '{"category": "x"}', "sources": [{"newsID": "n"}]}
ARTICLE = {"title": "Tö", "article_text": "Text [Image 0]", "url": "u", "image_info": [{}]}
QUESTION = {"image_id": 9, "question_id": 91, "question": "Wärum?", "task": "okvqa", "answer": ["so"] * 10}
CHOICES = {"image": "9.jpg", "question": "Q", "direct_answers": ["a"], "choices": ["a", "b"], "correct_choice_idx": 1}
RELEASE = {"id": "s", "result": "# Tö\nText."}
CAPTIONS = {"nid": "d", "caption": {"d/a.png": "Tö"}, "description": {"d/a.png": "x"}}
INSERTION = {"event_id": "s", "image_paths": ["d/a.png"], "result": {"predictions": []}}
LABELS = "paasEventID,image_map,result\n17,\"{'k': '5/0.jpg'}\",\"{'<Position 1>': {'3': ['k']}}\"\n18,{},{}\n"
ROW = {"id": "i", "mode": "free", "values": {"f1": 0.5}, "images": [{"id": "a", "uri": "b"}], "slots": []}
IGBENCH = {"id": "1", "query": "Q", "documents": ["D"], "images": [["u"]], "gt_answer": "Tö ![x](IMG#1)"}
RECORD = Record(Sample("s", "I", (Document("d", "T", "t", (Image("d/a.png", "a.png"),)),)), "# T\nx")

ODD = [None, True, -1, 2.5, "", "x\ud83d", "a\0b", "../x", [], {}, [None], {"a": 1}, [[1]], 10**30, "x" * 5000]


def samples(path: Path) -> object:
    return list(sources.read(checked(SourceConfig, {"kind": "samples", "root": path.parent, "files": [path.name]}, "")))


def paper_events(path: Path) -> object:
    return list(sources.read(checked(SourceConfig, {"kind": "paper", "root": path.parent, "events": path.name}, "")))


def articles(path: Path) -> object:
    folder = path.parent / "news"
    folder.mkdir(exist_ok=True)
    path.replace(folder / "n.json")
    path.write_text(json.dumps(EVENT), encoding="utf-8")
    return paper_events(path)


def inputs(setting: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        opened = open_inputs(InputsConfig.model_validate({setting: path}))
        return opened.find(RECORD), list(opened.watch([RECORD]))

    return read


def drawn(path: Path) -> object:
    conversations, skipped = mixture.draw({"a": MixtureEntry(annotation=path, repeat_time=2)}, 1, seed=0)
    assert all(isinstance(reason, str) for _, reason in skipped)
    return [mixture.draw_again(one, "1") for one in conversations]


def meta(path: Path) -> object:
    config = TrainConfig(model="m", output=path.parent / "out", mixture=path)
    return mixture.entries(config), mixture.unused_keys(config)


def run_events(path: Path) -> object:
    path.replace(path.parent / events.FILE)
    return events.read(path.parent)


def rows(path: Path) -> object:
    found = []
    for row in json_rows(path):
        try:
            found.append(row.read())
        except BrokenJson as error:
            found.append(str(error))
    return found


def asked(path: Path) -> object:
    return question_files.read(path, [Image("000000000009", "9.jpg")], ("okvqa",), lambda task: task)


ANNOTATIONS = [ANNOTATION, PARTS, {**ANNOTATION, "id": 3, "alternatives": ALTERNATIVES}]

Reader = tuple[Callable[[Path], object], Any, str]
"""What reads, what a good file holds, its suffix; a list is JSONL where its suffix says so."""

READERS: dict[str, Reader] = {
    "rows": (rows, ANNOTATIONS, ".jsonl"),
    "samples": (samples, [SAMPLE, {**SAMPLE, "id": "t"}], ".jsonl"),
    "samples as a list": (samples, json.dumps([SAMPLE, SAMPLE], indent=1), ".jsonl"),
    "samples in parquet": (samples, [SAMPLE | {"documents": [{**DOCUMENT, "images": ["a.png"]}]}] * 3, ".parquet"),
    "events": (paper_events, [EVENT, {**EVENT, "paasEventID": 8}], ".jsonl"),
    "articles": (articles, ARTICLE, ".json"),
    "manifest": (lambda path: list(image_sets.read("manifest", path)), [{"image": "ä.png", "id": "x"}] * 2, ".jsonl"),
    "excluded images": (image_sets.read_exclusions, {"images": [{"file_name": "9.jpg", "id": 9}]}, ".json"),
    "excluded ids": (image_sets.read_exclusions, "9\nä.jpg\n", ".txt"),
    "excluded documents": (paper_choice.read_exclusions, ["n1", 2], ".json"),
    "llava": (lambda path: list(vqa_sets.read_llava(path, path.parent, "t")), ANNOTATIONS[:1], ".json"),
    "flat": (lambda path: list(vqa_sets.read_flat(path, path.parent, "t")), [QUESTION, CHOICES], ".json"),
    "official": (
        lambda path: list(vqa_sets.read_official(path, path, path.parent, "t", "{}.jpg")),
        {"questions": [QUESTION], "annotations": [{"question_id": 91, "answers": [{"answer": "a", "answer_id": 1}]}]},
        ".json",
    ),
    "questions": (asked, [QUESTION, {**QUESTION, "image": {"id": "9"}}], ".jsonl"),
    "published questions": (asked, {"questions": [QUESTION]}, ".json"),
    "labels": (paper_formats.read_labels, LABELS, ".csv"),
    "csv": (read_csv, 'id,rating\n1,"a,""b""\nc"\n2,ö\n', ".csv"),
    "insertions": (paper_formats.read_insertions, [INSERTION], ".jsonl"),
    "annotation": (lambda path: paper_formats.read_questions(path, path.parent), ANNOTATIONS[:1], ".jsonl"),
    "answers": (paper_formats.read_answers, [RELEASE, {"id": 5, "result": None}], ".jsonl"),
    "inputs.responses": (inputs("responses"), [RELEASE, {"id": 5, "result": "x"}], ".jsonl"),
    "inputs.captions": (inputs("captions"), [CAPTIONS, {**CAPTIONS, "id": "s"}], ".jsonl"),
    "inputs.insertions": (inputs("insertions"), json.dumps([INSERTION, {**INSERTION, "event_id": 2}]), ".jsonl"),
    "check": (check, ANNOTATIONS, ".jsonl"),
    "check of a list": (check, ANNOTATIONS, ".json"),
    "check of parquet": (check, [ANNOTATION] * 3, ".parquet"),
    "training": (drawn, ANNOTATIONS, ".jsonl"),
    "training on a list": (drawn, ANNOTATIONS, ".json"),
    "mixture": (meta, {"a": {"annotation": __file__, "repeat_time": 1, "root": "/", "more": 1}}, ".json"),
    "evaluation": (run_events, [ROW], ".jsonl"),
    "benchmark": (lambda path: import_test_set("rag-igbench", path, path.parent, path.parent), [IGBENCH], ".jsonl"),
}


def written(value: Any, suffix: str, folder: Path) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(value), folder / "good.parquet")
        return (folder / "good.parquet").read_bytes()
    if suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii="\\ud83d" in json.dumps(row)) + "\n" for row in value).encode()
    return json.dumps(value, indent=2).encode()


def places(value: Any) -> Iterable[tuple[Any, Any]]:
    """Every (dict or list, key) in a value."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def with_odd_value(value: Any, suffix: str, draw: random.Random) -> Any:
    """The same with one value somewhere replaced by another kind of value, or left out."""
    if isinstance(value, str) or suffix == ".parquet":
        return value
    changed = copy.deepcopy(value)
    holder, key = draw.choice(list(places(changed)))
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(ODD)
    return changed


def damaged(data: bytes, draw: random.Random) -> bytes:
    at, kind = draw.randrange(len(data) + 1), draw.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return b"".join(bytes([byte ^ (draw.random() < 0.01) << draw.randrange(8)]) for byte in data)
    if kind == 2:
        text = data.decode("utf-8", "replace").replace("\ufffd", "?")
        encoding = draw.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "cp1252"])
        return text.encode(encoding, "replace")[: draw.choice([None, at])]
    if kind == 3:
        return data[:at] + draw.choice([b"[", b'{"a":', b"{'a':("]) * draw.choice([3, 200, 20_000]) + data[at:]
    odd = [b"\0", b"\r", b"\n", b'"', b"\\", b"\\ud83d", b"\xff", b"\xef\xbb\xbf", b",", b"NaN", b"9" * 5000]
    return data[:at] + draw.choice(odd) + data[at + draw.randrange(3) :] if kind == 4 else data


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_told_and_never_a_traceback(name: str, tmp_path: Path) -> None:
    read, good, suffix = READERS[name]
    read_anything = [0]
    for number in range(60):
        draw = random.Random(f"{name} {number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        value = with_odd_value(good, suffix, draw) if number % 2 else good
        data = written(value, suffix, folder)
        path = folder / f"file{suffix}"
        path.write_bytes(damaged(data, draw) if number and draw.random() < 0.7 else data)
        try:
            read(path)
            read_anything.append(number)
        except ConfigError as error:
            assert str(error), f"{name}, damage {number}"
        except Exception as error:
            raise AssertionError(f"{name}, damage {number}: {type(error).__name__}") from error
    assert 0 in read_anything


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", [name for name, (_, _, suffix) in READERS.items() if suffix != ".parquet"])
def test_every_reader_reads_the_same_in_every_encoding(name: str, encoding: str, tmp_path: Path) -> None:
    read, good, suffix = READERS[name]
    text = written(good, suffix, tmp_path).decode()
    path = tmp_path / f"file{suffix}"
    results = []
    for codec in ("utf-8", encoding):
        path.write_bytes(text.encode(codec))
        results.append(read(path))
    assert results[0] == results[1]
