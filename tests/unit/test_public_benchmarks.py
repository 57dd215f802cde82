"""Public benchmarks in and out: files in their exact layout become test sets of ours, our answers files of theirs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.commands.cli import main
from imageref_ray.commands.measuring import EXPORTED, IMPORTED
from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import read_labels, read_questions, write_jsonl
from imageref_ray.dataset.public_benchmarks import ANSWERS, READERS, export_answers
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.evaluation.read_answer import read_answer

IGBENCH: dict[str, Any] = {
    "id": "31",
    "query": "How is a kite built?",
    "documents": ["Take two sticks.\nTie them.", "Glue the paper on."],
    "images": [["http://pictures.test/a", "http://pictures.test/b"], ["http://pictures.test/c"]],
    "gt_raw_answer": "{}",
    "gt_clean_answer": "![](IMG#3)Building a kite:\n"
    "1. Tie two sticks<sup>[1](DOC#1)</sup>. ![the knot](IMG#1) Pull hard.\n"
    "## The paper\n- ![](IMG#2)![](IMG#9)\nGlue it on.",
    "category": ["Crafts", "how-to"],
    "split": "dev",
}
MMDOC: dict[str, Any] = {
    "q_id": 7,
    "doc_name": "Fair report",
    "domain": "Report",
    "question": "How many boats were there?",
    "evidence_modality_type": ["figure"],
    "question_type": "Descriptive",
    "text_quotes": [{"quote_id": "text1", "type": "text", "text": "Two\nboats.", "page_id": 1, "layout_id": 1}],
    "img_quotes": [
        {"quote_id": f"image{k}", "type": "image", "img_path": f"images/fair_{k}.jpg", "page_id": k, "layout_id": k}
        for k in (1, 2)
    ],
    "gold_quotes": ["image2", "text1"],
    "answer_short": "2",
    "answer_interleaved": "There were two boats [1].\n\n![Two boats](image2)\n\nTwo.",
}


def imported(tmp_path: Path, name: str, *rows: Any, more: tuple[str, ...] = ()) -> Path:
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = tmp_path / "out"
    where = ["--data", str(data), "--images", str(tmp_path / "images"), "--out", str(out)]
    assert main(["benchmark", "import", name, *where, *more]) == 0
    return out


def exported(tmp_path: Path, name: str, answers: dict[str, str], *rows: Any) -> list[dict[str, Any]]:
    data, given, out = (tmp_path / file for file in ("data.jsonl", "free.jsonl", "theirs.jsonl"))
    write_jsonl(data, rows)
    write_jsonl(given, ({"id": id, "result": text} for id, text in answers.items()))
    arguments = ["--data", str(data), "--answers", str(given), "--out", str(out)]
    assert main(["benchmark", "export", name, *arguments]) == 0
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_the_command_line_knows_every_benchmark() -> None:
    assert (tuple(READERS), tuple(ANSWERS)) == (IMPORTED, EXPORTED)


def test_rag_igbench_becomes_a_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = imported(tmp_path, "rag-igbench", {**IGBENCH, "id": "30", "split": "train"}, IGBENCH, more=("--split", "dev"))
    printed = capsys.readouterr().out
    assert "1 questions; evaluate with root" in printed and "1 references of the benchmark's own" in printed
    question = read_questions(out / "annotation.jsonl", tmp_path / "images")["31"]
    assert [image.uri for image in question.images] == [
        str(tmp_path / "images" / "2" / path) for path in ("1/IMG#1.jpg", "1/IMG#2.jpg", "2/IMG#3.jpg")
    ]
    assert question.prompt[0] == "How is a kite built?\n# DOC#1\nTake two sticks.\nTie them.\nIMAGE_1: "
    assert [line.strip() for line in markdown.lines(question.reference)] == [
        "IMAGE_3",
        "Building a kite:",
        "1. Tie two sticks.",
        "IMAGE_1",
        "Pull hard.",
        "## The paper",
        "IMAGE_2",
        "Glue it on.",
    ]
    assert read_labels(out / "label.csv") == {
        "31": {1: {"2/IMG#3.jpg": 3}, 2: {"1/IMG#1.jpg": 3}, 3: {}, 4: {"1/IMG#2.jpg": 3}}
    }


def test_mmdocrag_becomes_a_test_set_in_which_its_own_answer_is_perfect(tmp_path: Path) -> None:
    out = imported(tmp_path, "mmdocrag", MMDOC)
    questions = read_questions(out / "annotation.jsonl", tmp_path)
    question = questions["7"]
    assert question.prompt[0] == "How many boats were there?\n# Fair report\n[1] Two boats.\nIMAGE_1: "
    assert [image.id for image in question.images] == ["images/fair_1.jpg", "images/fair_2.jpg"]
    labels = read_labels(out / "label.csv")
    assert labels == {"7": {1: {"images/fair_2.jpg": 3}, 2: {}}}
    reading = read_answer(question.reference, question, "after")
    assert summarise(labels, {"7": reading.placed})["f1"] == 1


MRAMG: dict[str, Any] = {
    "id": "recipe_1",
    "question": "How is the dough made? <PIC>",
    "ground_truth": "Mix the flour.<PIC>\nKnead it. <PIC>",
    "provenance": [41],
    "images_list": ["b", "z"],
}


def mramg(tmp_path: Path) -> list[str]:
    """The files of a set; the command that imports it."""
    documents = [[41, "First flour. <PIC> Then water. <PIC>", ["a", "b"]], [42, "Another.", []]]
    (tmp_path / "doc_recipe.jsonl").write_text("\n".join(map(json.dumps, documents)))
    write_jsonl(
        tmp_path / "recipe_mqa.jsonl",
        [MRAMG, {**MRAMG, "id": "2", "images_list": ["b"]}, {**MRAMG, "id": "3", "provenance": [43]}],
    )
    (tmp_path / "IMAGE" / "images_info").mkdir(parents=True)
    images = {id: {"image_url": "", "image_path": f"{id}.jpg", "image_caption": ""} for id in "ab"}
    (tmp_path / "IMAGE" / "images_info" / "recipe_imgs_collection.json").write_text(json.dumps(images))
    files = ["--data", str(tmp_path / "recipe_mqa.jsonl"), "--images", str(tmp_path / "IMAGE")]
    return ["benchmark", "import", "mramg", *files, "--out", str(tmp_path / "out")]


def test_mramg_becomes_a_test_set_with_its_images_in_the_documents(tmp_path: Path) -> None:
    assert main(mramg(tmp_path)) == 0
    out = tmp_path / "out"
    (question,) = read_questions(out / "annotation.jsonl", tmp_path / "IMAGE").values()
    assert [part if isinstance(part, str) else part.id for part in question.prompt] == [
        "How is the dough made?\nFirst flour. IMAGE_1: ",
        "RECIPE/a.jpg",
        " Then water. IMAGE_2: ",
        "RECIPE/b.jpg",
    ]
    assert question.images[1].uri == str(tmp_path / "IMAGE" / "images" / "RECIPE" / "b.jpg")
    assert markdown.lines(question.reference) == ["Mix the flour.", "IMAGE_2", "Knead it."]
    assert read_labels(out / "label.csv") == {"recipe_1": {1: {"RECIPE/b.jpg": 3}, 2: {}}}
    assert [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()] == [
        {"line": 2, "problem": "its answer has 2 <PIC> for 1 images"},
        {"line": 3, "problem": "document 43 does not exist"},
    ]


@pytest.mark.parametrize("missing", ["doc_recipe.jsonl", "IMAGE/images_info/recipe_imgs_collection.json"])
def test_a_missing_file_of_mramg_is_named(tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = mramg(tmp_path)
    (tmp_path / missing).unlink()
    assert main(command) == 2
    assert f"{tmp_path / missing} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        ("rag-igbench", {**IGBENCH, "images": [[]]}, "2 documents, but images of 1"),
        ("rag-igbench", {**IGBENCH, "gt_clean_answer": "![](IMG#1)"}, "its answer has no paragraph"),
        ("rag-igbench", {**IGBENCH, "query": None}, "query is not a text"),
        ("rag-igbench", {**IGBENCH, "id": None}, "id is None, not an id"),
        ("rag-igbench", ["a list"], "contains list, not a JSON object"),
        ("mmdocrag", {**MMDOC, "img_quotes": ["image1"]}, "img_quotes is not a list of dict"),
        ("mmdocrag", MMDOC, "id 7 is repeated"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(
    tmp_path: Path, name: str, row: Any, problem: str
) -> None:
    out = imported(tmp_path, name, {"rag-igbench": {**IGBENCH, "id": 30}, "mmdocrag": MMDOC}[name], row)
    assert json.loads((out / "left_out.jsonl").read_text()) == {"line": 2, "problem": problem}
    assert len((out / "annotation.jsonl").read_text().splitlines()) == 1


def test_a_json_list_is_read_too_and_a_file_of_another_kind_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "RAG_IG_EN.json"
    data.write_text(json.dumps([IGBENCH], indent=1), encoding="utf-8")
    where = ["--data", str(data), "--images", "images", "--out", str(tmp_path / "out")]
    assert main(["benchmark", "import", "rag-igbench", *where]) == 0
    assert main(["benchmark", "import", "mmdocrag", *where]) == 2
    assert main(["benchmark", "import", "rag-igbench", *where, "--split", "test"]) == 2
    assert "it has no row of split test" in capsys.readouterr().err


ANSWER = '# "A kite"\nTwo sticks \\alpha, \\n\\\\: C:\\new.\n![the "knot"](IMAGE_1)\nGlue.\nIMAGE_3'


def test_answers_for_rag_igbench_survive_what_its_script_does_to_them(tmp_path: Path) -> None:
    answered, missing = exported(tmp_path, "rag-igbench", {"31": ANSWER}, IGBENCH, {**IGBENCH, "id": "32"})
    assert {key: answered[key] for key in IGBENCH} == IGBENCH
    assert answered["gt_answer"] == IGBENCH["gt_clean_answer"] and missing["model_answer"] == ""
    # What the script does before it parses: outside of the first and the last quote, " become ', and \n line breaks.
    head, text = answered["model_answer"].split('"answer": "', 1)
    text, tail = text.rsplit('"', 1)
    text = text.replace('"', "'").replace("\\n", "\n").replace("\n", "<br>")
    read = json.loads(f'{head}"answer": "{text}"{tail}')["answer"]
    assert read.replace("<br>", "\n") == ANSWER.replace("(IMAGE_1)", "(IMG#1)").replace("IMAGE_3", "![](IMG#3)")
    assert re.findall(r"!\[.*?\]\(IMG#(\d+)\)", read) == ["1", "3"]


def test_answers_for_mmdocrag_are_one_row_for_every_question(tmp_path: Path) -> None:
    rows = exported(tmp_path, "mmdocrag", {"7": "Two boats [1].\nIMAGE_2"}, MMDOC, {**MMDOC, "q_id": 8})
    assert [row["q_id"] for row in rows] == [7, 8]
    assert [row["response"] for row in rows] == ["Two boats [1].\n![](image2)", ""]
    assert {"model", "in_tok", "out_tok", "total_tok"} < set(rows[0])


def test_answers_to_other_questions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, given = tmp_path / "data.jsonl", tmp_path / "free.jsonl"
    write_jsonl(data, [MMDOC])
    write_jsonl(given, [{"id": "1", "result": "x"}])
    arguments = ["--data", str(data), "--answers", str(given), "--out", str(tmp_path / "out")]
    assert main(["benchmark", "export", "mmdocrag", *arguments]) == 2
    assert "none of 1 answers is to a question" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [("{torn", "line 2: not valid JSON"), ("[1]", "line 2: contains list"), ("{}", "line 2: id is None, not an id")],
)
def test_a_row_that_cannot_be_read_would_lack_an_answer_and_is_told(line: str, says: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(IGBENCH) + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        export_answers("rag-igbench", data, {"31": "x"}, tmp_path / "out.jsonl")
