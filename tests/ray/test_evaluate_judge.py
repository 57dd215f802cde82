"""`imageref evaluate judge` on Ray with a scripted judge: resumed, retried, measured anew, and nobody asked twice."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray.commands.retry import retry
from imageref_ray.core.config import JudgeConfig, ScriptedConfig
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.evaluation.evaluate_judge import evaluate_judge
from imageref_ray.picturenews import corpus

EVENTS = 6


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_are_judged_counted_retried_and_measured_anew(local_ray: None, calls: Path, tmp_path: Path) -> None:
    corpus.write(tmp_path, EVENTS, 77)
    data, output = tmp_path / "annotation.plain.jsonl", tmp_path / "run"
    references = {str(row["id"]): row["conversations"][1]["value"] for row in read(data)}
    ids = [*references]
    poor = {ids[0]: "", ids[1]: "unratable", ids[2]: "refused", ids[3]: "A boat.", "nobody's": "A boat."}
    for name, texts in (("true", references), ("poor", poor)):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"id": id, "result": text} for id, text in texts.items()])
    engine = ScriptedConfig(
        script="tests.scripted:counted_grader", env={"CALLS": str(calls), "MENDED": str(tmp_path / "mended")}
    )
    config = JudgeConfig(
        data=data,
        root=tmp_path,
        answers={"true": tmp_path / "true.jsonl", "poor": tmp_path / "poor.jsonl"},
        output=output,
        engine=engine,
        preflight=False,
    )
    screen = io.StringIO()
    metrics = evaluate_judge(config, Console(file=screen, width=120))

    assert metrics["ranking"] == ["true", "poor"]
    assert metrics["systems"]["true"]["rating"] == 10
    found = metrics["systems"]["poor"]
    counts = {"answers": 4, "missing_answers": 2, "empty_answers": 1, "unknown_answers": 1}
    counts |= {"failed_answers": 1, "unrated_answers": 1}
    assert {name: found[name] for name in counts} == counts
    asked = EVENTS + 4  # all true answers; of the poor ones one twice, one refused, one rated
    assert len(calls.read_text().splitlines()) == asked
    assert metrics["cost"]["requests"] == asked - 1  # a refusal costs nothing
    judgements, events = read(output / "judgements.jsonl"), read(output / "events.jsonl")
    assert len(judgements) == 2 * EVENTS - 1 and len(events) == 2 * EVENTS
    assert {"id", "prompt", "response"} <= judgements[0].keys()
    assert events[EVENTS + 2]["problem"] == "RequestError in judge: not in the mood"
    assert "poor: 1 answers were not judged" in screen.getvalue()

    (tmp_path / "human.csv").write_text(f"id,system,rating\n{ids[0]},true,9\n{ids[3]},poor,2\n{ids[0]},other,3\n")
    again = evaluate_judge(config.model_copy(update={"human": tmp_path / "human.csv"}), Console(file=screen))
    assert len(calls.read_text().splitlines()) == asked
    assert again["systems"] == metrics["systems"] and again["unknown_ratings"] == {"human": 1}
    assert again["agreement"][0]["raters"] == ["judge", "human"] and again["agreement"][0]["answers"] == 2

    (tmp_path / "mended").touch()
    retried = retry(output, console=Console(file=screen))
    assert retried["systems"]["poor"]["failed_answers"] == 0
    assert retried["agreement"][0]["answers"] == 2  # the ratings given last are still known
    assert len(calls.read_text().splitlines()) == asked + 1
    assert retried == json.loads((output / "metrics.json").read_text(encoding="utf-8"))
