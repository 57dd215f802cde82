"""`imageref score`: the paper's two files in, the metrics out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import Insertion, insertion, write_insertions, write_labels
from imageref_ray.evaluation.score import score
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
    metrics = score(*files(tmp_path, best))
    assert [metrics[key] for key in ("recall_1", "recall_3", "precision", "f1", "score")] == [1, 1, 1, 1, 1]
    assert (metrics["events"], metrics["unparsed"], metrics["inserted"], metrics["labelled"]) == (2, 0, 3, 3)
    assert set(metrics["intervals"]) == {"recall_1", "recall_3", "precision", "f1", "score"}
    assert json.loads(json.dumps(metrics)) == metrics


def test_a_fenced_answer_counts_and_an_unreadable_one_is_an_empty_answer(tmp_path):
    fenced = insertion("1", IMAGES["1"], {1: "5/1.jpg"}, 2)
    fenced = Insertion("1", fenced.images, f"Here you are:\n```json\n{fenced.result}\n```")
    answers = [fenced, Insertion("2", IMAGES["2"], "I cannot say.")]
    metrics = score(*files(tmp_path, answers))
    # event 1: IMAGE_2 at slot 1 is wrong, slot 2 empty; event 2: nothing inserted
    assert (metrics["recall_3"], metrics["precision"], metrics["score"]) == (0, 0.5, (-1 / 5 + 0) / 2)
    assert (metrics["unparsed"], metrics["events"]) == (0.5, 2)
    paper = score(*files(tmp_path, answers), paper=True)
    assert (paper["events"], paper["precision"], paper["unparsed"]) == (1, 0, 0.5)


def test_neither_the_order_of_lines_nor_of_predictions_matters(tmp_path):
    answers = [insertion("1", IMAGES["1"], {1: "5/0.jpg"}, 2), insertion("2", IMAGES["2"], {2: "6/1.jpg"}, 2)]
    turned = [
        Insertion(a.event_id, a.images, json.dumps({"predictions": json.loads(a.result)["predictions"][::-1]}))
        for a in answers[::-1]
    ]
    assert score(*files(tmp_path, turned)) == score(*files(tmp_path, answers))


def test_images_beyond_the_list_and_repeated_slots_are_rejected(tmp_path):
    entries = [
        {"position": "<Position 1>", "image": "IMAGE_9"},
        {"position": "<Position 1>", "image": "IMAGE_1"},
        {"position": "<Position 1>", "image": "IMAGE_2"},
        {"position": "<Position 2>", "image": "IMAGE_1"},
    ]
    answers = [Insertion("1", IMAGES["1"], json.dumps({"predictions": entries})), insertion("2", IMAGES["2"], {}, 2)]
    metrics = score(*files(tmp_path, answers))
    assert (metrics["inserted"], metrics["hits"]) == (1, 1)  # IMAGE_1 at slot 1, its first slot


def test_the_embedded_corpus_has_the_answer_that_its_labels_ask_for(tmp_path):
    write_truth(tmp_path, [make_event(9, number) for number in range(12)])
    metrics = score(tmp_path / "label.csv", tmp_path / "insertion.jsonl")
    assert (metrics["events"], metrics["precision"], metrics["recall_3"], metrics["f1"]) == (12, 1, 1, 1)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no event of"):
        score(*files(tmp_path, [Insertion("77", (), "")]))


def test_paper_mode_without_any_readable_answer_says_so(tmp_path):
    with pytest.raises(ConfigError, match="none of 2 labelled events has an answer"):
        score(*files(tmp_path, [Insertion("1", (), "?")]), paper=True)
