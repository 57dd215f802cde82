"""One Ray Train worker: settings in, its share of the training done, metrics and checkpoints reported."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import AutoProcessor, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.dataset import mixture
from imageref_ray.training.batch_plan import Shape, plan
from imageref_ray.training.callback import COUNTED, Report
from imageref_ray.training.checkpoint import export, gathered
from imageref_ray.training.deepspeed_config import deepspeed_config
from imageref_ray.training.encode import IGNORED, Collator, Encoder, Example, encode_all
from imageref_ray.training.model import attention, build, flash_missing
from imageref_ray.training.progress import write
from imageref_ray.training.recovery import LIST


def work(settings: dict[str, Any]) -> None:
    """Train on this rank; `settings` is the TrainConfig as plain values. ConfigError if no sample is usable."""
    config = TrainConfig.model_validate(settings)
    _quiet(config.output / "train.log")
    print(f"attention: {attention(config, flash_missing())}", flush=True)  # refused here, before anything is read
    import deepspeed  # it prints when imported

    rank = ray.train.get_context().get_world_rank()
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    set_seed(config.seed + rank)
    processor = AutoProcessor.from_pretrained(resolve_model(config.model))
    examples, skipped = _examples(config, processor)
    deepspeed.init_distributed(dist_backend=dist.get_backend())  # on the process group that Ray Train has set up
    place = place_of(config)
    _tidy(place, config.output)
    arguments = _arguments(config, place)  # before the model: ZeRO-3 takes it apart while it is loaded
    trainer = AnswerTrainer(config, processor, examples, arguments)
    _run(trainer)
    state = gathered(trainer)
    skipped += trainer.broken_everywhere()
    if rank == 0:
        processor.image_processor.max_patches = config.max_tiles  # so that inference cuts images as training did
        export(trainer.model, state, config.lora, processor, config.output / "model")
        done = {"samples": sum(example.copies for example in examples), "skipped": _by_set(skipped)}
        write(config.output / "summary.json", json.dumps(done))
    dist.barrier()
    shutil.rmtree(place, ignore_errors=True)


class AnswerTrainer(Trainer):
    """Hugging Face Trainer over planned batches; the loss is averaged over all learned tokens of a step."""

    def __init__(
        self, config: TrainConfig, processor: Any, examples: list[Example], arguments: TrainingArguments
    ) -> None:
        rank = ray.train.get_context().get_world_rank()
        shape = Shape(config.workers, config.per_device_batch, config.batch_tokens, config.group_by)
        lengths, groups = [len(example.ids) for example in examples], [example.dataset for example in examples]
        rounds = plan(lengths, groups, [example.copies for example in examples], shape, config.seed)
        count = config.steps * arguments.gradient_accumulation_steps
        self.batches = [ranks[rank] for ranks in islice(rounds, count)]
        self.datasets = sorted(set(groups))
        self.tally = torch.zeros(len(self.datasets), 2, dtype=torch.float64, device=arguments.device)  # loss, tokens
        self.padded = 0
        self.broken: Counter[int] = Counter()
        super().__init__(
            model=build(config),
            args=arguments,
            data_collator=Collator(processor, self.datasets, config.seed + rank),
            train_dataset=examples,
            callbacks=[Report(self, config)],
        )
        self.model_accepts_loss_kwargs = True  # so the learned tokens are counted over all ranks and rounds of a step
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's batches of the plan; the Trainer skips those that a resumed run has done."""
        loaders = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator, num_workers=loaders
        )

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's summed loss ÷ the step's learned tokens on all ranks × ranks (gradients are averaged)."""
        self.broken.update(inputs.pop("broken").tolist())
        datasets = inputs.pop("dataset")
        found = model(**inputs)
        learned = (inputs["labels"] != IGNORED).sum(1)
        self.tally.index_add_(0, datasets, torch.stack([found["each"].double(), learned.double()], 1))
        self.padded += inputs["input_ids"].numel()
        loss: torch.Tensor = found["loss"]
        return loss * self.args.world_size / max(1, int(num_items_in_batch))

    def counted(self) -> dict[str, Any]:
        """What all ranks have counted since it was last written: for the checkpoint, called on every rank."""
        tally = self.tally.clone()
        dist.all_reduce(tally)
        return {"tally": tally.tolist(), "broken": dict(self._broken())}

    def go_on_from(self, checkpoint: Path) -> None:
        """One rank takes over what all had counted at a checkpoint."""
        if self.args.process_index == 0 and (checkpoint / COUNTED).is_file():
            counted = json.loads((checkpoint / COUNTED).read_text(encoding="utf-8"))
            self.tally += torch.tensor(counted["tally"], dtype=self.tally.dtype, device=self.tally.device)
            self.broken.update({int(number): count for number, count in counted["broken"].items()})

    def broken_everywhere(self) -> Counter[tuple[str, str]]:
        """Uses of samples, on all ranks, whose picture broke while training."""
        total = self._broken()
        return Counter({(self.datasets[number], "picture cannot be decoded"): total[number] for number in total})

    def _broken(self) -> Counter[int]:
        found: list[Counter[int]] = [Counter()] * self.args.world_size
        dist.all_gather_object(found, self.broken)
        return sum(found, Counter())


def _examples(config: TrainConfig, processor: Any) -> tuple[list[Example], Counter[tuple[str, str]]]:
    rows, skipped = mixture.draw(mixture.entries(config), config.max_tiles, config.seed)
    examples = encode_all(rows, Encoder(processor, config.sequence_length, config.system), skipped)
    if not examples:
        raise ConfigError(f"mixture: no sample can be trained on: {_by_set(skipped)}; fix the annotation files")
    return examples, skipped


def _run(trainer: AnswerTrainer) -> None:
    latest = ray.train.get_checkpoint()
    if latest is None:
        trainer.train()
        return
    with latest.as_directory() as folder:
        trainer.go_on_from(Path(folder))
        trainer.train(resume_from_checkpoint=folder)


def place_of(config: TrainConfig) -> Path:
    """Where this machine's ranks write a checkpoint before it is handed over."""
    run = sha256(str(config.output.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"imageref-train-{run}"


def _tidy(place: Path, output: Path) -> None:
    """Nothing that a killed attempt left may end in a checkpoint of this one, or fill the disks.

    On every rank: what this machine's ranks, which may be others now, had begun to write, and checkpoints that were
    never handed over whole, which Ray Train's list does not name.
    """
    context = ray.train.get_context()
    if context.get_local_rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
    if context.get_world_rank() == 0:
        named = (output / LIST).read_text(encoding="utf-8") if (output / LIST).is_file() else ""
        for folder in (output / LIST.parent).glob("checkpoint_*/"):
            if f'"{folder.name}"' not in named:
                shutil.rmtree(folder, ignore_errors=True)
    dist.barrier()


def _arguments(config: TrainConfig, place: Path) -> TrainingArguments:
    on_gpu = config.gpus_per_worker > 0
    return TrainingArguments(
        output_dir=str(place),
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
        use_cpu=not on_gpu,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        deepspeed=deepspeed_config(config),
        save_steps=config.checkpoint_every,
        logging_strategy="no",
        disable_tqdm=True,
        report_to=[],
        seed=config.seed,
        remove_unused_columns=False,
        dataloader_num_workers=min(4, max(1, int(config.cpus_per_worker) - 1)) if on_gpu else 0,
    )


def _by_set(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """(data set, reason) → count as data set → reason → count."""
    nested: dict[str, dict[str, int]] = {}
    for (dataset, reason), count in sorted(counts.items()):
        nested.setdefault(dataset, {})[reason] = count
    return nested


def _quiet(log: Path) -> None:
    """Everything this process and its libraries print goes to the log."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
