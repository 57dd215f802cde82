"""TrainConfig → the learning rate of every step; a model → the weights that decay. No torch here."""

from __future__ import annotations

import math
from typing import Any

from imageref_ray.core.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step `step` (from 0): linear warm-up, then the schedule.

    It is `warmup_from` in step 0 (with warm-up), `learning_rate` in the first step after warm-up, and, for cosine and
    linear, `min_learning_rate` after the last step (`step` = `steps`).
    """
    warmup = round(config.warmup_ratio * config.steps)
    if step < warmup:
        return config.warmup_from + (config.learning_rate - config.warmup_from) * step / warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = min(1.0, (step - warmup) / max(1, config.steps - warmup))
    left = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.learning_rate * left + config.min_learning_rate * (1 - left)


def decaying(model: Any) -> list[str]:
    """The names of the weights that decay: all but vectors, which are biases, norms and InternVL's layer scales.

    As in VIGC's release (LAVIS); transformers goes by names, and lets layer scales decay.
    """
    return [name for name, weight in model.named_parameters() if len(getattr(weight, "ds_shape", weight.shape)) > 1]
