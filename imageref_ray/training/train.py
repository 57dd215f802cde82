"""TrainConfig in, fine-tuned checkpoint in `<output>/model` out: Ray Train + DeepSpeed + Hugging Face Trainer.

`<output>` holds fingerprint.json, train.log (all that libraries print), metrics.jsonl, events.jsonl (workers begun and
lost), checkpoints/, summary.json and, at the end, model/. When a worker or its node dies, all workers are restarted
from the latest checkpoint, up to `max_failures` times; a killed run, started again, resumes there too.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from imageref_ray import engines
from imageref_ray.batch import manifest
from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.dataset import mixture
from imageref_ray.engines.base import EngineError
from imageref_ray.training import progress

FREE_TO_CHANGE = {
    "accelerator_type",
    "attention",
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "max_failures",
}
"""Between a kill and the resume. `attention` too: all compute the same but for rounding, and `auto` depends on what is
installed on the nodes."""


class TrainingFailed(EngineError):
    """The workers failed and no restart is left or would help: the run ends, to be resumed."""


def train(config: TrainConfig) -> dict[str, Any]:
    """Train to the end and export; the summary: model, samples, skipped (set → reason → count), last metrics, seconds.

    Raises ConfigError, before Ray starts, for a model that is no InternVL, a missing file, settings that do not go
    together, or an output folder that holds a training with other settings; later where no sample is usable.
    TrainingFailed where workers failed more often than `max_failures`, or would fail the same way again.
    """
    mixture.entries(config)
    _check_settings(config)
    engines.check_model(config.model, "model", ask_hub=True)
    _claim(config)
    begun = time.monotonic()
    summary, model = config.output / "summary.json", config.output / "model"
    if not (summary.is_file() and model.is_dir()):
        _fit(config)
    done = json.loads(summary.read_text(encoding="utf-8"))
    last = progress.read(config.output / "metrics.jsonl")[-1]
    return {"model": str(model), **done, **last, "total_seconds": round(time.monotonic() - begun, 1)}


def _check_settings(config: TrainConfig) -> None:
    if config.accelerator_type and not config.gpus_per_worker:
        raise ConfigError(
            f"accelerator_type: {config.accelerator_type} is a kind of GPU, but gpus_per_worker is 0: training would "
            "run on the CPU; set gpus_per_worker or remove accelerator_type"
        )
    if config.fresh and config.zero_stage == 3:
        raise ConfigError("fresh: ZeRO-3 loads weights in parts, none can start anew; set zero_stage to 2 or less")
    at_once = config.workers * config.per_device_batch
    if config.global_batch % at_once:
        raise ConfigError(
            f"global_batch: {config.global_batch} is no multiple of workers × per_device_batch = {at_once}; change one"
        )


def _claim(config: TrainConfig) -> None:
    """Take the run directory, or resume the run of the same settings in it."""
    values = config.model_dump(mode="json")
    settings = {key: value for key, value in values.items() if key not in FREE_TO_CHANGE}
    manifest.begin(config.output, {"job": "train", **settings}, values)


def _absolute(config: TrainConfig) -> TrainConfig:
    """The same work for workers that stand in another folder."""
    sets = {
        name: entry.model_copy(update={"root": entry.root.resolve(), "annotation": entry.annotation.resolve()})
        for name, entry in mixture.entries(config).items()
    }
    model = str(Path(config.model).resolve()) if Path(config.model).is_dir() else config.model
    return config.model_copy(update={"output": config.output.resolve(), "model": model, "mixture": sets})


def _work(settings: dict[str, Any]) -> None:
    import ray.train

    from imageref_ray.training import recovery

    if ray.train.get_context().get_world_rank() == 0:
        recovery.note(Path(settings["output"]), "started")
    from imageref_ray.training.train_worker import work  # heavy: loaded in the workers alone

    work(settings)


def _fit(config: TrainConfig) -> None:
    from imageref_ray.batch import cluster
    from imageref_ray.training import recovery

    logging.getLogger("ray").setLevel(logging.ERROR)  # also where Ray runs already, at its own level
    (config.output / "events.jsonl").unlink(missing_ok=True)
    recovery.repair_list(config.output)
    with (
        cluster.output_to(config.output / "train.log") as screen,
        cluster.attached(),
        progress.shown(config.output, config.steps, screen, lambda: _lacking(config)),
        _interruptible(),
    ):
        while error := _fails(config):
            traceback.print_exception(error)  # to the log
            failed = recovery.parts(error)
            if not recovery.lost(failed) or recovery.restarts(config.output) >= config.max_failures:
                raise _told(failed, config)
            recovery.restart(config, recovery.cause(failed))


def _fails(config: TrainConfig) -> Exception | None:
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
        _work,
        train_loop_config=_absolute(config).model_dump(mode="json"),
        torch_config=TorchConfig(backend="nccl" if config.gpus_per_worker else "gloo"),
        scaling_config=scaling(config),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(config.output.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
            failure_config=FailureConfig(max_failures=config.max_failures - recovery.restarts(config.output)),
            callbacks=[recovery.Recovery(_absolute(config))],
        ),
    )


def scaling(config: TrainConfig) -> Any:
    """What Ray is asked for: so many workers, each with its CPUs and GPUs, on nodes with that kind of GPU."""
    from ray.train import ScalingConfig

    on_gpu = config.gpus_per_worker > 0
    each = {"CPU": config.cpus_per_worker, **({"GPU": config.gpus_per_worker} if on_gpu else {})}
    return ScalingConfig(
        num_workers=config.workers,
        use_gpu=on_gpu,
        resources_per_worker=each,
        accelerator_type=config.accelerator_type,
    )


def _lacking(config: TrainConfig) -> str:
    """What no node has free for the workers, and what the cluster has; nothing where they are only slow to start."""
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


def _told(failed: dict[int, Any], config: TrainConfig) -> Exception:
    """The error that a person is shown: what failed first, what was tried, where more is written."""
    from imageref_ray.training import recovery

    words, certain = recovery.cause(failed), recovery.certain(failed)
    if isinstance(certain, ConfigError):
        return ConfigError(str(certain))
    tried = f"{recovery.restarts(config.output)} of {config.max_failures} restarts were tried (max_failures)"
    if certain:
        tried = "a restart would fail the same way, so fix the cause first"
    return TrainingFailed(f"training failed: {words}; {tried}; log: {config.output / 'train.log'}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt, now and later: Ray Train's own handler exits with 0, and would stay."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
