"""TrainConfig → fine-tuned checkpoint in `<output>/model`: Ray Train + DeepSpeed + Hugging Face Trainer.

`<output>` contains fingerprint.json, train.log (all output of libraries), metrics.jsonl, events.jsonl (workers started
and lost), checkpoints/, summary.json and, at the end, model/. When a worker or its node dies, all workers are restarted
from the latest checkpoint, up to `max_failures` times; a killed run that is started again resumes there too.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from imageref_ray import engines
from imageref_ray.batch import manifest
from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.dataset import mixture
from imageref_ray.engines.base import EngineError
from imageref_ray.training import progress

CHANGEABLE = {
    "accelerator_type",
    "attention",
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "max_failures",
}
"""Settings that may change when a run is resumed; `attention` too: results differ by rounding only, and `auto` depends
on what is installed on the nodes."""


class TrainingFailed(EngineError):
    """The workers failed, and no restart is left or would help. The run can be resumed."""


def train(config: TrainConfig) -> dict[str, Any]:
    """Train and export; returns the summary: model, samples, skipped (set → reason → count), last metrics, seconds.

    Raises ConfigError, before Ray starts, if the model is not an InternVL, a file is missing, settings contradict each
    other, or the output contains a training with other settings; later, if no sample is usable. Raises TrainingFailed
    if workers failed more often than `max_failures`, or would fail the same way again.
    """
    config = config.model_copy(update={"precision": choose_precision(config)})
    mixture.entries(config)
    if told := mixture.unused_keys(config):
        print(f"train: {told}", file=sys.stderr, flush=True)
    _check_settings(config)
    engines.check_model(config.model, "model", ask_hub=True)
    _begin_run(config)
    started = time.monotonic()
    if not progress.is_finished(config.output):
        _fit(config)
    counts = json.loads((config.output / "summary.json").read_text(encoding="utf-8"))
    last = progress.read_lines(config.output / "metrics.jsonl")[-1]
    return {
        "model": str(config.output / "model"),
        **counts,
        **last,
        "total_seconds": round(time.monotonic() - started, 1),
    }


def choose_precision(config: TrainConfig) -> str:
    """The number format for `precision: auto`: bf16 where GPUs or this machine's CPU compute in it, else fp32."""
    if config.precision != "auto":
        return config.precision
    return "bf16" if config.gpus_per_worker or _cpu_has_bf16() else "fp32"


def _cpu_has_bf16() -> bool:
    """Whether PyTorch's CPU kernels compute in bf16. Without AVX-512 or its like they emulate it."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _check_settings(config: TrainConfig) -> None:
    if config.accelerator_type and not config.gpus_per_worker:
        raise ConfigError(
            f"accelerator_type: {config.accelerator_type} is a kind of GPU, but gpus_per_worker is 0: training would "
            "run on the CPU; set gpus_per_worker or remove accelerator_type"
        )
    if config.fresh and config.zero_stage == 3:
        raise ConfigError(
            "fresh: not possible with ZeRO stage 3, which loads weights in parts; set zero_stage to 2 or less"
        )
    step_size = config.workers * config.per_device_batch
    if config.global_batch % step_size:
        raise ConfigError(
            f"global_batch: {config.global_batch} is not a multiple of workers × per_device_batch = {step_size}; "
            "change one of them"
        )


def _begin_run(config: TrainConfig) -> None:
    """Start a run in the run directory, or resume the one in it. Raises ConfigError if its settings are different."""
    values = config.model_dump(mode="json")
    settings = {key: value for key, value in values.items() if key not in CHANGEABLE}
    manifest.begin(config.output, {"job": "train", **settings}, values)


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The config with absolute paths, for workers with another working directory."""
    sets = {
        name: entry.model_copy(update={"root": entry.root.resolve(), "annotation": entry.annotation.resolve()})
        for name, entry in mixture.entries(config).items()
    }
    model = str(Path(config.model).resolve()) if Path(config.model).is_dir() else config.model
    return config.model_copy(update={"output": config.output.resolve(), "model": model, "mixture": sets})


