"""The settings of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Model, Shared, Written


class MixtureEntry(Config):
    """One data set of a mixture (an entry of InternVL's meta JSON)."""

    root: Shared[Path] = Field(Path("."), description="folder that image paths are relative to")
    annotation: Shared[Path] = Field(description="annotation JSONL of the data set")
    repeat_time: float = Field(
        1.0, gt=0, description="uses of each sample per epoch; below 1: a random (seeded) fraction of the samples"
    )
    ratio: float | None = Field(
        None,
        gt=0,
        description="sampling weight, instead of repeat_time: a sample is from this data set with probability ratio / "
        "sum of all ratios (with group_by: dataset, a batch is)",
    )
    data_augment: bool = Field(False, description="recompress images as JPEG of random quality (75 to 100)")
    augment: Literal["crop_flip"] | None = Field(
        None,
        description="crop_flip: at every use another random part of an image (half to all of its area), mirrored half "
        "of the time; not for answers that tell left from right, or read text",
    )
    length: int | None = Field(
        None, description="number of samples in the file; training is refused if it differs; default: not checked"
    )
    max_dynamic_patch: int | None = Field(
        None, ge=1, description="maximum tiles per image in this data set; default: max_tiles"
    )


class LoraConfig(Config):
    """Low-rank adaptation of the language model's linear layers."""

    rank: int = Field(16, ge=1, description="rank of the adapters")
    alpha: int = Field(32, ge=1, description="scaling: the adapters' output is multiplied by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout probability on the adapters' input")


class TrainConfig(Config):
    """`imageref train`: mixture + InternVL checkpoint → fine-tuned checkpoint (Ray Train + DeepSpeed)."""

    model: Model = Field(description="InternVL checkpoint in Hugging Face format: a folder, a hub name, or `embedded`")
    output: Written[Path] = Field(description="run directory; the trained model is written to <output>/model")
    mixture: Shared[dict[str, MixtureEntry] | Path] = Field(
        description="data sets by name, or the path of a meta JSON file"
    )
    workers: int = Field(2, ge=1, description="Ray Train workers, one per rank")
    cpus_per_worker: float = Field(1, gt=0, description="CPUs that Ray reserves per worker")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs that Ray reserves per worker; 0: train on the CPU")
    accelerator_type: str | None = Field(
        None, description="GPU type to run on in a mixed cluster, as Ray names it: A100, …"
    )
    max_failures: int = Field(
        3, ge=0, description="maximum restarts from the latest checkpoint when workers or their nodes die; 0: none"
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage: what is sharded over the workers")
    steps: int = Field(1000, ge=1, description="optimizer steps of the whole training")
    global_batch: int = Field(
        128, ge=1, description="samples per optimizer step; a multiple of workers × per_device_batch"
    )
    per_device_batch: int = Field(2, ge=1, description="samples per worker and forward pass")
    batch_tokens: int | None = Field(
        None,
        ge=16,
        description="fill batches up to this many padded tokens per worker instead of per_device_batch samples",
    )
    learning_rate: float = Field(4e-5, gt=0, description="peak learning rate of AdamW")
    min_learning_rate: float = Field(0.0, ge=0, description="learning rate at the end of a cosine or linear schedule")
    weight_decay: float = Field(
        0.01, ge=0, description="weight decay of AdamW (not on biases, norms and other weights that are vectors)"
    )
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="fraction of the steps for linear warm-up")
    warmup_from: float = Field(0.0, ge=0, description="learning rate at which warm-up begins")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="learning-rate schedule after warm-up"
    )
    betas: tuple[float, float] = Field((0.9, 0.999), description="beta1 and beta2 of AdamW")
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="stochastic depth in the vision tower: probability in its last layer, rising linearly from 0",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "bf16",
        description="number format of weights and computation; auto: bf16 on GPUs and on CPUs that compute in it, else "
        "fp32 (there bf16 is some 50 times slower)",
    )
    attention: Literal["auto", "flash_attention_2", "sdpa"] = Field(
        "auto",
        description="attention kernel; auto: flash-attn on GPUs in bf16 if it is installed, else PyTorch's own (sdpa)",
    )
    sequence_length: int = Field(
        16_384, ge=16, description="maximum tokens per sample, image tokens included; longer ones are skipped"
    )
    freeze: tuple[Literal["vision", "projector", "language"], ...] = Field(
        ("vision",), description="parts of the model that are not trained"
    )
    fresh: tuple[Literal["vision", "projector", "language"], ...] = Field(
        (), description="parts of the model that start from random weights (not with ZeRO stage 3)"
    )
    lora: LoraConfig | None = Field(
        None, description="train LoRA adapters of the language model instead of its weights; default: full fine-tuning"
    )
    gradient_checkpointing: bool = Field(True, description="recompute activations in the backward pass to save memory")
    group_by: Literal["length", "dataset", "none"] = Field(
        "length",
        description="what the samples of one batch, on all workers, have in common: similar length, one data set (and "
        "similar length), or nothing",
    )
    max_tiles: int = Field(
        6,
        ge=1,
        description="maximum tiles per image (of 448 px in released models); a thumbnail is added to more than one",
    )
    share_tiles: bool = Field(
        True,
        description="the images of a sample share the maximum, as in InternVL: each gets max(1, max_tiles // images)",
    )
    system: str = Field("", description="system prompt of conversations that have none of their own")
    checkpoint_every: int = Field(50, ge=1, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="number of latest checkpoints to keep")
    log_every: int = Field(10, ge=1, description="steps between lines of metrics.jsonl")
    seed: int = Field(42, description="seed of sampling, data order and dropout")

    @model_validator(mode="after")
    def _learning_rates_fit(self) -> TrainConfig:
        for name in ("min_learning_rate", "warmup_from"):
            if getattr(self, name) > self.learning_rate:
                raise ValueError(
                    f"{name}: {getattr(self, name):g} is above learning_rate ({self.learning_rate:g}), which is the "
                    "highest; lower it"
                )
        if self.min_learning_rate and self.schedule == "constant":
            raise ValueError(
                "min_learning_rate: a constant schedule never gets there; remove it, or set schedule: cosine"
            )
        if self.warmup_from and not self.warmup_ratio:
            raise ValueError(
                "warmup_from: there is no warm-up with warmup_ratio: 0; set warmup_ratio or remove warmup_from"
            )
        return self

    @model_validator(mode="after")
    def _something_is_trained(self) -> TrainConfig:
        if self.lora and "language" in self.freeze:
            raise ValueError("lora trains adapters of the language model, which freeze lists; remove one of the two")
        if {"vision", "projector", "language"} <= set(self.freeze):
            raise ValueError("freeze lists all parts of the model, so nothing would be trained; remove one")
        return self

    @model_validator(mode="after")
    def _flash_attention_can_run(self) -> TrainConfig:
        if self.attention == "flash_attention_2" and self.gpus_per_worker == 0:
            raise ValueError("attention: flash_attention_2 runs on GPUs only; set gpus_per_worker, or attention: auto")
        if self.attention == "flash_attention_2" and self.precision == "fp32":
            raise ValueError(
                f"attention: flash_attention_2 computes in bf16, not {self.precision}; "
                "set precision: bf16, or attention: auto"
            )
        return self
