"""No file of any kind ends in a traceback: every reader is fed files that were cut, flipped, re-encoded and nested.

Seeded, so that a failure comes again: its message names the reader and the number of the damage.
"""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL.PngImagePlugin import PngInfo

from imageref_ray import engines, sources
from imageref_ray.batch import manifest
from imageref_ray.commands.annotation.example_files import caption_examples, place_examples
from imageref_ray.commands.annotation.input_files import open_inputs
from imageref_ray.core import images, tiles
from imageref_ray.core.config import (
    BuildConfig,
    ConfigError,
    ExamplesConfig,
    InputsConfig,
    MixtureEntry,
    SourceConfig,
    TrainConfig,
    load,
)
from imageref_ray.core.config import check as checked
from imageref_ray.core.files import read_csv
from imageref_ray.core.images import Problem
from imageref_ray.core.json_files import BrokenJson, json_rows
from imageref_ray.core.records import Document, Image, Record, Sample
from imageref_ray.dataset import mixture, paper_formats
from imageref_ray.dataset.check import check
from imageref_ray.dataset.public_benchmarks import export_answers, import_test_set
from imageref_ray.evaluation import events
from imageref_ray.evaluation.judge_inputs import Answers, Inputs, read_ratings
from imageref_ray.serving.local import read_serve_config
from imageref_ray.sources import image_sets, paper_choice, question_files, svg, vqa_sets
from imageref_ray.sources.prepare_images import prepare_images
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts.instruct import load_instruct
from imageref_ray.stages.prompts.rubric import load_rubric
from tests.unit.pdf_files import Shown, Word, pdf

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


def picture() -> bytes:
    """A small PNG with a text."""
    info = PngInfo()
    info.add_text("prompt", "x" * 40)
    file = io.BytesIO()
    PIL.Image.new("RGB", (5, 4), "red").save(file, "PNG", pnginfo=info)
    return file.getvalue()


def decoded(path: Path) -> object:
    found = images.decode(Image("a", str(path)), 10**6, 10**6)
    return found[:2] if isinstance(found, images.Problem) else found[:1]


def pages(path: Path) -> object:
    return list(sources.read(checked(SourceConfig, {"kind": "folder", "root": path.parent}, "")))


def docling(path: Path) -> object:
    return list(sources.read(checked(SourceConfig, {"kind": "folder", "root": path.parent, "pages": ["*.json"]}, "")))


def interleaved(path: Path) -> object:
    source = checked(SourceConfig, {"kind": "folder", "root": path.parent, "pages": ["file.parquet"]}, "")
    items = list(sources.read(source))
    return [prepare_images(item.sample, source, path.parent / "run") for item in items if isinstance(item, Record)]


def drawn_svg(path: Path) -> object:
    """What of a drawing is checked here; the process that draws it fails on its own (`test_prepare_images.py`)."""
    read = svg.readable(path.read_bytes())
    return read if isinstance(read, Problem) else b""


