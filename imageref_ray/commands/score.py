"""`imageref score`: metrics of existing answers, of one system or of several side by side, as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from imageref_ray.core.config import ConfigError
from imageref_ray.evaluation.score import score, score_texts
from imageref_ray.evaluation.score_systems import score_systems


def run(
    labels: Path,
    predictions: Sequence[Path] | None,
    answers: Sequence[Path] | None,
    data: Path | None,
    label_slots: Literal["before", "after"],
    paper: bool,
    limit: int | None,
    seed: int,
) -> None:
    """Score and print the metrics; of several files also the differences of every two. Raises ConfigError unless there
    are either predictions or answers with their data; RunFailed where no answer of a file can be used."""
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give a number of questions, 1 or more")
    if predictions and not answers and not data:
        scored = {path: score(labels, path, paper, seed) for path in predictions}
    elif answers and data and not predictions:
        scored = {path: score_texts(labels, path, data, label_slots, paper, limit, seed) for path in answers}
    else:
        raise ConfigError("give either --predictions, or --answers and --data with the annotation file they answer")
    only = next(iter(scored.values())).metrics if len(scored) == 1 else score_systems(scored, seed)
    print(json.dumps(only, indent=2, ensure_ascii=False))
