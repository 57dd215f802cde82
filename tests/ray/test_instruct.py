"""Instructions on real Ray: every image once, whatever is killed, and a training set that the trainer reads."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from rich.console import Console

from imageref_ray.batch import manifest, store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.commands.instruct import instruct, instructions
from imageref_ray.commands.retry import retry
from imageref_ray.core.config import ConfigError, InstructConfig, check
from imageref_ray.picturenews import corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of six events."""
    root = tmp_path_factory.mktemp("pictures")
    corpus.write(root, 6, 5)
    return root / "image"


def values(images: Path, output: Path, script: str = "inquirer", **more: Any) -> dict[str, Any]:
    engine = {"kind": "scripted", "model": "none", "script": f"tests.scripted:{script}", "concurrency": 2}
    settings = {"prompts": "compact", "tasks": ["conversation"], "commit_records": 2, **more}
    return {"images": {"root": str(images), "limit": 12}, "output": str(output), "engine": engine, **settings}


def config(images: Path, output: Path, **more: Any) -> InstructConfig:
    return check(InstructConfig, values(images, output, **more), "test")


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_images_become_rows_that_the_trainer_reads(local_ray: None, images_root: Path, tmp_path: Path) -> None:
    summary = instruct(config(images_root, tmp_path / "run", correct={"reread": "continue"}), quiet())
    assert (summary["records"], summary["quarantined"]) == (12, 0)
    assert summary["instructions"]["by_task"] == {"conversation": 12}
    assert summary["instructions"]["units"] == {"kept": 24}
    for item in instructions(tmp_path / "run"):
        assert (item.question, item.draft) == ("What is shown?", "A boat.")
        assert item.corrected == "Two red boats. They lie at the harbour."
    meta = json.loads(Path(summary["files"]["mixture"]).read_text(encoding="utf-8"))
    assert sorted(meta) == ["conversation.vic", "conversation.vig"]
    rows = [
        json.loads(line)
        for line in (tmp_path / "run" / "dataset" / meta["conversation.vic"]["annotation"])
        .read_text(encoding="utf-8")
        .splitlines()
    ]
    assert len(rows) == 12
    assert all((images_root / row["image"][0]).is_file() for row in rows)


def test_a_broken_picture_and_a_reply_that_is_no_question_are_named(local_ray: None, tmp_path: Path) -> None:
    corpus.write(tmp_path, 2, 5)
    first = sorted((tmp_path / "image").rglob("*.jpg"))[0]
    first.write_bytes(b"no picture")
    nothing = r"0 of \d+ instructions succeeded; most often Unusable in generate .*: the reply holds no JSON"
    with pytest.raises(RunFailed, match=nothing):
        instruct(config(tmp_path / "image", tmp_path / "run", script="mumbler"), quiet())
    summary = manifest.finished(tmp_path / "run")["summary"]
    assert summary["problems"] == {"NotAnImage": 1}
    assert set(summary["instructions"]["by_task"]) == {"conversation: unusable"}
    assert summary["requests"] == summary["records"]  # a reply that is no question costs no more calls
    Picture.new("RGB", (64, 64)).save(first)
    with pytest.raises(RunFailed, match=nothing):
        retry(tmp_path / "run", error="NotAnImage", console=quiet())
    again = manifest.finished(tmp_path / "run")["summary"]
    assert (again["records"], again["problems"]) == (summary["records"] + 1, {})
    with pytest.raises(ConfigError, match="no quarantined record matches; its quarantine is empty"):
        retry(tmp_path / "run")


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no image"):
        instruct(config(tmp_path, tmp_path / "run"), quiet())


def test_a_killed_driver_leaves_work_that_the_next_one_finishes(
    ray_address: str, images_root: Path, tmp_path: Path
) -> None:
    config = tmp_path / "instruct.yaml"
    config.write_text(json.dumps(values(images_root, tmp_path / "run", script="slow_inquirer")))
    command = [sys.executable, "-m", "imageref_ray", "instruct", "--config", str(config)]
    environment = {**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "screen").open("w") as screen:
        driver = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=screen, stderr=screen)
        while not store.Store(tmp_path / "run").done():
            assert driver.poll() is None, (tmp_path / "screen").read_text(encoding="utf-8")
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    names = [result.id for result in store.results(tmp_path / "run")]
    assert len(names) == len(set(names)) == 12


def test_an_engine_that_dies_is_replaced_and_no_image_is_lost(
    local_ray: None, images_root: Path, tmp_path: Path
) -> None:
    more = values(images_root, tmp_path / "run", script="mortal_inquirer", correct={"reread": "continue"})
    more["engine"]["env"] = {"DIES_ONCE": str(tmp_path / "died")}
    summary = instruct(check(InstructConfig, more, "test"), quiet())
    assert (tmp_path / "died").exists()
    assert (summary["records"], summary["quarantined"], summary["problems"]) == (12, 0, {})
    names = [item.id for item in instructions(tmp_path / "run")]
    assert len(names) == len(set(names)) == 12
    assert all(item.corrected == "Two red boats. They lie at the harbour." for item in instructions(tmp_path / "run"))
