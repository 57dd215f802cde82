"""One Ray Train worker: settings → its share of the training; reports metrics and checkpoints."""

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
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import AutoProcessor, Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, TrainConfig
from imageref_ray.core.durable import write_atomically, writing
from imageref_ray.dataset import mixture
from imageref_ray.training.batch_plan import BatchShape, plan_rounds
from imageref_ray.training.callback import COUNTS_FILE, ReportCallback
from imageref_ray.training.checkpoint import export_checkpoint, gather_weights, trained_tiles
from imageref_ray.training.deepspeed_config import deepspeed_config
from imageref_ray.training.encode import IGNORED, Collator, Encoder, encode_all
from imageref_ray.training.model import build_model, choose_attention, why_flash_attn_is_missing
from imageref_ray.training.recovery import CHECKPOINT_LIST
from imageref_ray.training.sample_uses import SampleUses
from imageref_ray.training.schedule import decaying, learning_rate


def train_on_rank(settings: dict[str, Any], resume: bool = True) -> None:
    """Train on this rank; `settings` is the TrainConfig as plain values. Raises ConfigError if no sample is usable.

    `resume`: begin with the latest checkpoint of the Ray Train run, where it has one.
    """
    config = TrainConfig.model_validate(settings)
    _redirect_output(config.output / "train.log")
    implementation = choose_attention(config, why_flash_attn_is_missing())  # may refuse, before anything is read
    print(f"attention: {implementation}", flush=True)
    import deepspeed  # it prints when imported

    rank = ray.train.get_context().get_world_rank()
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    set_seed(config.seed + rank)
    processor = AutoProcessor.from_pretrained(resolve_model(config.model))
    samples, skipped = _samples(config, processor)
    trained = trained_tiles(config, samples.examples)
    deepspeed.init_distributed(dist_backend=dist.get_backend())  # uses the process group of Ray Train
    scratch = scratch_folder(config)
    _clean_up(scratch, config.output)
    arguments = _arguments(config, scratch)  # before the model: ZeRO-3 shards it while it is loaded
    trainer = AnswerTrainer(config, processor, samples, arguments)
    _run(trainer, ray.train.get_checkpoint() if resume else None)
    state = gather_weights(trainer)
    skipped += trainer.skipped_in_training()
    if rank == 0:
        export_checkpoint(trainer.model, state, config.lora, processor, trained, config.output / "model")
        summary = {"samples": sum(example.copies for example in samples.examples), "skipped": _by_set(skipped)}
        write_atomically(config.output / "summary.json", json.dumps(summary))
    dist.barrier()
    shutil.rmtree(scratch, ignore_errors=True)


