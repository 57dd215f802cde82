"""A trained model → a Hugging Face InternVL checkpoint that transformers and vLLM can load."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLForConditionalGeneration
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from imageref_ray.core import tiles
from imageref_ray.core.config import LoraConfig, TrainConfig
from imageref_ray.core.durable import sync, sync_tree, writing
from imageref_ray.core.tiles import Tiles
from imageref_ray.dataset import mixture
from imageref_ray.training.encode import Example

PEFT_PREFIX = "base_model.model."  # peft's prefix of every weight name


def gather_weights(trainer: Any) -> dict[str, torch.Tensor]:
    """The weights of the whole model, for every ZeRO stage; all ranks must call it, rank 0 gets the result."""
    state: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state


def trained_tiles(config: TrainConfig, examples: Iterable[Example]) -> Tiles:
    """What the checkpoint records of how images were cut (`core/tiles.py`)."""
    by_set = {name: entry.max_dynamic_patch or config.max_tiles for name, entry in mixture.entries(config).items()}
    images = Counter[str]()
    for example in examples:
        images[example.dataset] += len(example.images) * example.copies
    return tiles.trained(by_set, images, config.share_tiles, config.max_tiles)


def export_checkpoint(
    model: Any, state: dict[str, torch.Tensor], lora: LoraConfig | None, processor: Any, trained: Tiles, folder: Path
) -> None:
    """Write weights (LoRA merged), config, processor, tokenizer and record; `folder` appears complete, on the disk, or
    not at all.

    Whatever loads the processor then cuts an image as training did; the images of a request share the tiles only where
    the record is read too, as all engines here do.
    """
    if lora:
        model, state = model.get_base_model(), merge_lora(state, lora)
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    processor.image_processor.max_patches = trained.max_tiles
    processor.image_processor.crop_to_patches = trained.max_tiles > 1
    with writing(temporary):
        as_internvl(model.config, state).save_pretrained(temporary)
        processor.save_pretrained(temporary)
    tiles.write(temporary, trained)
    sync_tree(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    with writing(folder):
        temporary.rename(folder)
    sync(folder.parent)


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
