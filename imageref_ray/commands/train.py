"""`imageref train`: train, then print the summary as one JSON object."""

from __future__ import annotations

import json
import sys

from imageref_ray.core.config import TrainConfig
from imageref_ray.core.tiles import notice
from imageref_ray.training.train import train


def run(config: TrainConfig) -> None:
    """Train and print the summary, and one sentence where the data sets' images were cut differently."""
    summary = train(config)
    print(json.dumps(summary, indent=2, ensure_ascii=False, default=str))
    if different := notice(summary["model"]):
        print(different, file=sys.stderr)