class AnswerTrainer(Trainer):
    """Hugging Face Trainer over planned batches; the loss is averaged over all learned tokens of a step."""

    def __init__(self, config: TrainConfig, processor: Any, samples: SampleUses, arguments: TrainingArguments) -> None:
        rank = ray.train.get_context().get_world_rank()
        shape = BatchShape(config.workers, config.per_device_batch, config.batch_tokens, config.group_by)
        groups, copies = zip(*((example.dataset, example.copies) for example in samples.examples), strict=True)
        tokens = samples.tokens if config.batch_tokens else samples.tokens_as_written
        rounds = plan_rounds(tokens, groups, copies, shape, config.seed, _ratios(config))
        count = config.steps * arguments.gradient_accumulation_steps
        self.config = config
        self.batches = [ranks[rank] for ranks in islice(rounds, count)]
        self.datasets = sorted(set(groups))
        self.tally = torch.zeros(len(self.datasets), 2, dtype=torch.float64, device=arguments.device)  # loss, tokens
        self.padded = 0
        self.broken: Counter[int] = Counter()
        super().__init__(
            model=build_model(config),
            args=arguments,
            data_collator=Collator(processor, self.datasets, config.seed + rank),
            train_dataset=samples,
            callbacks=[ReportCallback(self, config)],
        )
        self.model_accepts_loss_kwargs = True  # so the learned tokens are counted over all ranks and rounds of a step
        self.remove_callback(PrinterCallback)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The Trainer's; a full disk is told as such, not as the error in torch that follows from it."""
        with writing(Path(self.args.output_dir)):
            super()._save_checkpoint(model, trial)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's batches of the plan; the Trainer skips the ones that were done before a resume."""
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator, num_workers=workers
        )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """The learning rate of `schedule.py` (the Trainer's own schedules begin at 0)."""
        config = self.config
        scheduler = LambdaLR(
            optimizer or self.optimizer, lambda step: learning_rate(config, step) / config.learning_rate
        )
        self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """The weights that decay, by `schedule.py`."""
        return decaying(model)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's summed loss ÷ the step's learned tokens on all ranks × ranks (gradients are averaged)."""
        self.broken.update(inputs.pop("broken").tolist())
        datasets = inputs.pop("dataset")
        result = model(**inputs)
        learned = (inputs["labels"] != IGNORED).sum(1)
        self.tally.index_add_(0, datasets, torch.stack([result["each"].double(), learned.double()], 1))
        self.padded += inputs["input_ids"].numel()
        loss: torch.Tensor = result["loss"]
        return loss * self.args.world_size / max(1, int(num_items_in_batch))

    def unwritten_counts(self) -> dict[str, Any]:
        """The counts of all ranks since the last line of metrics, for the checkpoint; all ranks must call it."""
        tally = self.tally.clone()
        dist.all_reduce(tally)
        return {"tally": tally.tolist(), "broken": dict(self._broken_total())}

    def restore_counts(self, checkpoint: Path) -> None:
        """Take over the counts of all ranks from a checkpoint, on rank 0."""
        if self.args.process_index == 0 and (checkpoint / COUNTS_FILE).is_file():
            counts = json.loads((checkpoint / COUNTS_FILE).read_text(encoding="utf-8"))
            self.tally += torch.tensor(counts["tally"], dtype=self.tally.dtype, device=self.tally.device)
            self.broken.update({int(number): count for number, count in counts["broken"].items()})

    def skipped_in_training(self) -> Counter[tuple[str, str]]:
        """(data set, reason) → uses of samples, on all ranks, whose image could not be decoded."""
        total = self._broken_total()
        return Counter({(self.datasets[number], "image cannot be decoded"): total[number] for number in total})

    def _broken_total(self) -> Counter[int]:
        by_rank: list[Counter[int]] = [Counter()] * self.args.world_size
        dist.all_gather_object(by_rank, self.broken)
        return sum(by_rank, Counter())


def _samples(config: TrainConfig, processor: Any) -> tuple[SampleUses, Counter[tuple[str, str]]]:
    sets = mixture.entries(config)
    by_batch = config.group_by == "dataset"
    conversations, skipped = mixture.draw(sets, config.max_tiles, config.seed, whole_sets=by_batch)
    encoder = Encoder(processor, config.sequence_length, config.system, config.share_tiles)
    examples = encode_all(conversations, encoder, skipped)
    if not examples:
        raise ConfigError(f"mixture: no sample can be trained on: {_by_set(skipped)}; fix the annotation files")
    return SampleUses(examples, encoder, config.seed), skipped


def _ratios(config: TrainConfig) -> dict[str, float]:
    """The ratios by which batches are drawn; empty if they are not: then samples are, if the sets have ratios."""
    if config.group_by != "dataset":
        return {}
    return {name: entry.ratio for name, entry in mixture.entries(config).items() if entry.ratio is not None}


def _run(trainer: AnswerTrainer, latest: ray.train.Checkpoint | None) -> None:
    if latest is None:
        trainer.train()
        return
    with latest.as_directory() as folder:
        trainer.restore_counts(Path(folder))
        trainer.train(resume_from_checkpoint=folder)


def scratch_folder(config: TrainConfig) -> Path:
    """Where this machine's ranks write a checkpoint before it is reported to Ray Train."""
    run = sha256(str(config.output.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"imageref-train-{run}"


def _clean_up(scratch: Path, output: Path) -> None:
    """Remove what a killed attempt left, so that it neither gets into a checkpoint nor fills the disks.

    Called on every rank. Removes unfinished files of this machine's scratch folder, and checkpoints that were not
    completely reported and so are not in Ray Train's list.
    """
    context = ray.train.get_context()
    if context.get_local_rank() == 0:
        shutil.rmtree(scratch, ignore_errors=True)
    if context.get_world_rank() == 0:
        path = output / CHECKPOINT_LIST
        listed = path.read_text(encoding="utf-8") if path.is_file() else ""
        for folder in path.parent.glob("checkpoint_*/"):
            if f'"{folder.name}"' not in listed:
                shutil.rmtree(folder, ignore_errors=True)
    dist.barrier()


def _arguments(config: TrainConfig, scratch: Path) -> TrainingArguments:
    on_gpu = config.gpus_per_worker > 0
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=config.steps,
        per_device_train_batch_size=config.per_device_batch,
        gradient_accumulation_steps=config.global_batch // (config.workers * config.per_device_batch),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
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


def _redirect_output(log: Path) -> None:
    """Redirect stdout and stderr of this process and its libraries to the log."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
