"""Training on two real DeepSpeed workers: the stages agree, a killed run goes on, the result loads everywhere."""

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoProcessor, InternVLForConditionalGeneration

from imageref_ray.core.config import TrainConfig
from imageref_ray.training.schedule import learning_rate
from imageref_ray.training.train import train
from tests.train.runs import command, lines, losses, settings, workers

pytestmark = pytest.mark.usefixtures("local_ray")


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The exported checkpoint as transformers loads it."""
    model = InternVLForConditionalGeneration.from_pretrained(config.output / "model", dtype="auto")
    AutoProcessor.from_pretrained(config.output / "model")
    return dict(model.state_dict())


def test_the_summary_tells_what_was_left_out(reference: tuple[TrainConfig, dict[str, Any]]) -> None:
    config, done = reference
    assert done["samples"] == 22 + 2 * 12
    assert done["skipped"]["pictures"]["image is missing"] == 2
    assert done["skipped"]["pictures"]["image cannot be decoded"] >= 1
    assert (done["step"], Path(done["model"])) == (6, config.output / "model")
    assert json.loads((config.output / "model" / "config.json").read_text())["architectures"] == [
        "InternVLForConditionalGeneration"
    ]


def test_training_learns_and_a_finished_run_is_not_done_again(reference: tuple[TrainConfig, dict[str, Any]]) -> None:
    config, done = reference
    assert losses(config)[-1] < losses(config)[0] - 0.5
    rates = [learning_rate(config, step) for step in range(1, 7)]  # of the step after each line
    assert [line["lr"] for line in lines(config)] == pytest.approx(rates)
    assert (rates[0], rates[1], rates[-1]) == (7.5e-4, 1e-3, 1e-4)
    again = train(config)
    assert again["total_seconds"] < 1
    assert {**again, "total_seconds": done["total_seconds"]} == done


def test_a_killed_zero3_run_goes_on_and_ends_where_an_undisturbed_zero2_run_ends(
    ray_address: str, folder: Path, tmp_path: Path, reference: tuple[TrainConfig, dict[str, Any]]
) -> None:
    config = settings(folder, "zero3", zero_stage=3)
    running = command(config, tmp_path / "screen", ray_address)
    waited = time.monotonic()
    while len(list((config.output / "checkpoints").glob("checkpoint_*-*"))) < 1 and time.monotonic() - waited < 240:
        assert running.poll() is None
        time.sleep(0.05)
    training = workers()
    running.kill()
    running.wait()
    psutil.wait_procs(training)  # they notice it a moment later
    assert not (config.output / "model").exists()
    with (config.output / "metrics.jsonl").open("a") as torn:
        torn.write('{"step": 7, "lo')
    train(config.model_copy(update={"max_failures": 0}))
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
