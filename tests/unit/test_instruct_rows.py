"""`imageref instruct rows`: every published file becomes rows and a mixture; what cannot be used is listed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.commands.cli import main
from imageref_ray.core.config import TrainConfig
from imageref_ray.dataset import mixture

TEN = ["cat"] * 7 + ["dog", "dog", ""]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coco").mkdir()
    return tmp_path


def write(name: str, value: Any) -> str:
    Path(name).write_text(json.dumps(value), encoding="utf-8")
    return name


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def llava(id: str, *texts: str) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[k % 2], "value": text} for k, text in enumerate(texts)]
    return {"id": id, "image": f"{id}.jpg", "conversations": turns}


def test_llavas_conversations_become_rows_with_unique_ids_and_broken_entries_are_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [llava("000000000009", "<image>\nWhat?", "A cat.", "Why?", "It purrs."), llava("1", "Q")]
    data = write("conversation_58k.json", [*entries, llava("000000000009", "Who?", "Ann.\n<image>")])
    given = ["--task", "conversation", "--data", data, "--images", "coco", "--out", "rows"]
    assert main(["instruct", "rows", "--from", "llava", *given]) == 0
    made = lines("rows/conversation.vic.jsonl")
    assert [row["id"] for row in made] == [*("000000000009:0:vic:0", "000000000009:1:vic:0", "000000000009#2:0:vic:0")]
    assert made[0]["image"] == ["000000000009.jpg"]
    assert [turn["value"] for turn in made[1]["conversations"]] == ["<image>\nWhy?", "It purrs."]
    assert [(row["record_id"], row["error"]) for row in lines("rows/conversation.rejects.jsonl")] == [
        ("1", "BrokenEntry")
    ]
    printed = capsys.readouterr().out
    assert "rows/conversation.vig.jsonl: 3 rows" in printed
    assert "1 entries are left out (1 BrokenEntry): rows/conversation.rejects.jsonl" in printed


def test_the_knowledge_sets_as_published_and_the_mixture_of_all(folder: Path) -> None:
    asked = write("q.json", {"questions": [{"question_id": n, "image_id": 42, "question": f"Q{n}?"} for n in (1, 2)]})
    answers = [{"answer": text, "answer_id": k} for k, text in enumerate(TEN)]
    known = write("a.json", {"annotations": [{"question_id": 1, "image_id": 42, "answers": answers}]})
    pair = ["--data", asked, "--annotations", known, "--images", "coco", "--out", "rows"]
    for name in ("okvqa", "vqav2"):
        assert main(["instruct", "rows", "--from", name, *pair]) == 0
    (row,) = lines("rows/okvqa.vic.jsonl")
    assert row["image"] == ["COCO_train2014_000000000042.jpg"]
    assert row["alternatives"]["answers"] == ["cat", "dog"]
    assert [(row["record_id"], row["error"]) for row in lines("rows/okvqa.rejects.jsonl")] == [("2", "MissingKey")]
    choices = {"choices": ["cat", "dog"], "correct_choice_idx": 0, "direct_answers": TEN, "question": "What?"}
    published = [{"image_id": 9, "question_id": f"q{n}", **choices} for n in range(4)]
    release = [{"image_path": "train2017/000000000009.jpg", **choices}]
    given = ["--images", "coco", "--out", "rows", "--uses", "vqg", "vic"]
    for data, image in ((published, "000000000009.jpg"), (release, "train2017/000000000009.jpg")):
        assert main(["instruct", "rows", "--from", "aokvqa", "--data", write("aokvqa.json", data), *given]) == 0
        rows = lines("rows/a_okvqa.vqg.jsonl")
        assert len(rows) == len(data) and rows[0]["image"] == [image]
    sets = json.loads(Path("rows/mixture.json").read_text())
    ratios = {
        "okvqa.vig": 300,
        "okvqa.vic": 300,
        "vqav2.vig": 1,
        "vqav2.vic": 1,
        "a_okvqa.vqg": 131,
        "a_okvqa.vic": 131,
    }
    assert {name: entry["ratio"] for name, entry in sets.items()} == ratios
    assert all(entry["length"] == 1 for entry in sets.values())
    config = TrainConfig(model="m", output=folder, mixture=Path("rows/mixture.json"))
    drawn, skipped = mixture.draw(mixture.entries(config), 1, 0, whole_sets=True)
    assert Counter(row.dataset for row in drawn) == dict.fromkeys(sets, 1) and not skipped
    assert sum(entry["repeat_time"] for entry in sets.values()) == pytest.approx(6, abs=1e-4)


def test_draws_topk_score_and_seed(folder: Path) -> None:
    data = write("okvqa.json", [{"image": "9.jpg", "question": "What?", "answer": TEN}])
    given = ["--data", data, "--images", "coco", "--out", "rows", "--uses", "vic"]
    assert main(["instruct", "rows", "--from", "okvqa", *given, "--draws", "40", "--topk", "1", "--seed", "7"]) == 0
    rows = lines("rows/okvqa.vic.jsonl")
    assert len(rows) == 40 and {row["conversations"][1]["value"] for row in rows} == {"cat"}
    assert main(["instruct", "rows", "--from", "okvqa", *given, "--score-thr", "8"]) == 2
    assert not Path("rows/okvqa.vic.jsonl").exists()
    assert lines("rows/okvqa.rejects.jsonl")[0]["message"].startswith("no answer has a weight of 8 or more")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--from llava", "--from llava needs --task conversation, detail or reasoning"),
        ("--from okvqa --task detail", "--task detail is for --from llava"),
        ("--from llava --task detail --annotations data.json", "are not for --from llava"),
        ("--from okvqa --images gone", "--images gone is no folder"),
        ("--from okvqa --draws 0", "--draws 0: give a number of at least 1"),
        ("--from okvqa --image-name {x}.jpg", "--image-name {x}.jpg has no place for a number"),
        ("--from okvqa --image-name one.jpg", "--image-name one.jpg has no place for a number"),
        ("--from okvqa --prompts klingon", "no pack is called klingon"),
        ("--from okvqa --out mine", "mine/mixture.json is not a mixture of this command's"),
        ("--from vqav2 --data empty.json", "no question can be used; the file has none"),
    ],
)
def test_what_does_not_fit_is_one_line(
    folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("data.json", [{"image": "9.jpg", "question": "What?", "answer": TEN}])
    write("empty.json", [])
    Path("mine").mkdir()
    write("mine/mixture.json", {"news": {"annotation": "a.jsonl"}})
    assert (
        main(["instruct", "rows", "--data", "data.json", "--images", "coco", "--out", "rows", *arguments.split()]) == 2
    )
    printed = capsys.readouterr()
    assert printed.err.startswith("imageref: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_instruct_itself_stays_a_command_with_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instruct", "--config", "gone.yaml"]) == 2
    assert "config file gone.yaml does not exist" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["instruct", "rows", "--config", "gone.yaml"])
    assert "imageref instruct rows" in capsys.readouterr().err
