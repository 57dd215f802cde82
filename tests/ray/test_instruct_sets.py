"""The shipped configs of instructions, run to the end on small trees laid out as COCO and Objects365 are published."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.commands.cli import main
from imageref_ray.commands.instruct import instruct, instructions
from imageref_ray.core.config import ConfigError, InstructConfig, load
from imageref_ray.core.records import Instruction, Usage
from tests.loopback import serving_files

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
LLAVA, OKVQA, AOKVQA = "000000000009", "000000000025", "000000000030"
"""Images of COCO that the published sets have."""

BROKEN, OTHERS = "000000000285", ("000000000139", "000000000632")
OBJECTS = ("v1/patch0/objects365_v1_00000001.jpg", "v2/patch16/objects365_v2_00900001.jpg")


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.new("RGB", (64, 48), "red").save(path, "JPEG")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO, Objects365 and the annotations that name their images, as published, but for a broken image."""
    root = tmp_path_factory.mktemp("data")
    for name in (LLAVA, OKVQA, AOKVQA, *OTHERS):
        draw(root / "coco" / "train2017" / f"{name}.jpg")
    torn = (root / "coco" / "train2017" / f"{LLAVA}.jpg").read_bytes()[:-400]
    (root / "coco" / "train2017" / f"{BROKEN}.jpg").write_bytes(torn)
    (root / "coco" / "train2017" / f"._{LLAVA}.jpg").write_bytes(b"Mac OS X")
    listed = [{"id": int(name), "file_name": f"{name}.jpg"} for name in (LLAVA, *OTHERS)]
    write(root / "coco" / "annotations" / "instances_train2017.json", {"images": listed, "annotations": []})
    for name in OBJECTS:
        draw(root / "objects365" / "images" / name)
    turns = [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": "A cat."}]
    entry = {"id": LLAVA, "image": f"{LLAVA}.jpg", "conversations": turns}
    write(root / "llava" / "llava_instruct_150k.json", [entry, entry])
    for split, image in (("train", OKVQA), ("val", AOKVQA)):
        annotations = [{"image_id": int(image), "question_id": 1, "answers": []}]
        write(root / "okvqa" / f"mscoco_{split}2014_annotations.json", {"info": {}, "annotations": annotations})
        write(root / "aokvqa" / f"aokvqa_v1p0_{split}.json", [{"image_id": int(image), "question": "?"}])
    return root


Run = Callable[..., tuple[dict[str, Any], list[Instruction]]]


@pytest.fixture
def run(local_ray: None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a shipped config beside `data` to the end; its summary and its instructions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "data").symlink_to(data)
    engine = "engine={kind: scripted, model: none, script: 'tests.scripted:interviewer'}"

    def finished(name: str, *overrides: str, output: str = "run") -> tuple[dict[str, Any], list[Instruction]]:
        file, places = CONFIGS / f"{name}.yaml", [f"output={tmp_path / output}"]
        places.append(f"images.root={tmp_path / load(InstructConfig, file).images.root}")  # workers are elsewhere
        config = load(InstructConfig, file, [engine, *places, *overrides])
        return instruct(config, Console(file=io.StringIO())), list(instructions(tmp_path / output))

    return finished


def rows(summary: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(summary["files"][name]).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", ["coco", "objects365", "okvqa", "aokvqa"])
def test_a_dry_run_finds_all_that_a_shipped_config_reads(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(CONFIGS / f"instruct-{name}.yaml")
    bigger = ["--set", "engine.model=OpenGVLab/InternVL3-8B-hf"]
    assert main(["instruct", "--config", config, "--dry-run", *bigger]) == 1
    assert "MISSING" in capsys.readouterr().out
    (tmp_path / "data").symlink_to(data)
    assert main(["instruct", "--config", config, "--dry-run", *bigger]) == 0
    printed = capsys.readouterr().out
    assert "MISSING" not in printed and "model: OpenGVLab/InternVL3-8B-hf" in printed
    assert not (tmp_path / "runs").exists()


def test_coco_gives_corrected_instructions_about_images_that_llava_does_not_have(run: Run, data: Path) -> None:
    summary, items = run("instruct-coco")
    assert (summary["records"], summary["quarantined"], summary["problems"]) == (4, 1, {"BrokenImage": 1})
    assert {item.image.id for item in items} == {OKVQA, AOKVQA, *OTHERS}
    assert summary["instructions"]["by_task"] == {"conversation": 4, "detail": 4, "reasoning": 4}
    assert all(item.corrected == "A red boat. It lies here." and len(item.units) == 2 for item in items)
    (failure,) = store.failures(Path("run"))
    assert (failure.record_id, failure.stage) == (BROKEN, "verify")
    meta = json.loads(Path(summary["files"]["mixture"]).read_text(encoding="utf-8"))
    assert {name.split(".")[1] for name in meta} == {"vig", "vic"} and len(meta) == 6
    found = rows(summary, "reasoning.vic")
    assert [row["image"] for row in found] == [[f"{name}.jpg"] for name in sorted({OKVQA, AOKVQA, *OTHERS})]
    folder = Path(summary["files"]["mixture"]).parent
    assert all((folder / meta["reasoning.vic"]["root"] / row["image"][0]).is_file() for row in found)


def test_objects365_keeps_the_version_of_every_image(run: Run) -> None:
    summary, items = run("instruct-objects365")
    assert (summary["records"], summary["quarantined"]) == (2, 0)
    assert {item.image.id for item in items} == {"objects365_v1_00000001", "objects365_v2_00900001"}
    assert [row["image"] for row in rows(summary, "detail.vig")] == [[name] for name in OBJECTS]


def hold_weighted_answers(items: list[Instruction], task: str) -> None:
    assert {item.image.id for item in items} == {LLAVA, *OTHERS}
    for item in items:
        assert item.task == task and len(item.question.split()) == 2  # the drawn word, and what is added
        assert 1 <= len(item.candidates) <= 3 and item.corrected == item.candidates[0].text
        assert 0 < sum(answer.weight for answer in item.candidates) <= 500


def test_aokvqa_gives_weighted_answers(run: Run) -> None:
    summary, items = run("instruct-aokvqa")
    assert summary["records"] == 3 and summary["problems"] == {"BrokenImage": 1}
    hold_weighted_answers(items, "a_okvqa")


def test_okvqa_in_one_command_or_in_two(run: Run) -> None:
    summary, items = run("instruct-okvqa")
    hold_weighted_answers(items, "okvqa")
    asked, questions = run("instruct-okvqa", "stages=[ask]", output="asked")
    assert list(asked["files"]) == ["instructions"] and not any(item.candidates for item in questions)
    file = f"question_file={asked['files']['instructions']}"
    answered, again = run("instruct-okvqa", "stages=[answer]", file, output="answered")
    assert {replace(item, usage=Usage()) for item in again} == {replace(item, usage=Usage()) for item in items}
    assert all(rows(answered, kind) == rows(summary, kind) for kind in ("okvqa.vig", "okvqa.vic"))
    assert asked["requests"] + answered["requests"] == summary["requests"]


def test_questions_of_others_are_answered(run: Run, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [
        {"image": f"{LLAVA}.jpg", "question": "What is it?"},
        {"image_id": 139, "question": "Who made it?"},
        {"image_id": int(BROKEN), "question": "Why?"},
        {"image_id": int(OKVQA), "question": "Where?"},
    ]
    write(tmp_path / "questions.json", asked)
    summary, items = run("instruct-okvqa", "stages=[answer]", "question_file=questions.json")
    assert {item.id: item.question for item in items} == {
        f"{LLAVA}:okvqa:0": "What is it?",
        "000000000139:okvqa:0": "Who made it?",
    }
    assert all(item.candidates for item in items)
    problems = {failure.record_id: failure.error for failure in store.failures(Path("run"))}
    assert problems == {BROKEN: "BrokenImage", "questions.json[3]": "UnknownImage"}
    assert [len(rows(summary, f"okvqa.{use}")) for use in ("vig", "vic")] == [2, 2]
    asked[0]["question"] = "What else is it?"
    write(tmp_path / "questions.json", asked)
    with pytest.raises(ConfigError, match="question_file"):
        run("instruct-okvqa", "stages=[answer]", "question_file=questions.json")


def test_images_behind_addresses_are_in_the_training_set(run: Run, data: Path, tmp_path: Path) -> None:
    with serving_files(data / "coco" / "train2017") as url:
        names = [f"{url}/{OTHERS[0]}.jpg", f"{url}/gone.jpg", f"{url}/{LLAVA}.jpg"]
        lines = [json.dumps({"image": name}) for name in names]
        (tmp_path / "images.jsonl").write_text("\n".join(lines), encoding="utf-8")
        places = [f"images.root={tmp_path / 'images.jsonl'}", "images.kind=manifest"]
        summary, items = run("instruct-coco", *places, "images.fetch={allow_hosts: [127.0.0.1], attempts: 1}")
    assert (summary["records"], summary["problems"]) == (1, {"MissingImage": 1})  # one is LLaVA's
    assert {(item.image.id, item.image.origin) for item in items} == {(names[0], names[0])}
    meta = json.loads(Path(summary["files"]["mixture"]).read_text(encoding="utf-8"))["detail.vic"]
    (row,) = rows(summary, "detail.vic")
    stored = (Path(summary["files"]["mixture"]).parent / meta["root"] / row["image"][0]).resolve()
    assert stored.is_relative_to(tmp_path / "run" / "images")
    assert stored.read_bytes() == (data / "coco" / "train2017" / f"{OTHERS[0]}.jpg").read_bytes()
