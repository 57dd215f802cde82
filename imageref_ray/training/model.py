"""A checkpoint and a TrainConfig → the InternVL model to train: loss on the answers, freezing, LoRA, drop path."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import InternVLForConditionalGeneration
from transformers.utils import is_flash_attn_2_available

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, LoraConfig, TrainConfig
from imageref_ray.training.encode import IGNORED

LORA_TARGETS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


class AnswerLoss(InternVLForConditionalGeneration):
    """InternVL whose forward pass returns the summed loss and computes logits only for learned tokens."""

    def forward(  # type: ignore[override]
        self, input_ids: torch.Tensor, labels: torch.Tensor, pixel_values: torch.Tensor, **_: Any
    ) -> dict[str, torch.Tensor]:
        """input_ids, labels [batch, tokens], pixel_values [tiles, 3, size, size] → `loss`, the sum, and `each` [batch].

        Position t predicts token t + 1. Padding is on the right, which causal attention never reads: no mask is needed.
        A batch without images has one blank tile, so that every rank runs the same modules in the same order, which
        the exchange of gradients and of ZeRO-3's weights requires.
        """
        embeddings = self.get_input_embeddings()(input_ids)
        features = self.get_image_features(pixel_values).pooler_output.to(embeddings.dtype)
        is_image = (input_ids == self.config.image_token_id).unsqueeze(-1)
        embeddings = embeddings.masked_scatter(is_image, features)
        hidden = self.model.language_model(inputs_embeds=embeddings, use_cache=False)[0]
        learned = labels[:, 1:] != IGNORED
        logits = self.lm_head(hidden[:, :-1][learned])
        losses = nn.functional.cross_entropy(logits.float(), labels[:, 1:][learned], reduction="none")
        each = losses.new_zeros(len(labels)).index_add(0, learned.nonzero()[:, 0], losses.detach())
        return {"loss": losses.sum(), "each": each}


class DropPath(nn.Module):
    """Stochastic depth: in training, a residual branch is dropped for a whole tile with probability `rate`."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """branch [tiles, tokens, hidden] → the same, some tiles zeroed, the others scaled up to keep the mean."""
        if not self.training:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.rate
        return branch * kept.to(branch.dtype) / (1 - self.rate)


def choose_attention(config: TrainConfig, missing: str) -> str:
    """The attention implementation of the vision tower and the language model, as transformers names it.

    `missing` is why flash-attn cannot be used in this process ("": it can). PyTorch's own attention then runs a flash
    kernel too (in bf16 on a GPU), because no mask is passed (see `AnswerLoss`).
    Raises ConfigError if flash-attn is required by the config and missing.
    """
    if config.attention == "auto":
        fits = config.gpus_per_worker > 0 and config.precision == "bf16" and not missing
        return "flash_attention_2" if fits else "sdpa"
    if config.attention == "flash_attention_2" and missing:
        raise ConfigError(
            f"attention: flash_attention_2 cannot be used by a training worker: {missing}; "
            "install flash-attn there (requirements/gpu.txt says how), or set attention: auto"
        )
    return config.attention


def why_flash_attn_is_missing() -> str:
    """Why this process cannot use flash-attn, or "" if it can. An installed one may fail: it is built for one torch."""
    if find_spec("flash_attn") is None:
        return "flash-attn is not installed"
    try:
        import flash_attn  # noqa: F401
    except ImportError as error:
        return f"flash-attn cannot be imported ({error})"
    return "" if is_flash_attn_2_available() else "it needs a CUDA device and flash-attn 2.3.3 or newer"


def build_model(config: TrainConfig) -> Any:
    """The model to train: with its weights, frozen parts, drop path, LoRA and gradient checkpointing."""
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    implementation = choose_attention(config, why_flash_attn_is_missing())
    model = AnswerLoss.from_pretrained(resolve_model(config.model), dtype=dtype, attn_implementation=implementation)
    parts = {
        "vision": [model.model.vision_tower],
        "projector": [model.model.multi_modal_projector],
        "language": [model.model.language_model, model.lm_head],
    }
    if config.fresh:
        _reinitialize(model, [part for name in config.fresh for part in parts[name]], config.seed)
    for name in config.freeze:
        for part in parts[name]:
            part.requires_grad_(False)
    if config.drop_path:
        _add_drop_path(model.model.vision_tower.encoder.layer, config.drop_path)
    made = _with_lora(model, config.lora, config.freeze) if config.lora else model
    if config.gradient_checkpointing:
        _checkpoint(model, config)
    return made


def _checkpoint(model: Any, config: TrainConfig) -> None:
    """Have layers computed again on the way back instead of kept; a frozen vision tower has no way back."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()  # else every embedding, a frozen tower's too, asks for its gradient
    if "vision" in config.freeze:
        model.model.vision_tower.gradient_checkpointing_disable()


def _reinitialize(model: Any, parts: list[nn.Module], seed: int) -> None:
    """Give these parts of the model new random weights, as in an untrained model of the same config."""
    torch.manual_seed(seed)
    names = {part: name for name, part in model.named_modules()}
    new = dict(AnswerLoss(model.config).named_modules())
    for part in parts:
        part.load_state_dict(new[names[part]].state_dict())


def _add_drop_path(layers: Any, rate: float) -> None:
    """Add drop path to both residual branches; rates rise linearly from 0 in the first layer to `rate` in the last."""
    for number, layer in enumerate(layers):
        layer_rate = rate * number / max(1, len(layers) - 1)
        layer.attention.projection_dropout = DropPath(layer_rate)
        layer.dropout = DropPath(layer_rate)


def _with_lora(model: Any, lora: LoraConfig, freeze: tuple[str, ...]) -> Any:
    from peft import LoraConfig as Adapters
    from peft import get_peft_model

    adapters = Adapters(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=LORA_TARGETS)
    # It freezes everything else; vision and projector are trained as asked. ZeRO-3 takes parameters of one type only,
    # so adapters have the model's own: what the optimizer works on is kept in float32 anyway.
    wrapped = get_peft_model(model, adapters, autocast_adapter_dtype=False)
    if "vision" not in freeze:
        model.model.vision_tower.requires_grad_(True)
    if "projector" not in freeze:
        model.model.multi_modal_projector.requires_grad_(True)
    return wrapped
