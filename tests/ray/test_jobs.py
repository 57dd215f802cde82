"""`ray job submit` on a Ray head of its own: the same build as the command line, to the end."""

import json
import subprocess
import sys
from pathlib import Path

from imageref_ray.picturenews import corpus
from tests.head import RAY, Head

ROOT = Path(__file__).parents[2]


def test_a_build_submitted_as_a_job_runs_to_the_end(head: Head, tmp_path: Path) -> None:
    corpus.write(tmp_path / "corpus", 2, corpus.SEEDS["test"])
    job = [sys.executable, "jobs/build.py", "--config", "jobs/configs/picturenews.yaml"]
    job += ["--set", f"source.root={tmp_path / 'corpus'}", "--output", str(tmp_path / "out")]
    job += ["--set", "engine={kind: scripted, script: 'tests.scripted:annotator'}"]  # vLLM: test_build_vllm.py
    done = subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", *job],
        env=head.client,
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
