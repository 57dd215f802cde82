"""A trained model → a Hugging Face InternVL checkpoint that transformers and vLLM can load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLForConditionalGeneration
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from imageref_ray.core.config import LoraConfig

PEFT_PREFIX = "base_model.model."  # peft's prefix of every weight name


def gather_weights(trainer: Any) -> dict[str, torch.Tensor]:
    """The weights of the whole model, for every ZeRO stage; all ranks must call it, rank 0 gets the result."""
    state: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def export_checkpoint(
    model: Any, state: dict[str, torch.Tensor], lora: LoraConfig | None, processor: Any, folder: Path
) -> None:
    """Write weights (LoRA merged), config, processor and tokenizer; `folder` appears complete or not at all."""
    if lora:
        model, state = model.get_base_model(), merge_lora(state, lora)
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    as_internvl(model.config, state).save_pretrained(temporary)
    processor.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def as_internvl(config: Any, state: dict[str, torch.Tensor]) -> InternVLForConditionalGeneration:
    """The weights in transformers' public class, whose `save_pretrained` writes the names that loaders expect."""
    unset_hf_deepspeed_config()  # or ZeRO-3 would shard the new model over the ranks
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.config.use_cache = True  # training disables it
    model.config.dtype = next(iter(state.values())).dtype
    return model


def merge_lora(state: dict[str, torch.Tensor], lora: LoraConfig) -> dict[str, torch.Tensor]:
    """peft's weights merged into the base model's: W + alpha / rank × B A, computed in float32."""
    merged: dict[str, torch.Tensor] = {}
    for name, weight in state.items():
        if ".lora_" in name:
            continue
        if ".base_layer." in name:
            stem, part = name.split(".base_layer.")
            if part == "weight":
                down, up = (state[f"{stem}.lora_{side}.default.weight"].float() for side in "AB")
                weight = (weight.float() + lora.alpha / lora.rank * (up @ down)).to(weight.dtype)
            name = f"{stem}.{part}"
        merged[name.removeprefix(PEFT_PREFIX)] = weight
    return merged
