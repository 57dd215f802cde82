"""Several systems' files of answers to the same events → the metrics of each, and the differences of every pair."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageref_ray.evaluation.compare_runs import Pair, corrected, run_names
from imageref_ray.evaluation.comparison import compare
from imageref_ray.evaluation.score import Scored


def score_systems(scored: Mapping[Path, Scored], seed: int = 0) -> dict[str, Any]:
    """`{"systems": {name: metrics}, "pairs": [{"a", "b", "differences"}]}`; a system is called like its file.

    A difference is how far b is above a, with its interval and p (`comparison`); p_holm is corrected over all pairs.
    """
    named = dict(zip(run_names([path.with_suffix("") for path in scored]), scored.values(), strict=True))
    pairs = [
        Pair(a, b, tuple(compare(named[a].values, named[b].values, seed))) for a, b in itertools.combinations(named, 2)
    ]
    return {
        "systems": {name: one.metrics for name, one in named.items()},
        "pairs": [dataclasses.asdict(pair) for pair in corrected(pairs)],
    }
