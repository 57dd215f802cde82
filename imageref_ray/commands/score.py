"""`imageref score`: metrics of existing answers, as one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from imageref_ray.core.config import ConfigError
from imageref_ray.evaluation.score import score, score_texts


def run(
    labels: Path,
    predictions: Path | None,
    answers: Path | None,
    data: Path | None,
    label_slots: Literal["before", "after"],
    paper: bool,
    limit: int | None,
    seed: int,
) -> None:
    """Score and print the metrics. Raises ConfigError unless there are either predictions or answers with their data;
    RunFailed where no answer can be used."""
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give a number of questions, 1 or more")
    if predictions and not answers and not data:
        metrics = score(labels, predictions, paper, seed)
    elif answers and data and not predictions:
        metrics = score_texts(labels, answers, data, label_slots, paper, limit, seed)
    else:
        raise ConfigError("give either --predictions, or --answers and --data with the annotation file they answer")
    print(json.dumps(metrics, indent=2, ensure_ascii=False))
