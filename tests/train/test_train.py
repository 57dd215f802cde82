"""Training on two real DeepSpeed workers: the stages agree, a killed run goes on, the result loads everywhere."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, InternVLForConditionalGeneration

from imageref_ray.config import ConfigError, TrainConfig
from imageref_ray.picturenews.tiny import create
from imageref_ray.training.loop import train

WORDS = ["two", "red", "boats", "at", "the", "harbour", "of", "Velmora", "five", "blue", "kites"]
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("local_ray")
RUN = """
import sys
from imageref_ray.config import TrainConfig
from imageref_ray.training.loop import train
train(TrainConfig.model_validate_json(sys.argv[1]))
"""


@pytest.fixture(scope="module")
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
        rows["text"].append({"conversations": turns})
        rows["pictures"].append({"image": f"{number % 9}.png", "conversations": turns})  # 8.png does not exist
    for name, lines in rows.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


def settings(folder: Path, name: str, **change: Any) -> TrainConfig:
    sets = {name: {"root": folder, "annotation": folder / f"{name}.jsonl"} for name in ("pictures", "text")}
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


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The exported checkpoint as transformers loads it."""
    model = InternVLForConditionalGeneration.from_pretrained(config.output / "model", dtype="auto")
    AutoProcessor.from_pretrained(config.output / "model")
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """A run of ZeRO-2 that nothing disturbs."""
    config = settings(folder, "zero2")
    return config, train(config)


def test_the_summary_tells_what_was_left_out(reference: tuple[TrainConfig, dict[str, Any]]) -> None:
    config, done = reference
    assert done["samples"] == 46
    assert done["skipped"]["pictures"]["picture is missing"] == 2
    assert done["skipped"]["pictures"]["picture cannot be decoded"] >= 1
    assert (done["step"], Path(done["model"])) == (6, config.output / "model")
    assert json.loads((config.output / "model" / "config.json").read_text())["architectures"] == [
        "InternVLForConditionalGeneration"
    ]


def test_training_learns_and_a_finished_run_is_not_done_again(reference: tuple[TrainConfig, dict[str, Any]]) -> None:
    config, done = reference
    assert losses(config)[-1] < losses(config)[0] - 0.5
    again = train(config)
    assert again["total_seconds"] < 1
    assert {**again, "total_seconds": done["total_seconds"]} == done


def test_a_killed_zero3_run_goes_on_and_ends_where_an_undisturbed_zero2_run_ends(
    folder: Path, reference: tuple[TrainConfig, dict[str, Any]]
) -> None:
    config = settings(folder, "zero3", zero_stage=3)
    running = subprocess.Popen([sys.executable, "-c", RUN, config.model_dump_json()], cwd=ROOT)
    waited = time.monotonic()
    while len(list((config.output / "checkpoints").glob("checkpoint_*-*"))) < 1 and time.monotonic() - waited < 240:
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert not (config.output / "model").exists()
    train(config)
    assert losses(config) == pytest.approx(losses(reference[0]), rel=1e-3)
    there = weights(reference[0])
    for name, weight in weights(config).items():
        torch.testing.assert_close(weight, there[name], atol=2e-3, rtol=0.05)


def test_adapters_in_bf16_change_the_language_model_and_leave_the_vision_tower_alone(folder: Path) -> None:
    change = {"workers": 1, "precision": "bf16", "lora": {"rank": 4}, "freeze": ("vision", "projector")}
    config = settings(
        folder, "lora", steps=2, batch_tokens=200, group_by="dataset", gradient_checkpointing=True, **change
    )
    train(config)
    before = InternVLForConditionalGeneration.from_pretrained(folder / "model", dtype=torch.bfloat16).state_dict()
    after = weights(config)
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed
    assert all(".language_model.layers." in name and name.endswith("_proj.weight") for name in changed)
    assert after.keys() == before.keys()
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}


def test_a_mixture_without_one_usable_sample_is_the_users_to_mend(folder: Path) -> None:
    (folder / "broken.jsonl").write_text("{}\n{}\n")
    config = settings(folder, "none", workers=1, mixture={"news": {"annotation": folder / "broken.jsonl"}})
    with pytest.raises(ConfigError, match=r"no sample can be trained on: .*not an annotation line': 2"):
        train(config)
