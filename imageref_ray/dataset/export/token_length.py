"""An annotation row → `length`, its tokens in training: what InternVL's trainer groups batches by.

Counted with one tile an image, the paper's setting for image-referencing sets; `mixture.json` says so too
(`max_dynamic_patch: 1`), so that trainer and count agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageref_ray.core import tokens
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.export.rows import ROLES, TAG, Row

Count = Callable[[Row], int]

TILE_TOKENS = 256
"""Tokens of one 448 px tile in InternVL (patch 14, pixel shuffle 0.5)."""


def counter(tokenizer: str | None) -> Count:
    """Counts by the checkpoint's own tokenizer and chat template, or estimates where none is named.

    Raises ConfigError for a checkpoint that has no usable tokenizer.
    """
    return estimate if tokenizer is None else _counter(tokenizer)


def estimate(row: Row) -> int:
    """A token for every four characters and for every CJK character, `TILE_TOKENS` and two marks for an image."""
    texts = sum(tokens.estimate(turn["value"].replace(TAG, "")) for turn in row["conversations"])
    return texts + len(row["image"]) * (TILE_TOKENS + 2)


def _counter(name: str) -> Count:
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(resolve_model(name))
        tile = int(getattr(AutoConfig.from_pretrained(resolve_model(name)), "image_seq_length", TILE_TOKENS))
    except (OSError, ValueError) as error:
        told = str(error).strip().split("\n")[0]
        raise ConfigError(f"export.tokenizer: {name} has no usable tokenizer ({told}); name a checkpoint") from None
    if not tokenizer.chat_template:
        raise ConfigError(f"export.tokenizer: {name} has no chat template; name the checkpoint that is to be trained")

    def count(row: Row) -> int:
        turns = [{"role": ROLES[turn["from"]], "content": _parts(turn["value"])} for turn in row["conversations"]]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        # the image token is one token wherever it stands: <img>, the tile's tokens and </img> take its place
        return len(tokenizer(text, add_special_tokens=False)["input_ids"]) + len(row["image"]) * (tile + 1)

    return count


def _parts(text: str) -> list[dict[str, str]]:
    """The text as content parts, an image part where a tag stood."""
    first, *rest = text.split(TAG)
    parts = [{"type": "text", "text": first}]
    for piece in rest:
        parts += [{"type": "image"}, {"type": "text", "text": piece}]
    return [part for part in parts if part.get("text") != ""]
