"""One Ray Train worker: settings in, its share of the training done, metrics and checkpoints reported."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import AutoProcessor, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from imageref_ray.config import TrainConfig
from imageref_ray.training import mixture
from imageref_ray.training.batches import Shape, plan
from imageref_ray.training.data import Collator, Encoder, Example, encode_all
from imageref_ray.training.export import export, gathered
from imageref_ray.training.model import build
from imageref_ray.training.zero import deepspeed_config


def work(settings: dict[str, Any]) -> None:
    """Train on this rank; `settings` is the TrainConfig as plain values."""
    config = TrainConfig.model_validate(settings)
    _quiet(config.output / "train.log")
    context = ray.train.get_context()
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    set_seed(config.seed + context.get_world_rank())
    processor = AutoProcessor.from_pretrained(config.model)
    examples, skipped = _examples(config, processor)
    arguments = _arguments(config)  # before the model: with ZeRO-3 it is built in parts
    trainer = AnswerTrainer(config, processor, examples, arguments)
    latest = ray.train.get_checkpoint()
    if latest:
        with latest.as_directory() as folder:
            trainer.train(resume_from_checkpoint=folder)
    else:
        trainer.train()
    state = gathered(trainer)
    broken: list[Any] = [None] * context.get_world_size()
    dist.all_gather_object(broken, trainer.data_collator.broken)
    if context.get_world_rank() == 0:
        export(trainer.model, state, processor, config, config.output / "model")
        total = sum(broken, skipped)
        done = {"samples": sum(example.copies for example in examples), "skipped": _nested(total)}
        (config.output / "summary.json").write_text(json.dumps(done), encoding="utf-8")
    dist.barrier()


class AnswerTrainer(Trainer):
    """Hugging Face Trainer over planned batches, with the loss averaged over all learned tokens of a step."""

    def __init__(self, config: TrainConfig, processor: Any, examples: list[Example], arguments: TrainingArguments) -> None:
        self.rank = ray.train.get_context().get_world_rank()
        self.datasets = sorted({example.dataset for example in examples})
        shape = Shape(config.workers, config.per_device_batch, config.batch_tokens, config.group_by)
        sizes = [len(example.ids) for example in examples]
        rounds = plan(sizes, [e.dataset for e in examples], [e.copies for e in examples], shape, config.seed)
        count = config.steps * arguments.gradient_accumulation_steps
        self.batches = [ranks[self.rank] for ranks in islice(rounds, count)]
        self.tally = torch.zeros(len(self.datasets) + 1, 2, dtype=torch.float64)
        self.padded = 0
        super().__init__(
            model=build(config),
            args=arguments,
            data_collator=Collator(processor, self.datasets, config.seed),
            train_dataset=examples,
            callbacks=[Report(self, config)],
        )
        self.model_accepts_loss_kwargs = True  # the step's learned tokens are counted over all ranks and rounds
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's batches of the plan; the Trainer skips those a resumed run has done."""
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Summed loss over this batch ÷ the step's learned tokens on all ranks (× ranks: gradients are averaged)."""
        dataset = int(inputs.pop("dataset"))
        learned = int((inputs["labels"] != -100).sum())
        loss = model(**inputs)["loss"]
        self.tally[dataset] += torch.tensor([float(loss.detach()), learned], dtype=torch.float64)
        self.padded += inputs["input_ids"].numel()
        return loss * self.args.world_size / max(1, int(num_items_in_batch))


class Report(TrainerCallback):
    """Writes metrics.jsonl every `log_every` steps and hands checkpoints to Ray Train."""

    def __init__(self, trainer: AnswerTrainer, config: TrainConfig) -> None:
        self.trainer = trainer
        self.config = config
        self.since = time.monotonic()
        self.begun = time.monotonic()
        self.last: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock starts when the first step does."""
        self.since = self.begun = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One line of metrics, summed over the ranks."""
        if state.global_step % self.config.log_every and state.global_step != state.max_steps:
            return
        padded = torch.tensor([[float(self.trainer.padded), 0.0]], dtype=torch.float64)
        tally = torch.cat([self.trainer.tally, padded]).to(args.device)
        dist.all_reduce(tally)
        self.trainer.tally.zero_()
        self.trainer.padded = 0
        now = time.monotonic()
        sums = tally[:-1].sum(0)
        self.last = {
            "step": state.global_step,
            "loss": round(float(sums[0] / sums[1].clamp(min=1)), 5),
            "lr": self.trainer.lr_scheduler.get_last_lr()[0],
            "tokens_per_second": round(float(tally[-1, 0]) / (now - self.since), 1),
            "learned_tokens": int(sums[1]),
            "seconds": round(now - self.begun, 1),
            "sets": {
                name: round(float(total / count), 5)
                for name, (total, count) in zip(self.trainer.datasets, tally, strict=False)
                if count
            },
        }
        self.since = now
        if state.is_world_process_zero:
            with (self.config.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.last) + "\n")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One rank of each node hands over what the node's ranks wrote (ZeRO keeps a shard per rank)."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        dist.barrier()
        mine = ray.train.get_context().get_local_rank() == 0
        handed = ray.train.Checkpoint.from_directory(str(folder)) if mine else None
        ray.train.report({"step": state.global_step, **self.last}, checkpoint=handed)
        if mine:
            shutil.rmtree(folder, ignore_errors=True)


def _arguments(config: TrainConfig) -> TrainingArguments:
    place = sha256(str(config.output.resolve()).encode()).hexdigest()[:12]
    return TrainingArguments(
        output_dir=str(Path(tempfile.gettempdir()) / f"imageref-train-{place}"),
        max_steps=config.steps,
        per_device_train_batch_size=config.per_device_batch,
        gradient_accumulation_steps=config.global_batch // (config.workers * config.per_device_batch),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(config.warmup_ratio * config.steps),
        lr_scheduler_type="constant_with_warmup" if config.schedule == "constant" else config.schedule,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        bf16=config.precision == "bf16",
        use_cpu=config.gpus_per_worker == 0,
        optim="adamw_torch",
        deepspeed=deepspeed_config(config),
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        logging_strategy="no",
        disable_tqdm=True,
        report_to=[],
        seed=config.seed,
        remove_unused_columns=False,
    )


def _examples(config: TrainConfig, processor: Any) -> tuple[list[Example], Counter[tuple[str, str]]]:
    rows, skipped = mixture.draw(mixture.entries(config), config.max_tiles, config.seed)
    examples = encode_all(rows, Encoder(processor, config.sequence_length, config.system), skipped)
    if not examples:
        raise ValueError(f"no sample of the mixture can be trained on: {_nested(skipped)}")
    return examples, skipped


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (dataset, reason), count in counts.items():
        nested.setdefault(dataset, {})[reason] = count
    return nested


def _quiet(log: Path) -> None:
    """Everything this process and its libraries print goes to the log."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
