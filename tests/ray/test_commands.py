"""Every command through `cli.main` with real arguments on real files: none is in the parser that no test runs."""

import argparse
import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.commands.cli import main, parser
from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.tiny_internvl import create

ROOT = Path(__file__).parents[2]
RUNS = (
    "build",
    "plan",
    "instruct",
    "retry",
    "train",
    "evaluate placement",
    "evaluate vqa",
    "evaluate judge",
    "score",
    "check",
    "inspect",
    "picturenews",
)
"""The commands that tests here run."""

ELSEWHERE = {
    "benchmark export": "tests/unit/test_public_benchmarks.py",
    "benchmark import": "tests/unit/test_public_benchmarks.py",
    "compare": "tests/unit/test_compare.py",
    "evaluate speed": "tests/unit/test_evaluate_speed.py",
    "instruct rows": "tests/unit/test_instruct_rows.py",
    "labels layout": "tests/unit/test_layout_labels.py",
    "demo": "tests/ray/test_demo.py",
    "init": "tests/unit/test_starters.py",
    "preview": "tests/unit/test_preview.py",
    "publish": "tests/unit/test_publish.py",
    "schema": "tests/unit/test_starters.py",
    "serve": "tests/serve/test_imageref_serve.py",
    "serve key": "tests/unit/test_serve_access.py",
}
"""Commands that other tests run, by `cli.main` or in a process of their own: `-m imageref_ray <command>`."""


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six events."""
    folder = tmp_path_factory.mktemp("news")
    corpus.write(folder, 6, 3)
    return folder


@pytest.fixture
def files(local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Writes a job's settings: its `--config FILE --output DIR`, which is `run` in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def written(**settings: Any) -> list[str]:
        Path("job.yaml").write_text(json.dumps(settings, default=str))
        return ["--config", "job.yaml", "--output", str(tmp_path / "run")]

    return written


def scripted(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "scripted", "model": "none", "script": f"tests.scripted:{name}", **more}


def commands(of: argparse.ArgumentParser | None = None, before: str = "") -> Iterator[str]:
    """Every command of the parser, `evaluate placement` for one of two words."""
    groups = [a for a in (of or parser())._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield before
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, f"{before} {name}".strip())


def called(path: Path) -> set[str]:
    """The commands that a test file hands to `main([…])` or to `-m imageref_ray`, as literal words."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.List):
            words = [part.value if isinstance(part, ast.Constant) else None for part in node.elts]
            after = words[words.index("imageref_ray") + 1 :] if "imageref_ray" in words else words
            found |= {" ".join(map(str, after[:count])) for count in (1, 2)}
    return found


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object that a command printed."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def read_json(run: Path, name: str = "manifest.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / name).read_text())
    return found


def test_every_command_is_run_by_a_test() -> None:
    assert set(commands()) == {*RUNS, *ELSEWHERE}
    assert set(RUNS) <= called(Path(__file__))
    assert all(name in called(ROOT / path) for name, path in ELSEWHERE.items())


