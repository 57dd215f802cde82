"""A checkpoint folder and a TrainConfig in, the InternVL to train out: loss on the answers, freezing, LoRA, drop path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, InternVLForConditionalGeneration

from imageref_ray.config import ConfigError, LoraConfig, TrainConfig
from imageref_ray.training.data import IGNORED

LORA_TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


class AnswerLoss(InternVLForConditionalGeneration):
    """InternVL whose forward pass gives the summed loss and scores the vocabulary only where a token is learned."""

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, pixel_values: torch.Tensor | None = None, **_: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """input_ids, labels [batch, tokens], pixel_values [tiles, 3, size, size] → {"loss": sum over learned tokens}.

        Position t predicts token t + 1, as in every causal language model. Padding stands on the right.
        """
        hidden = self.model(input_ids=input_ids, pixel_values=pixel_values, use_cache=False)[0]
        learned = labels[:, 1:] != IGNORED
        logits = self.lm_head(hidden[:, :-1][learned])
        return {"loss": nn.functional.cross_entropy(logits.float(), labels[:, 1:][learned], reduction="sum")}


class DropPath(nn.Module):
    """Stochastic depth: in training a whole residual branch of an image is left out with this probability."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """branch [images, tokens, hidden] → the same, whole images zeroed, the kept ones scaled up."""
        if not self.training:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * kept.to(branch.dtype) / (1 - self.rate)


def check_model(name: str) -> None:
    """ConfigError unless `name` is an InternVL checkpoint in Hugging Face format."""
    if Path(name).is_absolute() or name.startswith(".") or Path(name).exists():
        if not (Path(name) / "config.json").is_file():
            raise ConfigError(f"model: {name} holds no config.json; give the folder of a Hugging Face InternVL checkpoint")
    try:
        found = AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as error:
        raise ConfigError(f"model: {name} cannot be read ({str(error).splitlines()[0]}); give an InternVL checkpoint") from None
    if found != "internvl":
        raise ConfigError(f"model: {name} is a {found}, not an internvl in Hugging Face format; give an InternVL …-hf checkpoint")


def build(config: TrainConfig) -> Any:
    """The model to train: weights loaded, parts frozen, drop path and LoRA in place."""
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model = AnswerLoss.from_pretrained(config.model, dtype=dtype)
    model.config.use_cache = False
    parts = {
        "vision": model.model.vision_tower,
        "projector": model.model.multi_modal_projector,
        "language": model.model.language_model,
    }
    for name in config.freeze:
        parts[name].requires_grad_(False)
    if "language" in config.freeze:
        model.lm_head.requires_grad_(False)
    if config.drop_path:
        _drop_paths(parts["vision"], config.drop_path)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return _with_lora(model, config.lora, config.freeze) if config.lora else model


def _drop_paths(vision: Any, rate: float) -> None:
    """Rates rise linearly from 0 in the first layer to `rate` in the last, on both residual branches."""
    layers = vision.encoder.layer
    for number, layer in enumerate(layers):
        here = rate * number / max(1, len(layers) - 1)
        layer.attention.projection_dropout = DropPath(here)
        layer.dropout = DropPath(here)


def _with_lora(model: Any, lora: LoraConfig, freeze: tuple[str, ...]) -> Any:
    import peft

    wrapped = peft.get_peft_model(
        model, peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    )
    if "projector" not in freeze:  # the adapters replace the language model's weights, not the projector's
        model.model.multi_modal_projector.requires_grad_(True)
    return wrapped
