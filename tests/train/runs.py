"""Settings of a tiny training, the command that runs it, and what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from imageref_ray.core.config import TrainConfig

ROOT = Path(__file__).parents[2]


def settings(folder: Path, name: str, **change: Any) -> TrainConfig:
    sets: dict[str, dict[str, Any]] = {
        "pictures": {"root": folder, "annotation": folder / "pictures.jsonl", "augment": "crop_flip"},
        "text": {"root": folder, "annotation": folder / "text.jsonl", "repeat_time": 2},  # the second use draws anew
    }
    values = {
        "model": str(folder / "model"),
        "output": folder / name,
        "mixture": sets,
        "workers": 2,
        "cpus_per_worker": 0.5,
        "zero_stage": 2,
        "steps": 6,
        "global_batch": 8,
        "per_device_batch": 2,
        "learning_rate": 1e-3,
        "min_learning_rate": 1e-4,
        "warmup_ratio": 0.34,
        "warmup_from": 5e-4,
        "precision": "fp32",
        "sequence_length": 256,
        "freeze": (),
        "gradient_checkpointing": False,
        "max_tiles": 1,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return TrainConfig.model_validate({**values, **change})


def losses(config: TrainConfig) -> list[float]:
    lines = (config.output / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, config.steps + 1))
    return [json.loads(line)["loss"] for line in lines]


def lines(config: TrainConfig) -> list[dict[str, Any]]:
    """metrics.jsonl."""
    return [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]


def command(config: TrainConfig, screen: Path, address: str | None = None) -> subprocess.Popen[bytes]:
    """`imageref train` with these settings on the Ray at `address`, or one of its own; `screen` is all it prints."""
    file = screen.with_suffix(".json")
    file.write_text(config.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    environment |= {"RAY_ADDRESS": address} if address else {}
    call = [sys.executable, "-m", "imageref_ray", "train", "--config", str(file)]
    with screen.open("wb") as printed:
        return subprocess.Popen(call, cwd=ROOT, env=environment, stdout=printed, stderr=subprocess.STDOUT)


def workers() -> list[psutil.Process]:
    """The processes that train, on any Ray that this process has started."""
    below = psutil.Process().children(recursive=True)
    return [child for child in below if "RayTrainWorker" in _said(child)]


def _said(process: psutil.Process) -> str:
    """Its name and command line, empty where it has ended meanwhile."""
    try:
        return process.name() + " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