def examples(stage: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        (path.parent / "a.png").write_bytes(picture())
        config = ExamplesConfig(file=path, count=1)
        source = checked(SourceConfig, {"kind": "samples", "root": path.parent, "files": ["none.jsonl"]}, "")
        if stage == "place":
            return place_examples(config, source, PACK, None)
        return caption_examples(config, source, PACK, path.parent)

    return read


def checkpoint(path: Path) -> None:
    path.replace(path.parent / "config.json")
    engines.check(checked(BuildConfig, {**BUILD, "engine": {"model": str(path.parent)}}, "").engine)


def ratings(path: Path) -> object:
    return read_ratings(path, Inputs({}, {"a": Answers({}, 0), "b": Answers({}, 0)}, load_rubric("single")))


def run_folder(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        path.replace(path.parent / name)
        return manifest.summary(path.parent), name == "fingerprint.json" and manifest.job_and_config(path.parent)

    return read


def exported(path: Path) -> object:
    return export_answers("rag-igbench", path, {"1": "x"}, path.parent / "out.jsonl")


PACK = prompts.load_pack("default-en")
SHIPPED = Path(prompts.__file__).parent
BUILD = {"source": {"kind": "samples", "root": "x", "files": ["ä.jsonl"]}, "output": "o", "engine": {"model": "m"}}
SERVE = {"http_options": {"port": 1}, "applications": [{"name": "ö", "import_path": "a:b", "args": {"model": "m"}}]}
MARKDOWN = "---\ntitle: Tö 😀\n---\n# A\nText ![alt](a.png)\n\n```\ncode\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n"
HTML = '<!doctype html><html><head><meta charset="utf-8"><title>Tö</title></head><body><p>x<img srcset="a.png 2x"></p>'
RST = """Tö 😀
====

.. figure:: a.png
   :alt: x

   The pier

.. note:: :kbd:`a` |b|

.. |b| replace:: c

::

   code
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="4cm" viewBox="0 0 40 20"><text x="1" y="9">ö</text></svg>'
NOTE = {"kind": "description", "text": "boats"}
DOCLING = {
    "schema_name": "DoclingDocument",
    "name": "n",
    "body": {
        "self_ref": "#/body",
        "children": [{"$ref": f"#/{name}/0"} for name in ("texts", "tables", "pictures", "groups")],
    },
    "groups": [{"self_ref": "#/groups/0", "label": "ordered_list", "children": [{"$ref": "#/texts/1"}]}],
    "texts": [
        {"self_ref": "#/texts/0", "label": "title", "text": "Tö", "level": 1},
        {"self_ref": "#/texts/1", "label": "list_item", "text": "one", "enumerated": True},
        {"self_ref": "#/texts/2", "label": "caption", "text": "The pier"},
    ],
    "tables": [{"self_ref": "#/tables/0", "data": {"grid": [[{"text": "a"}, {"text": "b"}]]}, "captions": []}],
    "pictures": [
        {
            "self_ref": "#/pictures/0",
            "image": {"uri": "a.png"},
            "annotations": [NOTE],
            "captions": [{"$ref": "#/texts/2"}],
        }
    ],
}
INTERLEAVED = [
    {"sample_id": "s", "position": 0, "modality": "text", "text_content": "# Tö", "binary_content": None},
    {"sample_id": "s", "position": 1, "modality": "image", "text_content": None, "binary_content": picture()},
    {"sample_id": "s", "position": 2, "modality": "image", "source_ref": '{"path": "a.tar", "member": "a.png"}'},
]
CAPTION_EXAMPLE = {"document": {**DOCUMENT, "images": ["a.png"]}, "description": "ö", "caption": "c"}
PLACED = {"position": "<Position 1>", "image": "IMAGE_1", "analysis": "ö", "explanation": "x"}
PLACE_EXAMPLE = {"response": "# T\nText.", "caption_str": ["ö"], "result": {"predictions": [PLACED]}}
TILES = {"max_tiles": 2, "share_tiles": True, "max_tiles_by_set": {"ä": 2}}
FINGERPRINT = {"fingerprint": "f", "settings": {"job": "build"}, "config": {"output": "ö"}}


def pack(name: str) -> Any:
    return yaml.safe_load((SHIPPED / name).read_text(encoding="utf-8"))


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
    "image list": (lambda path: list(image_sets.read("manifest", path)), [{"image": "ä.png", "id": "x"}] * 2, ".jsonl"),
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
    "flat lines": (lambda path: list(vqa_sets.read_flat(path, path.parent, "t")), [QUESTION, CHOICES], ".jsonl"),
    "config": (lambda path: load(BuildConfig, path), BUILD, ".yaml"),
    "serve config": (read_serve_config, SERVE, ".yaml"),
    "prompt pack": (lambda path: prompts.load_pack(str(path)), pack("compact.yaml"), ".yaml"),
    "instruct pack": (lambda path: load_instruct(str(path)), pack("instruct-compact.yaml"), ".yaml"),
    "rubric": (lambda path: load_rubric(str(path)), pack("judge-single.yaml"), ".yaml"),
    "caption examples": (examples("caption"), [CAPTION_EXAMPLE], ".json"),
    "place examples": (examples("place"), [PLACE_EXAMPLE], ".json"),
    "checkpoint": (checkpoint, {"architectures": ["InternVLForConditionalGeneration"]}, ".json"),
    "tiles": (tiles.read, TILES, ".json"),
    "ratings": (ratings, "id,system,rating\n1,a,5\n2,b,\n", ".csv"),
    "fingerprint": (run_folder("fingerprint.json"), FINGERPRINT, ".json"),
    "manifest": (run_folder("manifest.json"), {"summary": {"records": 1, "files": {"a": "ö"}}}, ".json"),
    "Markdown page": (pages, MARKDOWN, ".md"),
    "HTML page": (pages, HTML, ".html"),
    "reStructuredText page": (pages, RST, ".rst"),
    "PDF": (
        pages,
        pdf([[Word("Harbour", 50, 500, 20), Word("Boats.", 50, 470), Shown("red", (50, 200, 200, 100))]]),
        ".pdf",
    ),
    "interleaved Parquet": (interleaved, INTERLEAVED, ".parquet"),
    "Docling's JSON": (docling, DOCLING, ".json"),
    "SVG drawing": (drawn_svg, SVG, ".svg"),
    "picture": (decoded, picture(), ".png"),
    "benchmark answers": (exported, [IGBENCH], ".jsonl"),
    "benchmark": (lambda path: import_test_set("rag-igbench", path, path.parent, path.parent), [IGBENCH], ".jsonl"),
}


TEXTUAL = {".json", ".jsonl", ".csv", ".txt", ".yaml"}
"""Files whose encoding their byte order mark names; that of a page has rules of its own, and a picture has none."""


def written(value: Any, suffix: str, folder: Path) -> bytes:
    if isinstance(value, str | bytes):
        return value if isinstance(value, bytes) else value.encode()
    if suffix == ".yaml":
        return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")
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
    if isinstance(value, str | bytes) or suffix == ".parquet":
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
    read_anything = list[int]()
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
@pytest.mark.parametrize(
    "name", [name for name, (read, _, suffix) in READERS.items() if suffix in TEXTUAL and read is not docling]
)
def test_every_reader_reads_the_same_in_every_encoding(name: str, encoding: str, tmp_path: Path) -> None:
    read, good, suffix = READERS[name]
    text = written(good, suffix, tmp_path).decode()
    path = tmp_path / f"file{suffix}"
    results = []
    for codec in ("utf-8", encoding):
        path.write_bytes(text.encode(codec))
        results.append(read(path))
    assert results[0] == results[1]
