"""The order of an answer's images beside the truth's: RAG-IGBench's edit distance and Kendall score.

Source: RAG-IGBench (NeurIPS 2025), section on image metrics; for the answer's images G (m of them), the truth's T (n)
and those of G that are in T, in G's order (o of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations


def edit_score(given: Sequence[str], truth: Sequence[str]) -> float:
    """1 − levenshtein(G, T) / max(m, n); 1 where both are empty."""
    longest = max(len(given), len(truth))
    return 1 - levenshtein(given, truth) / longest if longest else 1.0


def kendall_score(given: Sequence[str], truth: Sequence[str]) -> float:
    """Share of pairs of the common images that are in the truth's order; o / max(m, n) where o is 0 or 1."""
    place = {image: i for i, image in reversed(list(enumerate(truth)))}
    common = [place[image] for image in dict.fromkeys(given) if image in place]
    if len(common) < 2:
        longest = max(len(given), len(truth))
        return len(common) / longest if longest else 1.0
    pairs = list(combinations(common, 2))
    return sum(a < b for a, b in pairs) / len(pairs)


def levenshtein(a: Sequence[str], b: Sequence[str]) -> int:
    """Least number of insertions, deletions and replacements that make `b` of `a`."""
    costs = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, costs[0] = costs[0], i
        for j, right in enumerate(b, 1):
            diagonal, costs[j] = costs[j], min(costs[j] + 1, costs[j - 1] + 1, diagonal + (left != right))
    return costs[-1]
