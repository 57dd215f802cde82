"""A trained model in, a Hugging Face InternVL checkpoint out that transformers and vLLM load."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLForConditionalGeneration
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from imageref_ray.core.config import LoraConfig

WRAPPED = "base_model.model."  # what peft puts before every name


def gathered(trainer: Any) -> dict[str, torch.Tensor]:
    """The whole model's weights, whatever the ZeRO stage: every rank must call it, rank 0 gets them."""
    state: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def export(model: Any, state: dict[str, torch.Tensor], lora: LoraConfig | None, processor: Any, folder: Path) -> None:
    """Write weights (LoRA folded in), config, processor and tokenizer; the folder appears whole or not at all."""
    if lora:
        model, state = model.get_base_model(), folded(state, lora)
    fresh = folder.with_name(folder.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    plain(model.config, state).save_pretrained(fresh)
    processor.save_pretrained(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def plain(config: Any, state: dict[str, torch.Tensor]) -> InternVLForConditionalGeneration:
    """The weights in the public class, whose `save_pretrained` gives them the names that every loader knows."""
    unset_hf_deepspeed_config()  # under ZeRO-3 the new model would be split over the ranks at once
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.config.use_cache = True  # training turned it off
    model.config.dtype = next(iter(state.values())).dtype
    return model


def folded(state: dict[str, torch.Tensor], lora: LoraConfig) -> dict[str, torch.Tensor]:
    """peft's weights as the plain model's: W + alpha / rank × B A, computed in float32."""
    whole: dict[str, torch.Tensor] = {}
    for name, weight in state.items():
        if ".lora_" in name:
            continue
        if ".base_layer." in name:
            stem, part = name.split(".base_layer.")
            if part == "weight":
                down, up = (state[f"{stem}.lora_{side}.default.weight"].float() for side in "AB")
                weight = (weight.float() + lora.alpha / lora.rank * (up @ down)).to(weight.dtype)
            name = f"{stem}.{part}"
        whole[name.removeprefix(WRAPPED)] = weight
    return whole
