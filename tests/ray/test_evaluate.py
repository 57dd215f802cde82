"""`imageref evaluate placement` on Ray Data with a scripted model: metrics, files and resumption."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.store import Result, Store
from imageref_ray.core.config import ConfigError, EvaluateConfig, ScriptedConfig
from imageref_ray.dataset.paper_formats import read_questions
from imageref_ray.engines.base import Request
from imageref_ray.evaluation import events
from imageref_ray.evaluation.comparison import estimate
from imageref_ray.evaluation.evaluate_placement import evaluate_placement
from imageref_ray.evaluation.placement_metrics import METRICS
from imageref_ray.evaluation.score import score, score_texts
from imageref_ray.picturenews.corpus import write

EVENTS = 6


def first_free_image(request: Request) -> str:
    """A model that takes the first image it is allowed at every slot, and writes nothing of its own."""
    return re.findall(r"IMAGE_\d+", request.guide.value)[0] + "\n" if request.guide else ""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write(folder, EVENTS, 77)
    return folder


def settings(corpus: Path, output: Path, **more: Any) -> EvaluateConfig:
    """An evaluation of the corpus with that model."""
    values = {"data": corpus / "annotation.plain.jsonl", "root": corpus, "labels": corpus / "label.csv"}
    engine = ScriptedConfig(script=f"{__name__}:first_free_image")
    return EvaluateConfig(**{**values, "output": output, "engine": engine, **more})


def test_a_test_set_is_answered_scored_and_not_asked_twice(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "run")
    metrics = evaluate_placement(config)
    guided, free = metrics["guided"], metrics["free"]
    assert (guided["events"], guided["unparsed"], free["events"], free["unparsed"]) == (EVENTS, 0, EVENTS, 1)
    assert guided["inserted"] == sum(len(answer) for answer in images_by_event(tmp_path / "run/guided.jsonl"))
    assert 0 < guided["precision"] < 1
    assert free["inserted"] == 0
    assert metrics["run"]["records"] == 2 * EVENTS
    for mode, found in events.read(tmp_path / "run").items():
        estimates = estimate({id: event.values for id, event in found.items()})
        assert {name: estimates[name].value for name in METRICS} == pytest.approx(
            {name: metrics[mode][name] for name in METRICS}
        )
    again = score(corpus / "label.csv", tmp_path / "run/guided.insertion.jsonl").metrics
    assert again.pop("unread") == 0
    assert again == {key: guided[key] for key in again}  # files hold no references that were not placed
    own = {key: value for key, value in guided.items() if key not in ("made", "answers")}
    assert score_texts(config.labels, tmp_path / "run/guided.jsonl", config.data).metrics == own
    with pytest.raises(RunFailed, match="nothing was measured"):  # of free answers, all empty
        score_texts(config.labels, tmp_path / "run/free.jsonl", config.data)
    assert (
        evaluate_placement(config) == metrics == json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))
    )
    with pytest.raises(ConfigError, match="paper False → True"):
        evaluate_placement(config.model_copy(update={"paper": True}))


def test_answers_are_written_in_the_order_of_the_questions_whichever_came_first(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "run")
    questions = read_questions(config.data, corpus)
    ids = list(questions)
    store = Store(config.output)
    for id, question in reversed(questions.items()):
        texts = {"free": "# T", "guided": question.reference}
        rows = [{"id": f"{mode}:{id}", "text": text, "made": mode} for mode, text in texts.items()]
        store.write([Result(row["id"], row) for row in rows], [])
    evaluate_placement(config)  # all are answered: no engine is started
    for name in ("guided.jsonl", "free.jsonl"):
        assert [json.loads(line)["id"] for line in (config.output / name).open(encoding="utf-8")] == ids
    lines = (config.output / "guided.insertion.jsonl").open(encoding="utf-8")
    assert [json.loads(line)["event_id"] for line in lines] == ids


def test_a_run_without_any_usable_answer_has_failed_and_shows_no_numbers(corpus: Path, tmp_path: Path) -> None:
    config = settings(corpus, tmp_path / "run", mode=("free",), paper=True)
    store = Store(config.output)
    for id in read_questions(config.data, corpus):
        row = {"id": f"free:{id}", "text": "I cannot say.", "made": "free"}
        store.write([Result(row["id"], row)], [])
    with pytest.raises(RunFailed, match="no answer has a section of its reference, so nothing was measured"):
        evaluate_placement(config)
    assert (tmp_path / "run/free.jsonl").is_file() and not (tmp_path / "run/metrics.json").exists()


def test_without_labels_answers_are_written_and_their_images_compared_with_the_references(
    corpus: Path, tmp_path: Path
) -> None:
    config = settings(corpus, tmp_path / "run", labels=None, mode=("free",), limit=2)
    first, second = list(read_questions(config.data, corpus).values())[:2]
    rows = [
        {"id": f"free:{first.id}", "text": first.reference, "made": "free"},
        {"id": f"free:{second.id}", "text": "# Nothing of it", "made": "free"},
    ]
    Store(config.output).write([Result(row["id"], row) for row in rows], [])
    screen = io.StringIO()
    metrics = evaluate_placement(config, Console(file=screen, width=120))["free"]
    assert (metrics["answers"], metrics["edit_score"], metrics["ordering_score"], metrics["aligned"]) == (
        2,
        0.5,
        0.5,
        0.5,
    )
    assert "recall_3" not in metrics and "image order: edit score" in screen.getvalue()
    found = events.read(config.output)["free"]
    assert [event.values["edit_score"] for event in found.values()] == [1, 0]
    assert found[first.id].expected == first.reference


def images_by_event(path: Path) -> list[list[str]]:
    return [re.findall(r"^IMAGE_\d+$", json.loads(line)["result"], re.MULTILINE) for line in path.open()]
