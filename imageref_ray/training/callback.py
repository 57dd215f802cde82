"""A training step in, a line of `<output>/metrics.jsonl` out; a saved checkpoint in, a Ray Train checkpoint out."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from transformers import TrainerCallback

from imageref_ray.core.config import TrainConfig
from imageref_ray.training.progress import forget_after
from imageref_ray.training.recovery import note

COUNTED = "counted.json"
"""In a checkpoint: what has been counted and is not written yet."""


class Report(TrainerCallback):
    """Sums over the ranks every `log_every` steps; hands checkpoints over as they are written."""

    def __init__(self, trainer: Any, config: TrainConfig) -> None:
        self.trainer = trainer
        self.config = config
        self.metrics = config.output / "metrics.jsonl"
        self.earlier = 0.0  # seconds trained before a resume
        self.begun = self.since = time.monotonic()
        self.last: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock; lines of steps that a resumed run does again are dropped."""
        if state.is_world_process_zero:
            self.earlier = forget_after(self.metrics, state.global_step)
            if state.global_step:
                note(self.config.output, "resumed", f"resumed from step {state.global_step}")
        self.begun = self.since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One line: means since the line before, over all ranks; tokens are the padded ones that were computed."""
        if state.global_step % self.config.log_every and state.global_step != state.max_steps:
            return
        padded = torch.tensor([[float(self.trainer.padded), 0.0]], dtype=torch.float64, device=args.device)
        tally = torch.cat([self.trainer.tally, padded])
        dist.all_reduce(tally)
        self.trainer.tally.zero_()
        self.trainer.padded = 0
        if state.is_world_process_zero:
            self._write(state.global_step, tally[:-1].tolist(), float(tally[-1, 0]))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One rank of each node hands over what the node's ranks wrote (ZeRO keeps a shard per rank)."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        counted = self.trainer.counted()
        if state.is_world_process_zero:
            (folder / COUNTED).write_text(json.dumps(counted), encoding="utf-8")
        dist.barrier()
        mine = ray.train.get_context().get_local_rank() == 0
        handed = ray.train.Checkpoint.from_directory(str(folder)) if mine else None
        ray.train.report({"step": state.global_step}, checkpoint=handed)
        if mine:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, step: int, tally: list[list[float]], padded: float) -> None:
        now = time.monotonic()
        loss, learned = (sum(column) for column in zip(*tally, strict=True))
        line = {
            "step": step,
            "loss": round(loss / max(1, learned), 5),
            "lr": self.trainer.lr_scheduler.get_last_lr()[0],
            "tokens_per_second": round(padded / (now - self.since), 1),
            "learned_tokens": int(learned),
            "seconds": round(self.earlier + now - self.begun, 1),
            "sets": {
                name: round(total / count, 5)
                for name, (total, count) in zip(self.trainer.datasets, tally, strict=True)
                if count
            },
        }
        if self.trainer.args.device.type == "cuda":
            line["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)  # this rank's peak
        self.since = now
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
