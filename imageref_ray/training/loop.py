"""TrainConfig in, fine-tuned checkpoint in `<output>/model` out: Ray Train + DeepSpeed + Hugging Face Trainer.

`<output>` holds settings.json, train.log (all third-party output), metrics.jsonl, checkpoints/ and model/.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

from imageref_ray.config import ConfigError, TrainConfig
from imageref_ray.training import mixture


def train(config: TrainConfig) -> dict[str, Any]:
    """Train to the end, resuming from the run's latest checkpoint if there is one; the summary as plain values.

    Raises ConfigError, before Ray starts, for a model that is no InternVL, a missing file or an output that holds
    a run with other settings.
    """
    from imageref_ray.training.model import check_model

    settings = config.model_dump(mode="json")
    _check(config)
    check_model(config.model)
    _claim(config.output, settings)
    begun = time.monotonic()
    _fit(config, settings)
    done = json.loads((config.output / "summary.json").read_text(encoding="utf-8"))
    last = json.loads((config.output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return {"model": str(config.output / "model"), **done, **last, "total_seconds": round(time.monotonic() - begun, 1)}


def _check(config: TrainConfig) -> None:
    mixture.entries(config)
    step = config.workers * config.per_device_batch
    if config.global_batch % step:
        raise ConfigError(
            f"global_batch: {config.global_batch} is no multiple of workers × per_device_batch = {step}; change one of them"
        )


def _claim(output: Path, settings: dict[str, Any]) -> None:
    """Take the output folder, or go on with a run of the same settings."""
    output.mkdir(parents=True, exist_ok=True)
    held = output / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    if held.is_file() and held.read_text(encoding="utf-8") != text:
        old = json.loads(held.read_text(encoding="utf-8"))
        differ = ", ".join(sorted(key for key in settings if settings[key] != old.get(key)))
        raise ConfigError(f"output: {output} holds a training with other settings ({differ}); give another folder or remove it")
    held.write_text(text, encoding="utf-8")


def _fit(config: TrainConfig, settings: dict[str, Any]) -> None:
    import ray
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from imageref_ray.training.worker import work

    logging.getLogger("ray").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    if started:
        address = None if os.environ.get("RAY_ADDRESS") else "local"
        ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    on_gpu = config.gpus_per_worker > 0
    resources = {"CPU": config.cpus_per_worker, **({"GPU": config.gpus_per_worker} if on_gpu else {})}
    trainer = TorchTrainer(
        work,
        train_loop_config=settings,
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=on_gpu,
            resources_per_worker=resources,
            accelerator_type=config.accelerator_type,
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(config.output.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
        ),
    )
    stop = Event()
    watcher = Thread(target=_show, args=(config, stop), daemon=True)
    watcher.start()
    try:
        trainer.fit()
    finally:
        stop.set()
        watcher.join()
        if started:
            ray.shutdown()


def _show(config: TrainConfig, stop: Event) -> None:
    """Print each new line of metrics until told to stop."""
    path = config.output / "metrics.jsonl"
    seen = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
    while True:
        ended = stop.wait(0.5)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines[seen:]:
            value = json.loads(line)
            print(
                f"step {value['step']}/{config.steps}  loss {value['loss']:.3f}  {value['tokens_per_second']:.0f} tokens/s"
                f"  {value['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        seen = len(lines)
        if ended:
            return