def test_build_then_inspect_and_check(
    files: Callable[..., list[str]], news: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = files(source={"root": news}, prompts="compact", engine=scripted("annotator"))
    assert main(["build", *job, "--set", "commit_records=4", "--max-budget", "9000000 tokens"]) == 0
    assert read_json(tmp_path / "run")["summary"]["records"] == 6
    assert read_json(tmp_path / "run")["config"]["max_budget"] == "9000000 tokens"
    annotation = tmp_path / "run" / "dataset" / "annotation.plain.jsonl"
    capsys.readouterr()
    assert main(["check", str(annotation), "--root", str(news), "--first", "3"]) == 0
    assert main(["inspect", str(tmp_path / "run"), "--samples", "2", "--seed", "1", "--out", "page.html"]) == 0
    assert "data:image/" in Path("page.html").read_text()
    assert "page.html" in capsys.readouterr().out
    annotation.write_text(annotation.read_text().replace("IMAGE_1", "IMAGE_99"))
    assert main(["check", str(annotation)]) == 1
    assert main(["build", *job]) == 0
    assert "nothing left to do" in capsys.readouterr().out.replace("\n", " ")


def test_plan(files: Callable[..., list[str]], news: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = files(source={"root": news}, prompts="compact", engine=scripted("annotator"))
    assert main(["plan", *job, "--records", "5", "--seed", "1"]) == 0
    assert "plan for 6 records, from 5 of them" in capsys.readouterr().out
    assert read_json(tmp_path / "run" / "plan", "plan.json")["measured"] == 5
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_instruct(files: Callable[..., list[str]], news: Path, tmp_path: Path) -> None:
    job = files(images={"root": news / "image"}, prompts="compact", engine=scripted("inquirer"))
    more = ["--set", "images.limit=3", "--set", "tasks=[conversation]", "--set", "correct.reread=continue"]
    assert main(["instruct", *job, *more]) == 0
    assert read_json(tmp_path / "run")["summary"]["instructions"]["by_task"] == {"conversation": 3}


def test_retry_of_a_build_by_stage_and_error(
    files: Callable[..., list[str]], news: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = scripted("moody_annotator", env={"MENDED": str(tmp_path / "mended")})
    job = files(source={"root": news}, prompts="compact", engine=engine, preflight=False)
    assert main(["build", *job]) == 1
    assert "0 of 6 records succeeded; most often RequestError in respond (6 times)" in capsys.readouterr().err
    assert read_json(tmp_path / "run")["summary"]["records"] == 0
    (tmp_path / "mended").touch()
    capsys.readouterr()
    assert main(["retry", str(tmp_path / "run"), "--stage", "place"]) == 2
    assert "--stage respond --error RequestError" in capsys.readouterr().err
    assert main(["retry", str(tmp_path / "run"), "--stage", "respond", "--error", "RequestError"]) == 0
    assert (
        read_json(tmp_path / "run")["summary"]["records"],
        read_json(tmp_path / "run")["summary"]["quarantined"],
    ) == (6, 0)
    assert main(["retry", "nowhere"]) == 2


def test_train(files: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    create(tmp_path / "model", ["two red boats"], vocabulary=400)
    turns = [{"from": "human", "value": "What is there?"}, {"from": "gpt", "value": "two red boats"}]
    (tmp_path / "rows.jsonl").write_text(4 * (json.dumps({"conversations": turns}) + "\n"))
    job = files(
        model=tmp_path / "model",
        mixture={"text": {"annotation": tmp_path / "rows.jsonl"}},
        workers=1,
        cpus_per_worker=0.5,
        steps=1,
        global_batch=2,
        precision="fp32",
        sequence_length=64,
        gradient_checkpointing=False,
    )
    capsys.readouterr()  # what libraries say while the checkpoint is created
    assert main(["train", *job, "--set", "log_every=1"]) == 0
    printed = summary(capsys)
    assert (printed["step"], printed["samples"], printed["skipped"]) == (1, 4, {})
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_evaluate_placement_then_score_its_answers(
    files: Callable[..., list[str]], news: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = files(data=news / "annotation.plain.jsonl", root=news, labels=news / "label.csv", engine=scripted("echoes"))
    assert main(["evaluate", "placement", *job, "--set", "mode=[guided]", "--set", "limit=4"]) == 0
    assert "evaluate placement" in capsys.readouterr().out
    assert read_json(tmp_path / "run", "metrics.json")["guided"]["events"] == 4
    assert main(["inspect", "run"]) == 0
    capsys.readouterr()
    answers = str(tmp_path / "run" / "guided.insertion.jsonl")
    assert main(["score", "--labels", str(news / "label.csv"), "--predictions", answers]) == 0
    assert summary(capsys)["events"] == 6
    own = str(news / "insertion.jsonl")
    assert main(["score", "--labels", str(news / "label.csv"), "--predictions", own, "--paper"]) == 0
    assert summary(capsys)["f1"] == 1


def test_evaluate_vqa(files: Callable[..., list[str]], news: Path, tmp_path: Path) -> None:
    sets = {"news": {"questions": news / "questions.json", "images": news}}
    job = files(sets=sets, prompts="compact", engine=scripted("onlooker"))
    assert main(["evaluate", "vqa", *job, "--set", "limit=3", "--set", "mode=[direct, choice]"]) == 0
    assert read_json(tmp_path / "run", "metrics.json")["direct"]["news"]["questions"] == 3


def test_evaluate_judge(files: Callable[..., list[str]], news: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (news / "annotation.plain.jsonl").read_text().splitlines()]
    lines = [json.dumps({"id": row["id"], "result": row["conversations"][1]["value"]}) for row in rows]
    Path("answers.jsonl").write_text("\n".join(lines))
    Path("human.csv").write_text(f"id,rating\n{rows[0]['id']},9\n")
    job = files(
        data=news / "annotation.plain.jsonl",
        root=news,
        answers={"mine": tmp_path / "answers.jsonl"},
        engine=scripted("grader"),
    )
    assert main(["evaluate", "judge", *job, "--set", "limit=2", "--human", "human.csv"]) == 0
    found = read_json(tmp_path / "run", "metrics.json")
    assert found["systems"]["mine"]["rating"] == 10 and found["agreement"][0]["answers"] == 1


def test_picturenews_writes_a_corpus_or_what_the_checkpoint_learns_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["picturenews", "--events", "2", "--seed", "4", "--out", str(tmp_path / "corpus")]) == 0
    assert "2 events" in capsys.readouterr().out
    assert main(["picturenews", "--events", "1", "--out", str(tmp_path / "base"), "--skills"]) == 0
    assert (tmp_path / "base" / "data" / "vqa.jsonl").is_file() and (tmp_path / "base" / "init").is_dir()
