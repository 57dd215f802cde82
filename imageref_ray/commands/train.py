"""`imageref train`: train, then print the summary as one JSON object."""

from __future__ import annotations

import json

from imageref_ray.core.config import TrainConfig
from imageref_ray.training.train import train


def run(config: TrainConfig) -> None:
    """Train and print the summary."""
    print(json.dumps(train(config), indent=2, ensure_ascii=False, default=str))
