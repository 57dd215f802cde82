"""A training step → a line of `<output>/metrics.jsonl`; a saved checkpoint → a Ray Train checkpoint."""

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
from imageref_ray.core.durable import sync, sync_tree, writing
from imageref_ray.training.progress import truncate_after
from imageref_ray.training.recovery import CHECKPOINT_LIST, log_event

COUNTS_FILE = "counted.json"
"""File of a checkpoint: the counts that are not in metrics.jsonl yet."""


class ReportCallback(TrainerCallback):
    """Writes metrics over all ranks every `log_every` steps; reports checkpoints to Ray Train as they are saved."""

    def __init__(self, trainer: Any, config: TrainConfig) -> None:
        self.trainer = trainer
        self.config = config
        self.metrics = config.output / "metrics.jsonl"
        self.earlier = 0.0  # seconds of training before a resume
        self.started = self.since = time.monotonic()
        self.last: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock; drop the lines of steps that a resumed run repeats."""
        if state.is_world_process_zero:
            self.earlier = truncate_after(self.metrics, state.global_step)
            if state.global_step:
                log_event(self.config.output, "resumed", f"resumed from step {state.global_step}")
        self.started = self.since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write one line: means over all ranks since the line before; tokens per second include padding."""
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
        """One rank per node reports what the node's ranks have saved (ZeRO writes a shard per rank)."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        counts = self.trainer.unwritten_counts()
        if state.is_world_process_zero:
            with writing(folder / COUNTS_FILE):
                (folder / COUNTS_FILE).write_text(json.dumps(counts), encoding="utf-8")
        dist.barrier()
        reports = ray.train.get_context().get_local_rank() == 0
        checkpoint = ray.train.Checkpoint.from_directory(str(folder)) if reports else None
        ray.train.report({"step": state.global_step}, checkpoint=checkpoint, checkpoint_upload_fn=self._keep)
        if reports:
            shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        """Copy this node's files as Ray Train does: they are on the disk before it lists the checkpoint."""
        with writing(self.config.output / CHECKPOINT_LIST.parent / name):
            kept = ray.train.get_context().get_storage().persist_current_checkpoint(checkpoint, name)
        sync_tree(Path(kept.path))
        sync(Path(kept.path).parent)
        return kept

    def _write(self, step: int, tally: list[list[float]], padded: float) -> None:
        now = time.monotonic()
        loss, learned = (sum(column) for column in zip(*tally, strict=True))
        line = {
            "step": step,
            "loss": round(loss / max(1, learned), 5),
            "lr": self.trainer.lr_scheduler.get_last_lr()[0],
            "tokens_per_second": round(padded / (now - self.since), 1),
            "learned_tokens": int(learned),
            "seconds": round(self.earlier + now - self.started, 1),
            "sets": {
                name: round(total / count, 5)
                for name, (total, count) in zip(self.trainer.datasets, tally, strict=True)
                if count
            },
        }
        if self.trainer.args.device.type == "cuda":
            line["gpu_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)  # this rank's peak
        self.since = now
        with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
