"""TrainConfig in, fine-tuned checkpoint in `<output>/model` out: Ray Train + DeepSpeed + Hugging Face Trainer.

`<output>` holds settings.json, train.log (all that libraries print), metrics.jsonl, checkpoints/, summary.json
and, at the end, model/. A killed run, started again, goes on from its latest checkpoint.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from imageref_ray import engines
from imageref_ray.config import ConfigError, TrainConfig, check
from imageref_ray.training import mixture, progress

FREE_TO_CHANGE = {"attention", "checkpoint_every", "keep_checkpoints", "log_every"}  # between a kill and the resume
"""`attention` too: all compute the same but for rounding, and `auto` depends on what is installed on the nodes."""


def train(config: TrainConfig) -> dict[str, Any]:
    """Train to the end and export; the summary: model, samples, skipped (set → reason → count), last metrics, seconds.

    Raises ConfigError, before Ray starts, for a model that is no InternVL, a missing file, batch sizes that do not
    divide, or an output folder that holds a training with other settings.
    """
    mixture.entries(config)
    _check_batch(config)
    engines.check_model(config.model, "model", ask_hub=True)
    _claim(config)
    begun = time.monotonic()
    summary, model = config.output / "summary.json", config.output / "model"
    if not (summary.is_file() and model.is_dir()):
        with progress.shown(config.output / "metrics.jsonl", config.steps, config.output / "train.log"):
            _fit(config)
    done = json.loads(summary.read_text(encoding="utf-8"))
    last = progress.read(config.output / "metrics.jsonl")[-1]
    return {"model": str(model), **done, **last, "total_seconds": round(time.monotonic() - begun, 1)}


def _check_batch(config: TrainConfig) -> None:
    if config.fresh and config.zero_stage == 3:
        raise ConfigError("fresh: ZeRO-3 loads weights in parts, none can start anew; set zero_stage to 2 or less")
    at_once = config.workers * config.per_device_batch
    if config.global_batch % at_once:
        raise ConfigError(
            f"global_batch: {config.global_batch} is no multiple of workers × per_device_batch = {at_once}; change one"
        )


def _claim(config: TrainConfig) -> None:
    """Take the output folder, or go on with a run of the same settings."""
    config.output.mkdir(parents=True, exist_ok=True)
    held = config.output / "settings.json"
    if held.is_file():
        old = check(TrainConfig, json.loads(held.read_text(encoding="utf-8")), str(held))
        names = [name for name in TrainConfig.model_fields if getattr(config, name) != getattr(old, name)]
        if differ := ", ".join(sorted(set(names) - FREE_TO_CHANGE)):
            raise ConfigError(
                f"output: {config.output} holds a training with other settings ({differ}); "
                "give another folder or remove this one"
            )
    held.write_text(config.model_dump_json(indent=2), encoding="utf-8")


def _absolute(config: TrainConfig) -> TrainConfig:
    """The same work for workers that stand in another folder."""
    sets = {
        name: entry.model_copy(update={"root": entry.root.resolve(), "annotation": entry.annotation.resolve()})
        for name, entry in mixture.entries(config).items()
    }
    model = str(Path(config.model).resolve()) if Path(config.model).is_dir() else config.model
    return config.model_copy(update={"output": config.output.resolve(), "model": model, "mixture": sets})


def _work(settings: dict[str, Any]) -> None:
    from imageref_ray.training.worker import work  # heavy: loaded in the workers alone

    work(settings)


def _fit(config: TrainConfig) -> None:
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from imageref_ray import cluster

    logging.getLogger("ray").setLevel(logging.ERROR)  # also where Ray runs already, at its own level
    on_gpu = config.gpus_per_worker > 0
    each = {"CPU": config.cpus_per_worker, **({"GPU": config.gpus_per_worker} if on_gpu else {})}
    trainer = TorchTrainer(
        _work,
        train_loop_config=_absolute(config).model_dump(mode="json"),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=on_gpu, resources_per_worker=each),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(config.output.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
        ),
    )
    try:
        with cluster.attached():
            trainer.fit()
    except TrainingFailedError as error:
        for cause in getattr(error, "worker_failures", {}).values():
            if isinstance(cause, ConfigError):
                raise ConfigError(str(cause)) from None
        raise RuntimeError(f"training failed; {config.output / 'train.log'} says how far it came") from error
