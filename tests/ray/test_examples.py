"""Every example runs as its README prints it: real vLLM, Ray and Serve, in a folder that holds only the examples."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.head import free_port

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/README.md"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the examples, in which their commands run."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def printed(example: str) -> list[str]:
    """The blocks of commands in an example's README."""
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def environment() -> dict[str, str]:
    """What a user has after `source .venv/bin/activate`, with this checkout's package."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "OPENAI_API_KEY")}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def run(commands: str, folder: Path) -> str:
    """What a block of commands prints; fails where one of them does."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(file: Path) -> dict[str, str]:
    """Sample id → the answer that is trained on."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row["conversations"][1]["value"] for row in rows}


def check_given_response(answer: str) -> None:
    """The response that the sample `ardenfeld` brings is kept, and each image stands under its own paragraph."""
    lines = answer.splitlines()
    assert lines[1] == "News of Klein, Huber and Carver from the night market."
    placed = {lines[n - 1]: line for n, line in enumerate(lines) if re.fullmatch(r"IMAGE_\d", line)}
    assert placed == {
        "In Ardenfeld Denis Huber guarded the cars.": "IMAGE_1",
        "In Ardenfeld Ivo Carver cleaned the house.": "IMAGE_3",
    }


def test_every_example_is_run_here() -> None:
    assert EXAMPLES == ["endpoint", "markdown-pages", "samples"]


def test_markdown_pages(folder: Path) -> None:
    (commands,) = printed("markdown-pages")
    said = run(commands, folder)
    assert "# imageref build: settings; nothing was started" in said
    assert "3 samples, 10 images: the reference contract holds" in said
    ran = folder / "runs" / "markdown-pages"
    names = sorted(name.rpartition("-")[0] for name in answers(ran / "dataset" / "annotation.plain.jsonl"))
    assert names == ["harvest-feast", "open-day", "spring-fair"]
    assert (ran / "inspect.html").is_file()


def test_samples(folder: Path) -> None:
    (commands,) = printed("samples")
    assert "2 samples, 6 images: the reference contract holds" in run(commands, folder)
    written = answers(folder / "runs" / "samples" / "dataset" / "annotation.plain.jsonl")
    assert written.keys() == {"thornby", "ardenfeld"}
    assert "News of Nadia Winter" in written["thornby"] and "IMAGE_1" in written["thornby"]
    check_given_response(written["ardenfeld"])


def test_endpoint(folder: Path) -> None:
    port = free_port()
    config = folder / "examples" / "endpoint" / "build.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    start, commands = (block.replace("8000", str(port)) for block in printed("endpoint"))
    with served(start, folder, port):
        said = run(commands, folder)
    assert "2 samples, 6 images: the reference contract holds" in said
    check_given_response(answers(folder / "runs" / "endpoint" / "dataset" / "annotation.plain.jsonl")["ardenfeld"])


@contextmanager
def served(command: str, folder: Path, port: int) -> Iterator[None]:
    """What the README prints for the second terminal, until it answers; ended as by Ctrl-C."""
    log = folder / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command.split(), cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("answering on")), "")
        assert f"answering on http://127.0.0.1:{port}" in said, log.read_text(encoding="utf-8")
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
