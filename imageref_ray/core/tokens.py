"""Text → number of tokens: counted with a checkpoint's tokenizer, or estimated without one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from imageref_ray.core.checkpoint import resolve_model

Count = Callable[[str], int]


def estimate(text: str) -> int:
    """Estimated tokens of a text: one per four characters, one per CJK character."""
    wide = sum("\u2e80" <= char <= "\ud7ff" or "\uf900" <= char <= "\uffef" for char in text)
    return wide + -(-(len(text) - wide) // 4)


def counter(checkpoint: str | None) -> Count:
    """A function that counts with the checkpoint's tokenizer, without special tokens; `estimate` for None.

    The tokenizer (of a folder or hub name) is loaded at the first call, which raises OSError or ValueError if there
    is none.
    """
    return (lambda text: len(_tokenizer(checkpoint).encode(text, add_special_tokens=False))) if checkpoint else estimate


@cache
def _tokenizer(checkpoint: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model(checkpoint))
