"""Known texts → the ones most like a new text: weighted words and the angle between their vectors, without a model.

    known texts ─▶ `index` ─▶ `nearest(index, text, count)` ─▶ their numbers

TF-IDF with logarithmic term frequency and cosine normalization ("ltc", Salton and Buckley, *Term-weighting approaches
in automatic text retrieval*, 1988). A word that all known texts share has the weight 0.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

WIDE = "\u2e80-\ud7ff\uf900-\uffef"
"""Characters of scripts that are written without spaces, as a range of a regular expression."""

WORD = re.compile(rf"(?:(?![\W_])[{WIDE}])+|[^\W_{WIDE}]+")
"""A word, or a run of characters of a script that is written without spaces."""


@dataclass(frozen=True, slots=True)
class Index:
    """`size` known texts: word → how rare it is, and (number of the text, the word's share of it) where it occurs."""

    size: int
    rarity: dict[str, float]
    places: dict[str, tuple[tuple[int, float], ...]]


def index(texts: Sequence[str]) -> Index:
    """The texts, ready to be compared with."""
    counts = [Counter(words(text)) for text in texts]
    spread = Counter(word for count in counts for word in count)
    rarity = {word: math.log(len(texts) / n) for word, n in spread.items() if n < len(texts)}
    places: dict[str, list[tuple[int, float]]] = {word: [] for word in rarity}
    for number, count in enumerate(counts):
        weights = _weights(count, rarity)
        length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
        for word, weight in weights.items():
            places[word].append((number, weight / length))
    return Index(len(texts), rarity, {word: tuple(entries) for word, entries in places.items()})


def nearest(known: Index, text: str, count: int) -> tuple[int, ...]:
    """Numbers of the `count` known texts most like `text`, the most like first; equally like ones in their order."""
    likeness = [0.0] * known.size
    for word, weight in _weights(Counter(words(text)), known.rarity).items():
        for number, share in known.places[word]:
            likeness[number] += weight * share
    # Differences by rounding alone do not count: the last bit depends on the order of words and on the processor.
    return tuple(heapq.nlargest(count, range(known.size), key=lambda number: (round(likeness[number], 9), -number)))


def words(text: str) -> list[str]:
    """Words without regard to case; of scripts without spaces between words every two neighbouring characters."""
    terms: list[str] = []
    for run in WORD.findall(text.casefold()):
        if "\u2e80" <= run[0] <= "\uffef" and len(run) > 1:
            terms += map("".join, itertools.pairwise(run))
        else:
            terms.append(run)
    return terms


def _weights(count: Counter[str], rarity: dict[str, float]) -> dict[str, float]:
    return {word: (1 + math.log(n)) * rarity[word] for word, n in count.items() if word in rarity}
