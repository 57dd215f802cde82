"""`imageref score`: labels and answers in, predictions or texts, the metrics out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.batch.outcome import RunFailed
from imageref_ray.commands.cli import main
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import (
    Insertion,
    insertion,
    read_answers,
    read_questions,
    write_answers,
    write_insertions,
    write_jsonl,
    write_labels,
)
from imageref_ray.evaluation.score import score, score_texts
from imageref_ray.picturenews.corpus import write_truth
from imageref_ray.picturenews.events import make_event

LABELS = {
    "1": {1: {"5/0.jpg": 3}, 2: {"5/1.jpg": 2}},
    "2": {1: {}, 2: {"6/0.jpg": 3, "6/1.jpg": 1}},
}
IMAGES = {"1": ("5/0.jpg", "5/1.jpg"), "2": ("6/0.jpg", "6/1.jpg")}


def files(tmp_path: Path, answers: list[Insertion]) -> tuple[Path, Path]:
    labels, predictions = tmp_path / "label.csv", tmp_path / "insertion.jsonl"
    write_labels(labels, LABELS)
    write_insertions(predictions, answers)
    return labels, predictions


def test_a_perfect_answer_has_one_everywhere_and_the_promised_keys(tmp_path):
    best = [
        insertion("1", IMAGES["1"], {1: "5/0.jpg", 2: "5/1.jpg"}, 2),
        insertion("2", IMAGES["2"], {2: "6/0.jpg"}, 2),
    ]
    metrics = score(*files(tmp_path, best)).metrics
    assert [metrics[key] for key in ("recall_1", "recall_3", "precision", "f1", "score")] == [1, 1, 1, 1, 1]
    assert (metrics["events"], metrics["unparsed"], metrics["inserted"], metrics["labelled"]) == (2, 0, 3, 3)
    assert set(metrics["intervals"]) == {"recall_1", "recall_3", "precision", "f1", "score"}
    assert json.loads(json.dumps(metrics)) == metrics


def test_a_fenced_answer_counts_and_an_unreadable_one_is_an_empty_answer(tmp_path):
    fenced = insertion("1", IMAGES["1"], {1: "5/1.jpg"}, 2)
    fenced = Insertion("1", fenced.images, f"Here you are:\n```json\n{fenced.result}\n```")
    answers = [fenced, Insertion("2", IMAGES["2"], "I cannot say.")]
    metrics = score(*files(tmp_path, answers)).metrics
    # event 1: IMAGE_2 at slot 1 is wrong, slot 2 empty; event 2: nothing inserted
    assert (metrics["recall_3"], metrics["precision"], metrics["score"]) == (0, 0.5, (-1 / 5 + 0) / 2)
    assert (metrics["unparsed"], metrics["events"]) == (0.5, 2)
    paper = score(*files(tmp_path, answers), paper=True).metrics
    assert (paper["events"], paper["precision"], paper["unparsed"]) == (1, 0, 0.5)


def test_neither_the_order_of_lines_nor_of_predictions_matters(tmp_path):
    answers = [insertion("1", IMAGES["1"], {1: "5/0.jpg"}, 2), insertion("2", IMAGES["2"], {2: "6/1.jpg"}, 2)]
    turned = [
        Insertion(a.event_id, a.images, json.dumps({"predictions": json.loads(a.result)["predictions"][::-1]}))
        for a in answers[::-1]
    ]
    assert score(*files(tmp_path, turned)).metrics == score(*files(tmp_path, answers)).metrics


def test_images_beyond_the_list_are_wrong_and_a_repeated_slot_keeps_its_first_image(tmp_path):
    entries = [
        {"position": "<Position 1>", "image": "IMAGE_9"},
        {"position": "<Position 1>", "image": "IMAGE_1"},
        {"position": "<Position 1>", "image": "IMAGE_2"},
        {"position": "<Position 2>", "image": "IMAGE_1"},
    ]
    answers = [Insertion("1", IMAGES["1"], json.dumps({"predictions": entries})), insertion("2", IMAGES["2"], {}, 2)]
    metrics = score(*files(tmp_path, answers)).metrics
    assert (metrics["inserted"], metrics["hits"], metrics["unread"]) == (2, 1, 0)  # IMAGE_9, and IMAGE_1 at slot 1


def test_the_embedded_corpus_has_the_answer_that_its_labels_ask_for(tmp_path):
    write_truth(tmp_path, [make_event(9, number) for number in range(12)])
    metrics = score(tmp_path / "label.csv", tmp_path / "insertion.jsonl").metrics
    assert (metrics["events"], metrics["precision"], metrics["recall_3"], metrics["f1"]) == (12, 1, 1, 1)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no event of"):
        score(*files(tmp_path, [Insertion("77", (), "")]))


def test_what_is_not_decided_is_counted_and_an_empty_list_is_an_answer(tmp_path):
    entries = [{"position": "<Position 1>", "image": "**image_1**"}, {"position": "<Position 2>", "image": "the pier"}]
    answers = [
        Insertion("1", IMAGES["1"], json.dumps({"predictions": entries})),
        Insertion("2", IMAGES["2"], '{"predictions": []}'),
    ]
    metrics = score(*files(tmp_path, answers)).metrics
    assert (metrics["hits"], metrics["unread"], metrics["unparsed"]) == (1, 1, 0)


def test_predictions_that_count_from_zero_are_told(tmp_path, caplog):
    entries = [{"position": f"<Position {k}>", "image": f"IMAGE_{k + 1}"} for k in range(2)]
    metrics = score(*files(tmp_path, [Insertion("1", IMAGES["1"], json.dumps({"predictions": entries}))])).metrics
    assert (metrics["inserted"], metrics["unread"]) == (1, 1)
    assert "1 of 1 results have <Position 0>, which is not read: positions count from 1" in caplog.text


@pytest.mark.parametrize("paper", [True, False])
def test_without_any_readable_answer_there_are_no_numbers(tmp_path, paper):
    with pytest.raises(RunFailed, match="none of 1 labelled events has a result with predictions that can be read"):
        score(*files(tmp_path, [Insertion("1", (), "?")]), paper=paper)


def test_predictions_of_images_that_the_labels_do_not_know_are_refused(tmp_path, caplog):
    def named(id, folder):
        return insertion(id, [f"{folder}/0.jpg", f"{folder}/1.jpg"], {1: f"{folder}/0.jpg"}, 2)

    with pytest.raises(
        ConfigError, match=r"in 2 of 2 events .*label\.csv knows none of the images that .*not x/0\.jpg"
    ):
        score(*files(tmp_path, [named("1", "x"), named("2", "x")]))
    assert score(*files(tmp_path, [named("1", "x"), named("2", "6")])).metrics["hits"] == 0
    assert "in 1 of 2 events" in caplog.text and "event 1 it knows 5/0.jpg, not x/0.jpg" in caplog.text


REFERENCE = "# Fair\n\nMuch to see.\n\nIMAGE_1\n\n### Boats\n\nTwo boats came."


def texts(tmp_path: Path, answers: list[Any]) -> tuple[Path, Path, Path]:
    labels, data, given = tmp_path / "label.csv", tmp_path / "data.jsonl", tmp_path / "answers.jsonl"
    write_labels(labels, LABELS)
    rows = []
    for id, images in IMAGES.items():
        turns = [{"from": "human", "value": "IMAGE_1: <image> IMAGE_2: <image>"}, {"from": "gpt", "value": REFERENCE}]
        rows.append({"id": int(id), "image": list(images), "conversations": turns})
    write_jsonl(data, rows)
    write_jsonl(given, ({"id": id, "result": result} for id, result in answers))
    return labels, given, data


def test_texts_of_any_system_are_scored_in_any_layout(tmp_path):
    text = "# Fair\nMuch to see.\n**image_1**\n### Boats\nTwo boats came.\n![boats](IMAGE_2)"
    metrics = score_texts(*texts(tmp_path, [(1, text), ("2", text.replace("\n", "\n\n")), ("77", "")])).metrics
    assert (metrics["events"], metrics["inserted"], metrics["hits"]) == (2, 4, 3)
    assert metrics["references"] == {"written": 4, "counted": 4, "unknown": 0, "repeated": 0, "misplaced": 0}
    only = score_texts(*texts(tmp_path, [(1, text)]), limit=1).metrics
    assert (only["events"], only["missing_events"], only["recall_3"]) == (1, 0, 1)


def test_texts_that_answer_nothing_give_no_numbers(tmp_path):
    with pytest.raises(RunFailed, match="none of 1 answers has a section of its question's reference"):
        score_texts(*texts(tmp_path, [(1, None)]))
    with pytest.raises(ConfigError, match="holds no event of"):
        score_texts(*texts(tmp_path, [(77, REFERENCE)]))


def test_answers_are_written_as_the_release_reads_them(tmp_path):
    _, _, data = texts(tmp_path, [])
    questions = read_questions(data, tmp_path)
    write_answers(tmp_path / "out.jsonl", questions, {"1": "# Fair \nMuch\n\n  to see.\n"})
    assert (tmp_path / "out.jsonl").read_text() == '{"id": 1, "result": "# Fair\\n\\nMuch\\n\\nto see."}\n'
    assert read_answers(tmp_path / "out.jsonl") == {"1": "# Fair\n\nMuch\n\nto see."}


def test_systems_are_put_side_by_side_from_their_files(tmp_path, capsys):
    best = {"1": {1: "5/0.jpg", 2: "5/1.jpg"}, "2": {2: "6/0.jpg"}}
    poor = {"1": {1: "5/0.jpg"}, "2": {2: "6/1.jpg"}}
    for name, placed in (("ours", best), ("theirs", poor), ("a/theirs", {"1": {}, "2": {}})):
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        write_insertions(path, [insertion(id, IMAGES[id], placed[id], 2) for id in IMAGES])
    labels, _ = files(tmp_path, [])
    given = [str(tmp_path / f"{name}.jsonl") for name in ("ours", "theirs", "a/theirs")]
    assert main(["score", "--labels", str(labels), "--predictions", *given]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = ["ours", f"{tmp_path}/theirs", f"{tmp_path}/a/theirs"]
    assert list(shown["systems"]) == names
    assert shown["systems"]["ours"] == score(labels, Path(given[0])).metrics
    assert [(pair["a"], pair["b"]) for pair in shown["pairs"]] == [
        (names[0], names[1]),
        (names[0], names[2]),
        (names[1], names[2]),
    ]
    first = {one["metric"]: one for one in shown["pairs"][0]["differences"]}
    assert first["recall_3"]["difference"] == -0.5 and first["f1"]["b"] == shown["systems"][names[1]]["f1"]
    assert first["score"]["losses"] == 2 and first["score"]["p_holm"] >= first["score"]["p"]
    unmeasured = {one["metric"]: one for one in shown["pairs"][1]["differences"]}
    assert (unmeasured["precision"]["b"], unmeasured["precision"]["p"], unmeasured["f1"]["b"]) == (None, None, 0.0)


def test_texts_of_several_systems_are_compared_too(tmp_path, capsys):
    labels, given, data = texts(tmp_path, [(1, REFERENCE), (2, REFERENCE)])
    other = tmp_path / "other.jsonl"
    write_jsonl(other, ({"id": id, "result": REFERENCE.replace("IMAGE_1", "IMAGE_2")} for id in (1, 2)))
    command = ["score", "--labels", str(labels), "--data", str(data), "--answers", str(given), str(other)]
    assert main(command) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown["systems"]) == ["answers", "other"] and shown["pairs"][0]["b"] == "other"
    assert shown["pairs"][0]["differences"][0]["events"] == 2
