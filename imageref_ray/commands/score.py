"""`imageref score`: metrics of existing answers, as one JSON object."""

from __future__ import annotations

import json
from pathlib import Path

from imageref_ray.evaluation.score import score


def run(labels: Path, predictions: Path, paper: bool) -> None:
    """Score and print the metrics."""
    print(json.dumps(score(labels, predictions, paper), indent=2, ensure_ascii=False))
