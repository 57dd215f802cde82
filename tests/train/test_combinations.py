"""Whatever the config allows trains: full and LoRA, under every ZeRO stage, in bf16 and fp32, with parts frozen."""

import gc
import json
import math
import traceback
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, InternVLForConditionalGeneration

from imageref_ray.core import tiles
from imageref_ray.core.config import ConfigError, TrainConfig, check
from imageref_ray.core.tiles import Tiles
from tests import tiny_models
from tests.train.runs import settings

PARTS = {"vision": ".vision_tower.", "projector": ".multi_modal_projector.", "language": ".language_model."}
FREEZES = {
    "full": [(), ("vision",), ("vision", "projector"), ("vision", "language")],
    "lora": [(), ("vision",), ("vision", "projector")],
}
COMBINATIONS = [
    (kind, stage, precision, freeze)
    for kind, stage, precision in product(FREEZES, (0, 1, 2, 3), ("bf16", "fp32"))
    for freeze in FREEZES[kind]
]
LARGE = 1 / 16
"""Weights from here on are more than 4 × RATE apart in bf16: no single step moves one, only their sum in fp32 does."""
RATE, STEPS = 1e-4, 4


def config(folder: Path, kind: str, stage: int, precision: str, freeze: tuple[str, ...]) -> TrainConfig:
    name = f"{kind}-zero{stage}-{precision}-{'+'.join(freeze) or 'nothing'}"
    own = {"root": folder, "annotation": folder / "rows.jsonl"}
    return settings(
        folder,
        name,
        zero_stage=stage,
        precision=precision,
        freeze=freeze,
        lora={"rank": 4} if kind == "lora" else None,
        mixture={"news": {**own, "max_dynamic_patch": 1}, "general": {**own, "repeat_time": 0.5}},
        max_tiles=2,
        gradient_checkpointing=True,
        workers=1,
        cpus_per_worker=1,
        steps=STEPS,
        global_batch=2,
        learning_rate=RATE,
        schedule="constant",
        warmup_ratio=0,
        warmup_from=0,
        min_learning_rate=0,
        checkpoint_every=STEPS + 1,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint and rows of one wide picture each."""
    made = tmp_path_factory.mktemp("combinations")
    tiny_models.internvl(made / "model")
    rng = np.random.default_rng(0)
    turns = [{"from": "human", "value": "<image>\nWhich bridge?"}, {"from": "gpt", "value": "The new bridge."}]
    with (made / "rows.jsonl").open("w") as file:
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (112, 224, 3), np.uint8)).save(made / f"{number}.png")
            file.write(json.dumps({"image": f"{number}.png", "conversations": turns}) + "\n")
    return made


@pytest.fixture(scope="module")
def problems(local_ray: None, folder: Path) -> dict[str, str]:
    """All combinations trained one after the other, in one worker: run → why it failed, "" where it did not."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    runs = [config(folder, *one).model_dump(mode="json") for one in COMBINATIONS]
    for run in runs:
        Path(run["output"]).mkdir()
    TorchTrainer(
        train_all,
        train_loop_config={"runs": runs, "problems": str(folder / "problems.json")},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="all", storage_path=str(folder)),
    ).fit()
    found: dict[str, str] = json.loads((folder / "problems.json").read_text())
    return found


def train_all(given: dict[str, Any]) -> None:
    """In the worker."""
    from imageref_ray.training.train_worker import train_on_rank

    gc.freeze()  # every training collects garbage, which takes longer than its steps: what is loaded by now is none
    problems = {}
    for run in given["runs"]:
        problems[run["output"]] = ""
        try:
            train_on_rank(run, resume=False)
        except Exception:  # noqa: BLE001 - the test says which one it was
            problems[run["output"]] = traceback.format_exc()
    Path(given["problems"]).write_text(json.dumps(problems))


def weights(folder: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A checkpoint as transformers loads it."""
    AutoProcessor.from_pretrained(folder)
    return dict(InternVLForConditionalGeneration.from_pretrained(folder, dtype=dtype).state_dict())


original = cache(weights)


@pytest.mark.parametrize(("kind", "stage", "precision", "freeze"), COMBINATIONS)
def test_a_combination_trains_its_parts_and_no_others_and_its_checkpoint_loads(
    folder: Path, problems: dict[str, str], kind: str, stage: int, precision: str, freeze: tuple[str, ...]
) -> None:
    made = config(folder, kind, stage, precision, freeze)
    assert problems[str(made.output)] == ""
    lines = [json.loads(line) for line in (made.output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4] and all(math.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    before, after = original(folder / "model", dtype), weights(made.output / "model", dtype)
    assert before.keys() == after.keys()
    for part, stem in PARTS.items():
        changed = {name for name in after if stem in name and not torch.equal(before[name], after[name])}
        assert bool(changed) == (part not in freeze), part
        if part == "language" and kind == "lora":
            assert all(name.endswith("_proj.weight") for name in changed)
        elif changed:  # steps too small for bf16 add up: the optimizer works on float32 throughout
            assert any((before[name] != after[name])[before[name].abs() >= LARGE].any() for name in changed), part
    assert tiles.read(made.output / "model" / tiles.FILE) == Tiles(1, True, {"news": 1, "general": 2})
    assert AutoProcessor.from_pretrained(made.output / "model").image_processor.max_patches == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freeze": ["vision", "projector", "language"]}, "freeze lists all parts of the model"),
        ({"freeze": ["language"], "lora": {}}, "lora trains adapters of the language model, which freeze lists"),
    ],
)
def test_a_training_of_nothing_is_refused_when_the_config_is_read(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(TrainConfig, {"model": "embedded", "output": "out", "mixture": {}, **change}, "train.yaml")
