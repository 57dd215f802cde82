"""An annotation row → `length`, its tokens in training, by which InternVL's trainer groups batches.

Counted with one tile per image, the paper's setting for image-referencing sets; `mixture.json` sets the same
(`max_dynamic_patch: 1`), so that trainer and count agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageref_ray.core import tokens
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.export.rows import ROLES, TAG, Row
from imageref_ray.dataset.mixture import messages
from imageref_ray.engines.chat_template import internvl

Count = Callable[[Row], int]

TILE_TOKENS = 256
"""Tokens of one 448 px tile in InternVL (patch 14, pixel shuffle 0.5)."""


def counter(tokenizer: str | None) -> Count:
    """A function that counts with the checkpoint's tokenizer and chat template; `estimate` for None.

    Raises ConfigError if the checkpoint has no usable tokenizer or no chat template.
    """
    return estimate if tokenizer is None else _counter(tokenizer)


def estimate(row: Row) -> int:
    """One token per four characters and per CJK character, and `TILE_TOKENS` + 2 per image."""
    texts = sum(tokens.estimate(turn["value"].replace(TAG, "")) for turn in row["conversations"])
    return texts + len(row["image"]) * (TILE_TOKENS + 2)


def _counter(name: str) -> Count:
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(resolve_model(name))
        tile = int(getattr(AutoConfig.from_pretrained(resolve_model(name)), "image_seq_length", TILE_TOKENS))
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"export.tokenizer: {name} has no usable tokenizer ({reason}); give a checkpoint") from None
    if not tokenizer.chat_template:
        raise ConfigError(f"export.tokenizer: {name} has no chat template; give the checkpoint to be trained")

    template = internvl(tokenizer)

    def count(row: Row) -> int:
        turns = messages((ROLES[turn["from"]], turn["value"]) for turn in row["conversations"])
        text = template.conversation(turns, open_turn=False)
        # every image token is replaced by <img>, the tile's tokens and </img>
        return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + len(row["image"]) * (tile + 1)

    return count
