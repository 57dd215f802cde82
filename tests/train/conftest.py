"""What the tests of training share: a tiny checkpoint with data, and a run that nothing disturbs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imageref_ray.core.config import TrainConfig
from imageref_ray.picturenews.tiny_internvl import create
from imageref_ray.training.train import train
from tests.train.runs import settings

WORDS = ["two", "red", "boats", "at", "the", "harbour", "of", "Velmora", "five", "blue", "kites"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint and two data sets: with pictures, one of which breaks while training, and without."""
    made = tmp_path_factory.mktemp("train")
    create(made / "model", [" ".join(WORDS)], vocabulary=400)
    generator = np.random.default_rng(0)
    for number in range(8):
        pixels = generator.integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{number}.png")
    (made / "7.png").write_bytes((made / "7.png").read_bytes()[:3000])
    rows: dict[str, list[dict[str, Any]]] = {"pictures": [], "text": []}
    for number in range(24):
        answer = " ".join(generator.choice(WORDS, 3 + number % 5))
        turns = [{"from": "human", "value": "What is there?"}, {"from": "gpt", "value": answer}]
        others = [" ".join(generator.choice(WORDS, 2 + k)) for k in range(4)]
        choices = {"human": ["What is there?", "Red boats?"], "gpt": "<answer>", "answers": others, "weights": [1] * 4}
        if number % 2:
            rows["text"].append({"conversations": turns, "alternatives": choices})
        rows["pictures"].append({"image": f"{number % 9}.png", "conversations": turns})  # 8.png does not exist
    for name, lines in rows.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


@pytest.fixture(scope="session")
def reference(local_ray: None, folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """A run of ZeRO-2 that nothing disturbs."""
    config = settings(folder, "zero2")
    return config, train(config)
