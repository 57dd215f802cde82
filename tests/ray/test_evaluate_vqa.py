"""`imageref evaluate vqa` on Ray: a scripted model end to end, and the shipped checkpoint on real vLLM."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.ray_data import run_pass
from imageref_ray.batch.watchdog import Stopped
from imageref_ray.batch.worker import Pass, Row
from imageref_ray.commands.retry import retry
from imageref_ray.core.config import ConfigError, QuestionsConfig, ScriptedConfig, VqaConfig, load
from imageref_ray.core.records import VisualQuestion, from_row, to_row
from imageref_ray.engines.base import Generate, Request, Sampling
from imageref_ray.evaluation.evaluate_vqa import evaluate_vqa, prepare
from imageref_ray.picturenews import corpus
from imageref_ray.sources.vqa_sets import read_flat
from imageref_ray.stages.prompts import instruct

CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "picturenews-vqa.yaml"
PACK = instruct.load_instruct("compact")


@pytest.fixture(scope="module")
def corpus_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    corpus.write(folder, 4, 77)
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config(questions: Path, images: Path, output: Path, **more: Any) -> VqaConfig:
    engine = ScriptedConfig(script="tests.scripted:onlooker")
    sets = {"news": QuestionsConfig(questions=questions, images=images)}
    settings = {"prompts": "compact", "mode": ("direct", "choice"), "commit_records": 8, **more}
    return VqaConfig(sets=sets, output=output, engine=engine, **settings)


def test_questions_are_answered_scored_measured_and_not_asked_twice(
    local_ray: None, corpus_root: Path, tmp_path: Path
) -> None:
    entries = json.loads((corpus_root / "questions.json").read_text(encoding="utf-8"))
    entries[0] |= {"image": "image/gone.jpg"}
    entries[1] |= {"direct_answers": ["a scene"] * 4}
    (tmp_path / "questions.json").write_text(json.dumps([*entries, {"image": "x.jpg"}]))
    settings = config(tmp_path / "questions.json", corpus_root, tmp_path / "run")
    screen = io.StringIO()
    metrics = evaluate_vqa(settings, Console(file=screen, width=120))

    answered = entries[1:]
    right = sum(entry["direct_answers"][0] == "a scene" for entry in answered)
    direct, choice = metrics["direct"]["news"], metrics["choice"]["news"]
    assert (direct["questions"], direct["missing"], direct["few_labels"]) == (len(entries), 1, 1)
    assert direct["release"] == pytest.approx(100 * right / len(entries))
    assert direct["official"] == 0  # all annotators of a question say "a scene", and "A scene." is not that text
    assert metrics["run"]["problems"] == {"FewAnswers": 1, "MissingImage": 1, "MissingKey": 1}
    assert (metrics["run"]["records"], metrics["run"]["quarantined"]) == (len(answered), 2)
    likeliest = ["a scene" if "a scene" in entry["choices"] else entry["choices"][0] for entry in answered]
    hits = sum(
        entry["choices"][entry["correct_choice_idx"]] == text for entry, text in zip(answered, likeliest, strict=True)
    )
    assert choice["total"] == choice["mean"] == pytest.approx(100 * hits / len(entries))

    assert read(tmp_path / "run/answers.jsonl") == [
        {"set": "news", "id": entry["question_id"], "answer": "A scene."} for entry in answered
    ]
    chosen = read(tmp_path / "run/choices.jsonl")
    assert [line["total"] for line in chosen] == likeliest
    assert all(len(line["logprobs"]) == len(entry["choices"]) for line, entry in zip(chosen, answered, strict=True))
    assert "accuracy (VQA challenge)" in screen.getvalue()
    assert "problems: FewAnswers 1, MissingImage 1" in screen.getvalue()
    assert evaluate_vqa(settings, Console(file=screen)) == json.loads(
        (tmp_path / "run/metrics.json").read_text(encoding="utf-8")
    )
    with pytest.raises(ConfigError, match="max_tokens 16 → 3"):
        evaluate_vqa(settings.model_copy(update={"max_tokens": 3}), Console(file=screen))

    shutil.copy(next((corpus_root / "image").rglob("*.jpg")), corpus_root / "image/gone.jpg")
    retried = retry(tmp_path / "run", error="MissingImage", console=Console(file=screen))
    assert (retried["run"]["records"], retried["direct"]["news"]["missing"]) == (len(entries), 0)
    assert retried["run"]["requests"] == metrics["run"]["requests"] + 1 + len(entries[0]["choices"])


def test_an_engine_that_cannot_score_leaves_no_metrics_but_the_reason(
    local_ray: None, corpus_root: Path, tmp_path: Path
) -> None:
    settings = config(corpus_root / "questions.json", corpus_root, tmp_path / "run", mode=("choice",), limit=3)
    mute = settings.engine.model_copy(update={"script": "tests.scripted:annotator"})
    with pytest.raises(RunFailed, match=r"0 of 3 records succeeded; most often .*returned no log-probabilities"):
        evaluate_vqa(settings.model_copy(update={"engine": mute}), Console(file=io.StringIO()))
    assert not (tmp_path / "run/metrics.json").exists()
    failures = store.failures(tmp_path / "run")
    assert len(failures) == 3 and all("returned no log-probabilities" in failure.message for failure in failures)


def test_the_shipped_config_measures_the_shipped_checkpoint(
    local_ray: None, checkpoint: Path, corpus_root: Path, tmp_path: Path
) -> None:
    overrides = [
        f"engine.model={checkpoint}",
        f"sets.picturenews.questions={corpus_root / 'questions.json'}",
        f"sets.picturenews.images={corpus_root}",
        f"output={tmp_path / 'run'}",
    ]
    metrics = evaluate_vqa(load(VqaConfig, CONFIG, overrides), Console(file=io.StringIO()))
    direct, choice = metrics["direct"]["picturenews"], metrics["choice"]["picturenews"]
    assert metrics["run"]["quarantined"] == direct["missing"] == choice["missing"] == 0
    assert direct["official"] > 90 and choice["total"] > 90 and choice["mean"] > 90


async def say_and_score(row: Row, generate: Generate) -> Row:
    """A greedy answer with its log-probabilities, and twice the same text scored as it stands."""
    question = from_row(VisualQuestion, row["question"])
    messages = instruct.turn(PACK, question.image, question.question)
    said = await generate(Request(messages, Sampling(max_tokens=16), logprobs=1))
    scored = [await generate(Request(messages, prefix=said.text, scored=True)) for _ in range(2)]
    return {
        "said": said.logprobs[0],
        "text": said.text,
        "scored": [reply.logprobs[0] for reply in scored],
        "texts": [text for reply in scored for text in reply.texts],
        "cached": [reply.usage.cached_tokens for reply in scored],
    }


def test_a_text_is_scored_with_the_log_probabilities_it_was_generated_with(
    local_ray: None, checkpoint: Path, corpus_root: Path, tmp_path: Path
) -> None:
    engine = load(VqaConfig, CONFIG, [f"engine.model={checkpoint}"]).engine
    questions = [
        item
        for item in read_flat(corpus_root / "questions.json", corpus_root, "news")
        if isinstance(item, VisualQuestion)
    ]
    rows = [{"id": item.id, "question": to_row(item)} for item in questions[:40]]
    run_pass(Pass("score", tmp_path / "run", say_and_score, engine, prepare), rows)
    results = list(store.results(tmp_path / "run"))
    assert len(results) == len(rows), store.failures(tmp_path / "run")
    longest = 0
    for row in (result.row for result in results):
        first, second = row["scored"]
        *words, _ = row["said"]  # the end of the turn is generated, but is no part of the text
        assert first == pytest.approx(words, abs=1e-2), row
        assert second == pytest.approx(first, abs=1e-2)
        assert row["texts"] == ["", ""] and row["cached"] == [0, 0]
        longest = max(longest, len(first))
    assert longest > 2  # such as "at the harbour": not only words of one token


def test_an_evaluation_stops_at_its_budget_and_is_finished_by_a_second_call(
    local_ray: None, corpus_root: Path, tmp_path: Path
) -> None:
    script = "tests.scripted:onlooker_until_stopped"
    engine = ScriptedConfig(script=script, concurrency=2, env={"RUN": str(tmp_path / "run")})
    more = {"max_budget": "20 tokens", "commit_records": 1}
    limited = config(corpus_root / "questions.json", corpus_root, tmp_path / "run", **more)
    limited = limited.model_copy(update={"engine": engine})
    with pytest.raises(Stopped, match="the budget of 20 tokens"):
        evaluate_vqa(limited, Console(quiet=True))
    assert not (tmp_path / "run" / "metrics.json").exists()
    answered = len(list(store.results(tmp_path / "run")))
    free = limited.model_copy(update={"max_budget": None})
    metrics = evaluate_vqa(free, Console(quiet=True))
    asked = len(json.loads((corpus_root / "questions.json").read_text(encoding="utf-8")))
    assert 0 < answered < metrics["run"]["records"] == asked


def test_an_evaluation_ends_early_where_its_longest_question_does_not_fit(
    local_ray: None, corpus_root: Path, tmp_path: Path
) -> None:
    engine = ScriptedConfig(script="tests.scripted:costly")
    settings = config(corpus_root / "questions.json", corpus_root, tmp_path / "run").model_copy(
        update={"engine": engine}
    )
    with pytest.raises(ConfigError, match=r"the heaviest record, news/\S+, does not fit the engine"):
        evaluate_vqa(settings, Console(quiet=True))
