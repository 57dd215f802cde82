"""The settings of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Model, Shared, Written


class MixtureEntry(Config):
    """One data set of a mixture (InternVL's meta JSON)."""

    root: Shared[Path] = Field(Path("."), description="folder that image paths are relative to")
    annotation: Shared[Path]
    repeat_time: float = Field(1.0, gt=0, description="below 1: a seeded share of the samples; above: repeats")
    ratio: float | None = Field(
        None, gt=0, description="draw by probability ratio / sum of all sets' ratios, instead of repeat_time"
    )
    data_augment: bool = False
    length: int | None = Field(None, description="samples in the file; training is refused where it holds others")
    max_dynamic_patch: int | None = Field(None, ge=1, description="most tiles per image in this set")


class LoraConfig(Config):
    """Low-rank adaptation of the language model's linear layers."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)


class TrainConfig(Config):
    """`imageref train`: mixture + InternVL checkpoint → fine-tuned checkpoint (Ray Train + DeepSpeed)."""

    model: Model = Field(description="InternVL checkpoint in Hugging Face format (folder or hub name)")
    output: Written[Path] = Field(description="run directory; the result lands in <output>/model")
    mixture: Shared[dict[str, MixtureEntry] | Path] = Field(description="data sets by name, or a meta JSON file")
    workers: int = Field(2, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    accelerator_type: str | None = Field(None, description="GPU kind in a mixed cluster, in Ray's words: A100, …")
    max_failures: int = Field(
        3, ge=0, description="restarts from the latest checkpoint when workers or their nodes die; 0: none"
    )
    zero_stage: Literal[0, 1, 2, 3] = 2
    steps: int = Field(1000, ge=1)
    global_batch: int = Field(128, ge=1)
    per_device_batch: int = Field(2, ge=1)
    batch_tokens: int | None = Field(
        None,
        ge=16,
        description="fill batches up to this many padded tokens per device instead of per_device_batch samples",
    )
    learning_rate: float = Field(4e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.999)
    drop_path: float = Field(0.0, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    attention: Literal["auto", "flash_attention_2", "sdpa"] = Field(
        "auto", description="auto: flash-attn on GPUs in bf16 where it is installed, else PyTorch's own (sdpa)"
    )
    sequence_length: int = Field(16_384, ge=16)
    freeze: tuple[Literal["vision", "projector", "language"], ...] = ("vision",)
    fresh: tuple[Literal["vision", "projector", "language"], ...] = Field(
        (), description="parts that start from random weights instead of the checkpoint's (not with ZeRO-3)"
    )
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = True
    group_by: Literal["length", "dataset", "none"] = Field(
        "length", description="what the samples of one batch share: like length, or one data set (and like length)"
    )
    max_tiles: int = Field(6, ge=1, description="most 448 px tiles per image (a thumbnail is added beyond one)")
    system: str = Field("", description="system prompt put before every conversation")
    checkpoint_every: int = Field(50, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1)
    seed: int = 42

    @model_validator(mode="after")
    def _flash_attention_can_run(self) -> TrainConfig:
        if self.attention == "flash_attention_2" and self.gpus_per_worker == 0:
            raise ValueError("attention: flash_attention_2 runs on GPUs only; set gpus_per_worker, or attention: auto")
        if self.attention == "flash_attention_2" and self.precision != "bf16":
            raise ValueError(
                f"attention: flash_attention_2 computes in bf16, not {self.precision}; "
                "set precision: bf16, or attention: auto"
            )
        return self
