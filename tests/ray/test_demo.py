"""`imageref demo`, small, from the wheel and in an empty folder: every part on its real engine, and nothing twice."""

import json
import subprocess
import sys
from pathlib import Path

METRICS = {"recall_1", "recall_3", "precision", "f1", "score", "events", "unparsed"}
COSTS = {"requests", "prompt_tokens", "image_tokens", "cached_tokens", "generated_tokens"}


def demo(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    changes = ["train_events=6", "test_events=3", "shown_events=2", "train.steps=4", "train.checkpoint_every=4"]
    changes.append("instruct.images.limit=4")
    command = [sys.executable, "-m", "imageref_ray", "demo"]
    command += [word for change in changes for word in ("--set", change)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_small_demo_ends_with_a_report_and_a_second_call_only_reads_it(
    installed: dict[str, str], tmp_path: Path
) -> None:
    first = demo(tmp_path, installed)
    assert first.returncode == 0, first.stdout + first.stderr
    screen = first.stdout + first.stderr
    assert "Traceback" not in screen and len(screen.splitlines()) < 120, screen
    assert "runs/demo/report.html" in screen
    report = json.loads((tmp_path / "runs" / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["build"]["records"] + report["build"]["quarantined"] == 6
    assert set(report["build"]) >= COSTS | {"seconds", "agreement"}
    assert set(report["build"]["agreement"]) == {"precision", "recall", "captions"}
    assert report["train"]["steps"] == 4 and {"first_loss", "last_loss", "seconds"} <= set(report["train"])
    for name in ("base", "tuned"):
        assert set(report["evaluate"][name]) >= METRICS and report["evaluate"][name]["events"] == 3
    assert set(report["comparison"]) == {"guided", "free"}
    for mode, compared in report["comparison"].items():
        (pair,) = compared["pairs"]
        assert (pair["a"], pair["b"]) == ("base", "tuned") and {d["events"] for d in pair["differences"]} == {3}
        assert f"{mode}, tuned" in screen and f"{mode}: tuned " in screen
    assert "6 events side by side in runs/demo/evaluate/compare.html" in screen
    for mode in ("after", "verify"):
        corrected = report["instruct"][mode]
        assert corrected["images"] <= 4 and corrected["judged"] + corrected["unknown"] + corrected["unusable"] == 4
    assert (tmp_path / "runs" / "demo" / "report.html").read_text(encoding="utf-8").count("data:image/jpeg") >= 6

    again = demo(tmp_path, installed)
    assert again.returncode == 0, again.stdout + again.stderr
    repeated = json.loads((tmp_path / "runs" / "demo" / "report.json").read_text(encoding="utf-8"))
    assert repeated["evaluate"] == report["evaluate"] and repeated["build"] == report["build"]
    assert repeated["instruct"] == report["instruct"] and repeated["comparison"] == report["comparison"]
