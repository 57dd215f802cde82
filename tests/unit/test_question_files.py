"""Questions written earlier: every shape is read, every entry that cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Image, Instruction, Usage, to_row
from imageref_ray.sources import question_files

CAT, DOG = Image("000000000009", "/coco/000000000009.jpg"), Image("000000000025", "/coco/000000000025.jpg")
IMAGES = [CAT, DOG]


def read(path: Path, tasks: tuple[str, ...] = ("okvqa",)) -> tuple[dict[str, list[Instruction]], list[Failure]]:
    return question_files.read(path, IMAGES, tasks, lambda task: f"Ask for {task}.")


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_list_names_images_in_any_way(tmp_path: Path) -> None:
    entries = [
        {"image": "train2014/COCO_train2014_000000000025.jpg", "question": " What is it? "},
        {"image_id": 9, "question_id": 91, "question": "Why?"},
        {"image_path": "000000000025.jpg", "question": "How?"},
    ]
    found, failures = read(write(tmp_path / "q.json", entries))
    assert not failures and list(found) == [DOG.id, CAT.id]
    assert found[DOG.id] == [
        Instruction("000000000025:okvqa:0", DOG, "okvqa", "Ask for okvqa.", "What is it?"),
        Instruction("000000000025:okvqa:1", DOG, "okvqa", "Ask for okvqa.", "How?"),
    ]
    assert found[CAT.id] == [Instruction("91", CAT, "okvqa", "Ask for okvqa.", "Why?")]
    published = write(tmp_path / "p.json", {"info": {}, "questions": entries})
    assert read(published)[0] == found


def test_instructions_of_a_run_come_back_without_their_answers(tmp_path: Path) -> None:
    asked = Instruction("9:detail:0", CAT, "detail", "Tell.", "What?", "A cat.", problem="")
    unusable = Instruction("9:detail:1", CAT, "detail", "Tell.", draft=" hm ", problem="no question")
    answered = Instruction("9:okvqa:0", CAT, "okvqa", "Ask.", "Why?", "So.", answer="So.", usage=Usage(1, 2))
    lines = [json.dumps(to_row(item)) for item in (asked, unusable, answered)]
    found, failures = read(write(tmp_path / "i.jsonl", "\n".join(lines) + "\n"), ("detail", "okvqa"))
    assert not failures
    assert found == {CAT.id: [asked, unusable, Instruction("9:okvqa:0", CAT, "okvqa", "Ask.", "Why?", "So.")]}


def test_a_file_of_one_line_is_read(tmp_path: Path) -> None:
    found, _ = read(write(tmp_path / "one.jsonl", {"image": "9", "question": "Why?"}))
    assert [item.question for item in found[CAT.id]] == ["Why?"]


def test_repeated_ids_are_kept_under_ids_of_their_own(tmp_path: Path) -> None:
    entries = [{"id": "a", "image_id": 9, "question": text} for text in ("Why?", "How?", "When?")]
    entries.insert(0, {"id": "a:2", "image_id": 9, "question": "Who?"})
    found, failures = read(write(tmp_path / "q.json", entries))
    assert [item.id for item in found[CAT.id]] == ["a:2", "a", "a:3", "a:4"] and not failures


@pytest.mark.parametrize(
    ("entry", "error", "says"),
    [
        ({"question": "Why?"}, "MissingKey", "none of the keys image, image_path, image_id names an image"),
        ({"image": True, "question": "Why?"}, "MissingKey", "names an image"),
        ({"image": {"uri": "x"}, "question": "Why?"}, "MissingKey", "names an image"),
        ({"image": "9", "question": " "}, "MissingKey", "key question is missing or empty"),
        ({"image": "7", "question": "Why?"}, "UnknownImage", "image 7 is not among the images; check images.root"),
        ({"image": "9", "question": "Why?", "task": "detail"}, "OtherTask", "task detail is not among tasks: okvqa"),
        ("Why?", "BrokenEntry", "expected a JSON object, found str"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(entry: Any, error: str, says: str, tmp_path: Path) -> None:
    good = {"image": "9", "question": "Why?"}
    found, failures = read(write(tmp_path / "q.json", [good, entry]))
    assert len(found[CAT.id]) == 1
    assert [(f.record_id, f.error) for f in failures] == [("q.json[1]", error)]
    assert failures[0].message.startswith("q.json[1]: ") and says in failures[0].message


def test_a_broken_line_costs_itself(tmp_path: Path) -> None:
    lines = ['{"image": "9", "question": "Why?"}', '{"image": "9"', '{"image": "25", "question": "How?"}']
    found, failures = read(write(tmp_path / "q.jsonl", "\n".join(lines)))
    assert list(found) == [CAT.id, DOG.id]
    assert [(f.record_id, f.error) for f in failures] == [("q.jsonl:2", "BrokenLine")]


def test_a_question_needs_a_task_where_there_are_several(tmp_path: Path) -> None:
    path = write(tmp_path / "q.json", [{"image": "9", "question": "Why?"}])
    assert "set tasks to one of okvqa, detail" in read(path, ("okvqa", "detail"))[1][0].message


def test_a_number_that_two_images_have_is_not_guessed_at(tmp_path: Path) -> None:
    images = [Image(f"{split}/000000000009.jpg", "x") for split in ("a", "b")]
    path = write(
        tmp_path / "q.json", [{"image_id": 9, "question": "Why?"}, {"image": "b/000000000009.jpg", "question": "?"}]
    )
    found, failures = question_files.read(path, images, ["okvqa"], str)
    assert list(found) == ["b/000000000009.jpg"]
    assert [(f.error, f.message) for f in failures] == [
        ("AmbiguousImage", "q.json[0]: image 9 may be a/000000000009.jpg or b/000000000009.jpg; name it by its path")
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1,", "not valid JSON"),
        ("[]", "has no question; give JSON objects with image and question"),
        ('{"questions": 3}', "contains int, not a list"),
        ("Why?", "not valid JSON"),
    ],
)
def test_a_file_of_another_shape_is_refused(content: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        read(write(tmp_path / "q.json", content))
    with pytest.raises(ConfigError, match=r"does not exist; give the path of a question file"):
        read(tmp_path / "gone.json")