def _train_loop(settings: dict[str, Any]) -> None:
    import ray.train

    from imageref_ray.training import recovery

    if ray.train.get_context().get_world_rank() == 0:
        recovery.log_event(Path(settings["output"]), "started")
    from imageref_ray.training.train_worker import train_on_rank  # heavy: imported in the workers only

    train_on_rank(settings)


def _fit(config: TrainConfig) -> None:
    from imageref_ray.batch import cluster
    from imageref_ray.training import recovery

    logging.getLogger("ray").setLevel(logging.ERROR)  # also if Ray is already running, with its own level
    (config.output / "events.jsonl").unlink(missing_ok=True)
    recovery.repair_list(config.output)
    with (
        cluster.output_to(config.output / "train.log") as screen,
        cluster.attached(),
        progress.show_progress(config.output, config.steps, screen, lambda: _missing_resources(config)),
        _interruptible(),
    ):
        while error := _run_trainer(config):
            with suppress(OSError):  # a full disk has no room for the log either
                traceback.print_exception(error)
            failed = recovery.failures_by_rank(error)
            if not recovery.needs_our_restart(failed) or recovery.count_restarts(config.output) >= config.max_failures:
                raise _final_error(failed, config)
            recovery.log_restart(config, recovery.describe_cause(failed))


def _run_trainer(config: TrainConfig) -> Exception | None:
    """Run Ray Train until it ends; the error if it failed."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    try:
        _trainer(config).fit()
    except (TrainingFailedError, RayError) as error:
        return cast(Exception, error)
    return None


def _trainer(config: TrainConfig) -> Any:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from imageref_ray.training import recovery

    return TorchTrainer(
        _train_loop,
        train_loop_config=_with_absolute_paths(config).model_dump(mode="json"),
        torch_config=TorchConfig(backend="nccl" if config.gpus_per_worker else "gloo"),
        scaling_config=scaling_config(config),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(config.output.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
            failure_config=FailureConfig(max_failures=config.max_failures - recovery.count_restarts(config.output)),
            callbacks=[recovery.Recovery(_with_absolute_paths(config))],
        ),
    )


def scaling_config(config: TrainConfig) -> Any:
    """Ray Train's ScalingConfig: the number of workers, the CPUs and GPUs of each, and the GPU type."""
    from ray.train import ScalingConfig

    on_gpu = config.gpus_per_worker > 0
    each = {"CPU": config.cpus_per_worker, **({"GPU": config.gpus_per_worker} if on_gpu else {})}
    return ScalingConfig(
        num_workers=config.workers,
        use_gpu=on_gpu,
        resources_per_worker=each,
        accelerator_type=config.accelerator_type,
    )


def _missing_resources(config: TrainConfig) -> str:
    """The resources that the workers are waiting for, and those of the cluster; "" if they are only slow to start."""
    import ray
    from ray.util import placement_group_table

    from imageref_ray.batch import cluster

    groups = placement_group_table().values() if ray.is_initialized() else ()
    if not any(group["state"] == "PENDING" and len(group["bundles"]) == config.workers for group in groups):
        return ""
    each = f"{config.cpus_per_worker:g} CPU"
    if config.gpus_per_worker:
        each += " and " + " ".join(filter(None, [f"{config.gpus_per_worker:g}", config.accelerator_type, "GPU"]))
    return f"room for {config.workers} worker(s) with {each} each; the cluster has {cluster.state()}"


def _final_error(failed: dict[int, Any], config: TrainConfig) -> Exception:
    """The error for the user: the cause, what was tried, and the log."""
    from imageref_ray.training import recovery

    cause, permanent = recovery.describe_cause(failed), recovery.permanent_error(failed)
    if isinstance(permanent, ConfigError):
        return ConfigError(str(permanent))
    tried = f"{recovery.count_restarts(config.output)} of {config.max_failures} restarts were tried (max_failures)"
    if permanent:
        tried = "a restart would fail the same way, so fix the cause first"
    return TrainingFailed(f"training failed: {cause}; {tried}; log: {config.output / 'train.log'}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also afterwards: Ray Train installs a handler that exits with 0 and stays."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
