"""What `pip install` brings works in an empty folder: every file a command needs is in the package."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loopback import loopback, request_of, says
from tests.scripted import annotator

Run = Callable[..., str]


@pytest.fixture
def run(installed: dict[str, str], tmp_path: Path) -> Run:
    def imageref(*words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "imageref_ray", *words]
        done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return imageref


def test_commands_that_need_no_engine(run: Run, installed: dict[str, str], tmp_path: Path) -> None:
    where = [sys.executable, "-c", "import imageref_ray; print(imageref_ray.__file__)"]
    printed = subprocess.run(where, cwd=tmp_path, env=installed, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(installed["PYTHONPATH"])
    assert "2 events" in run("picturenews", "--events", "2", "--out", "corpus")
    files = ("--labels", "corpus/label.csv", "--predictions", "corpus/insertion.jsonl")
    assert json.loads(run("score", *files))["f1"] == 1
    assert "the reference contract holds" in run("check", "corpus/annotation.plain.jsonl", "--root", "corpus")
    assert json.loads(run("schema", "demo"))["title"] == "DemoConfig"
    assert "reads" in run("demo", "--dry-run")
    for job in ("instruct", "train", "evaluate", "evaluate-vqa", "evaluate-judge", "serve"):
        run("init", job)


def test_a_starter_config_builds_a_training_set_and_its_page(run: Run, tmp_path: Path) -> None:
    run("picturenews", "--events", "2", "--out", "corpus")
    run("init", "build", "--source", "paper", "--engine", "openai")
    run("build", "--config", "build.yaml", "--dry-run")
    with loopback(otherwise=lambda body: says(annotator(request_of(body)))) as server:
        run("build", "--config", "build.yaml", "--set", f"engine.base_url={server.url}")
    lines = (tmp_path / "runs/build/dataset/annotation.plain.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    run("inspect", "runs/build")
    assert "<html" in (tmp_path / "runs/build/inspect.html").read_text(encoding="utf-8")
