"""The order of an answer's images beside the truth's: the scores of RAG-IGBench and MRAMG-Bench.

For the answer's images G (m of them), the truth's T (n) and those of G that are in T, in G's order (o of them). Where
neither has an image, every score is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

MISSING, EXTRA, REPLACED = 3, 2, 1
"""What an image of the truth costs in `ordering_score` that the answer lacks, one too many, and one in another's place;
source: implementations of MRAMG-Bench's metric, whose definition leaves the costs open."""


def edit_score(given: Sequence[str], truth: Sequence[str]) -> float:
    """1 − levenshtein(G, T) / max(m, n). Source: RAG-IGBench (NeurIPS 2025), equation 1, and its script."""
    longest = max(len(given), len(truth))
    return 1 - edit_distance(given, truth) / longest if longest else 1.0


def kendall_score(given: Sequence[str], truth: Sequence[str]) -> float:
    """Share of pairs of the common images that are in the truth's order; o / max(m, n) where o is 0 or 1.

    Source: RAG-IGBench, equation 2. Its script computes something else: `kendall_script`.
    """
    place = {image: i for i, image in reversed(list(enumerate(truth)))}
    common = [place[image] for image in dict.fromkeys(given) if image in place]
    if len(common) < 2:
        longest = max(len(given), len(truth))
        return len(common) / longest if longest else 1.0
    pairs = list(combinations(common, 2))
    return sum(a < b for a, b in pairs) / len(pairs)


def kendall_script(given: Sequence[str], truth: Sequence[str], candidates: int) -> float:
    """The Kendall score as RAG-IGBench's script computes it, from `candidates` images that the answer could choose of.

    Pairs in the truth's order over all pairs of G, and o / m or o / n where n or m is 1; times (1 + c / 2) / 1.5, where
    c is the share of candidates that are not in the truth. So a perfect answer scores between 0.67 and 1.
    """
    if not given or not truth:
        return float(not given and not truth)
    place = {image: i for i, image in enumerate(truth)}
    common = [place[image] for image in given if image in place]
    if min(len(given), len(truth)) == 1:
        share = len(common) / (len(given) if len(truth) == 1 else len(truth))
    else:
        share = sum(a < b for a, b in combinations(common, 2)) / (len(given) * (len(given) - 1) / 2)
    unused = (candidates - len(truth)) / candidates if candidates else 0.0
    return share * (1 + unused / 2) / 1.5


def ordering_score(given: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the truth's images that G has, times 1 − dist(G, T) / max(m, n) / 3, but at least 0.

    dist is the edit distance with the costs `MISSING`, `EXTRA` and `REPLACED`, the largest of which is the 3; 0 where
    only the answer has images. Source: MRAMG-Bench (arXiv 2502.04176), image ordering score.
    """
    if not given or not truth:
        return float(not given and not truth)
    found = len(set(given) & set(truth)) / len(truth)
    distance = edit_distance(given, truth, MISSING, EXTRA, REPLACED) / max(len(given), len(truth))
    worst = max(MISSING, EXTRA, REPLACED)
    return found * (1 - min(distance, worst) / worst)


def edit_distance(a: Sequence[str], b: Sequence[str], insert: int = 1, delete: int = 1, replace: int = 1) -> int:
    """Least cost of insertions, deletions and replacements that make `b` of `a` (Levenshtein's where all cost 1)."""
    costs = [insert * j for j in range(len(b) + 1)]
    for left in a:
        diagonal, costs[0] = costs[0], costs[0] + delete
        for j, right in enumerate(b, 1):
            kept = diagonal + (replace if left != right else 0)
            diagonal, costs[j] = costs[j], min(costs[j] + delete, costs[j - 1] + insert, kept)
    return costs[-1]
