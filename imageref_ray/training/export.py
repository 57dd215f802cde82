"""A trained model in, a Hugging Face InternVL checkpoint out that transformers and vLLM load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLForConditionalGeneration

from imageref_ray.config import TrainConfig


def gathered(trainer: Any) -> dict[str, torch.Tensor]:
    """The whole model's weights on every rank, whatever the ZeRO stage. Every rank must call it."""
    state: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def export(model: Any, state: dict[str, torch.Tensor], processor: Any, config: TrainConfig, folder: Path) -> None:
    """Write the checkpoint: LoRA merged, weights in the training precision, processor and tokenizer beside them.

    The folder appears whole or not at all.
    """
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    if config.lora:
        model.load_state_dict(state, strict=False)
        model = model.merge_and_unload()
        state = model.state_dict()
    plain = InternVLForConditionalGeneration.from_pretrained(config.model, dtype=dtype)
    plain.load_state_dict(state, strict=False)
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    plain.save_pretrained(fresh)
    processor.save_pretrained(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
