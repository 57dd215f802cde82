"""`ray job submit` on a Ray head of its own: the same build as the command line, to the end, on real vLLM."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageref_ray.picturenews import corpus
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Ray head with two CPUs; gives the environment that a client needs (address and token)."""
    port, dashboard = free_port(), free_port()
    folder = tempfile.mkdtemp(prefix="ray-")  # its own: a path short enough for sockets, and not where others find it
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    environment.pop("RAY_ADDRESS", None)
    command = [
        *(RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={port}", f"--temp-dir={folder}"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"),
        *(f"--ray-client-server-port={free_port()}", "--disable-usage-stats"),
    ]
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    client = {**environment, "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    try:
        wait_for_jobs(client, process, tmp_path / "head.log")
        yield client
    finally:
        process.terminate()  # with --block this stops the head's own processes and nobody else's
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_jobs(client: dict[str, str], process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Until the head takes jobs."""
    end = time.monotonic() + seconds
    while subprocess.run([RAY, "job", "list"], env=client, capture_output=True, check=False).returncode:
        assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")
        time.sleep(1)


def test_a_build_submitted_as_a_job_runs_to_the_end(head: dict[str, str], tmp_path: Path) -> None:
    corpus.write(tmp_path / "corpus", 2, corpus.SEEDS["test"])
    job = [sys.executable, "jobs/build.py", "--config", "jobs/configs/picturenews.yaml"]
    job += ["--set", f"source.root={tmp_path / 'corpus'}", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", *job],
        env=head,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    summary = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["summary"]
    rows = (tmp_path / "out" / "dataset" / "annotation.plain.jsonl").read_text(encoding="utf-8").splitlines()
    assert summary["records"] + summary["quarantined"] == 2
    assert len(rows) == summary["records"] >= 1
