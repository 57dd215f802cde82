"""How many tokens a text has: counted by a checkpoint's tokenizer, or estimated where none is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from imageref_ray.core.checkpoint import located

Count = Callable[[str], int]


def estimate(text: str) -> int:
    """Not a count: a token for every four characters, one for every CJK character."""
    wide = sum("\u2e80" <= char <= "\ud7ff" or "\uf900" <= char <= "\uffef" for char in text)
    return wide + -(-(len(text) - wide) // 4)


def counter(checkpoint: str | None) -> Count:
    """Counts with a checkpoint's tokenizer, without control tokens around; None: `estimate`.

    The tokenizer (of a folder or a hub name) is read at the first text: OSError or ValueError where there is none.
    """
    return (lambda text: len(_tokenizer(checkpoint).encode(text, add_special_tokens=False))) if checkpoint else estimate


@cache
def _tokenizer(checkpoint: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(located(checkpoint))
