"""The work on one image of `imageref instruct`: where images come from, and answers to questions asked before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import engines
from imageref_ray.commands.instruct_work import annotate, prepare, to_work
from imageref_ray.core.config import ConfigError, ImagesConfig, InstructConfig, check
from imageref_ray.core.records import Failure, Image, Instruction, from_row
from imageref_ray.engines.base import Reply, Request
from imageref_ray.sources import image_sets
from imageref_ray.stages.prompts.instruct import load_instruct
from tests.loopback import serving_files

HERE = "127.0.0.1"
ENGINE = {"kind": "scripted", "script": "tests.scripted:interviewer"}


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with an image and a text."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "red.png").write_bytes(png("red"))
    (tmp_path / "web" / "text.png").write_text("no image")
    with serving_files(tmp_path / "web") as url:
        yield url


def images_config(**settings: Any) -> ImagesConfig:
    return check(ImagesConfig, settings, "test")


def prepared(config: ImagesConfig, folder: Path) -> tuple[list[Image], list[Failure]]:
    """The images of a config after the CPU step, and what it reports."""
    images, failures = list[Image](), list[Failure]()
    for item in image_sets.read(config.kind, config.root, fetching=config.fetch):
        assert isinstance(item, Image)
        row, problems = prepare(to_work(item), config, folder)
        failures += problems
        images += [] if problems else [from_row(Image, row["image"])]
    return images, failures


def test_what_a_manifest_names_is_fetched_as_a_builds_images_are(web: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "own.png").write_bytes(png("blue"))
    (tmp_path / "outside.png").write_bytes(png("green"))
    names = [
        f"{web}/red.png",
        "own.png",
        "../outside.png",
        f"{web}/text.png",
        f"{web}/gone.png",
        "http://10.0.0.1/x.png",
    ]
    lines = [json.dumps({"image": name, "id": f"i{k}"}) for k, name in enumerate(names)]
    (tmp_path / "set" / "m.jsonl").write_text("\n".join(lines))
    config = images_config(
        kind="manifest", root=tmp_path / "set" / "m.jsonl", fetch={"allow_hosts": [HERE], "attempts": 1}
    )
    (red, own), failures = prepared(config, tmp_path / "images")
    assert (red.id, red.origin, red.width) == ("i0", f"{web}/red.png", 8)
    assert Path(red.uri).is_relative_to(tmp_path / "images") and Path(red.uri).read_bytes() == png("red")
    assert (own.id, own.uri, own.origin) == ("i1", str(tmp_path / "set" / "own.png"), "")
    assert [(f.record_id, f.stage, f.error) for f in failures] == [
        ("i2", "fetch", "ForbiddenAddress"),
        ("i3", "fetch", "NotAnImage"),
        ("i4", "fetch", "MissingImage"),
        ("i5", "fetch", "ForbiddenAddress"),
    ]
    assert "add its folder to fetch.allow_roots" in failures[0].message
    assert "add the host to fetch.allow_hosts" in failures[3].message


def test_a_folder_may_link_to_where_its_images_lie(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "000000000009.jpg").write_bytes(png("red"))
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "train2017").symlink_to(tmp_path / "disk")
    (image,), failures = prepared(images_config(kind="coco", root=tmp_path / "coco"), tmp_path / "images")
    assert (image.id, image.width, image.uri) == ("000000000009", 8, str(tmp_path / "coco/train2017/000000000009.jpg"))
    assert not failures and not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "manifest", "root": "s3://b/m.jsonl"}, "a manifest is a file, but root is s3://b/m.jsonl"),
        ({"root": "https://a.example/b"}, "root: https://a.example/b is not a folder, s3://bucket/prefix or gs://"),
        ({"root": "x", "exclude": ["a.json", "s3://b/x"]}, "exclude: s3://b/x is an address, but only paths"),
    ],
)
def test_a_root_that_cannot_be_read_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        images_config(**settings)


def test_one_or_several_lists_exclude() -> None:
    assert images_config(root="x").exclude == images_config(root="x", exclude=None).exclude == ()
    assert images_config(root="x", exclude="a.txt").exclude == (Path("a.txt"),)
    assert images_config(root="x", exclude=["a.txt", "b.json"]).exclude == (Path("a.txt"), Path("b.json"))


def instruct_config(**settings: Any) -> InstructConfig:
    return check(InstructConfig, {"images": {"root": "x"}, "output": "run", "engine": ENGINE, **settings}, "test")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stages": ["answer"]}, "stages has no ask; set question_file"),
        ({"question_file": "q.json"}, "question_file is given, but stages has ask"),
        (
            {"stages": ["answer"], "question_file": "q.json", "correct": None, "tasks": ["okvqa", "detail"]},
            "questions of detail get no answer; set correct",
        ),
        ({"generate": {"min_tokens": 9, "max_tokens": 8}}, "generate: min_tokens is 9, more than max_tokens, 8"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        instruct_config(**settings)


async def instructions(asked: list[Request], image: Image, **settings: Any) -> list[Instruction]:
    """What the interviewer makes of an image; `questions` are those that were asked before."""
    engine = engines.make(instruct_config().engine)
    questions = settings.pop("asked_before", None)

    async def generate(request: Request) -> Reply:
        asked.append(request)
        return await engine.generate(request)

    config = instruct_config(**settings)
    row = await annotate(to_work(image, questions), generate, config, load_instruct(config.prompts))
    return [from_row(Instruction, item) for item in row["instructions"]]


def said(request: Request) -> tuple[Any, ...]:
    return request.messages, request.prefix, request.sampling, request.n


@pytest.mark.parametrize("prompts", ["en", "zh"])
async def test_questions_answered_later_have_the_answers_of_one_go(prompts: str) -> None:
    image = Image("000000000009", "9.jpg", "aa")
    sampling = {"temperature": 1.0, "min_tokens": 10, "max_tokens": 200}
    common: dict[str, Any] = {"prompts": prompts, "tasks": ["okvqa", "conversation"], "questions": 2}
    common |= {"generate": sampling, "answer": {"temperature": 0.7}}
    whole, first, second = list[Request](), list[Request](), list[Request]()
    at_once = await instructions(whole, image, **common)
    asked = await instructions(first, image, stages=["ask"], **common)
    assert all(item.question and not item.candidates and not item.corrected for item in asked)
    common |= {"stages": ["answer"], "question_file": "q.jsonl"}
    answered = await instructions(second, image, asked_before=asked, **common)
    assert answered == at_once
    assert sorted(map(repr, map(said, [*first, *second]))) == sorted(map(repr, map(said, whole)))
    knowledge = [item for item in at_once if item.task == "okvqa"]
    assert len({item.candidates for item in knowledge}) == 2  # every question has a seed of its own
    story = "一条红船。停在码头。" if prompts == "zh" else "A red boat. It lies here."
    corrected = [item for item in at_once if item.task == "conversation"]
    assert [(len(item.units), item.corrected) for item in corrected] == [(2, story)] * 2
    openings = [request for request in whole if request.sampling.min_tokens == 10 and request.prefix]
    assert len(openings) == 2 and all(request.prefix.startswith(("Question: ", "问题：")) for request in openings)
    shorts = [request.sampling for request in whole if request.n == 5]
    assert {(s.temperature, s.min_tokens, s.max_tokens) for s in shorts} == {(1.0, 1, 10)}
