"""What work has cost, and whether that is more than it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imageref_ray.batch import store
from imageref_ray.core.config import EngineConfig, PriceConfig
from imageref_ray.core.records import Usage


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work cost, also where it failed: its tokens, and the seconds of the engines (or of their GPUs) on it.

    Of a record among c in flight that took t seconds, the seconds are t / c.
    """

    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0


def gpu_seconds(directory: Path, engine: EngineConfig) -> float:
    """GPU-seconds a pass took so far: all its engines, over all attempts."""
    return store.engine_seconds(directory) * engine.gpus


def over_budget_by_now(
    limit: str, prices: PriceConfig, before: Cost, directory: Path, engine: EngineConfig, spent: Usage
) -> str:
    """`over_budget` while a pass runs: `before` is the cost of the passes before it, `spent` its tokens up to now."""
    seconds = before.seconds + gpu_seconds(directory, engine)
    return over_budget(limit, prices, before.usage + spent, seconds / 3600)


def over_budget(limit: str, prices: PriceConfig, spent: Usage, gpu_hours: float) -> str:
    """Why the job has to stop, or "" as long as it may go on.

    `limit` is `"N tokens"`, or an amount in the prices' currency, which tokens and GPUs both count against.
    """
    amount, _, unit = limit.partition(" ")
    used = spent.prompt_tokens + spent.generated_tokens if unit == "tokens" else money(spent, gpu_hours, prices)
    return f"the budget of {limit} is used up" if used >= float(amount) else ""


def money(usage: Usage, gpu_hours: float, prices: PriceConfig) -> float:
    """What this costs, in the prices' currency.

    Every prompt token at its price; image and cached tokens, which are prompt tokens, at the difference to that.
    """
    image = prices.prompt if prices.image is None else prices.image
    cached = prices.prompt if prices.cached is None else prices.cached
    tokens = prices.prompt * usage.prompt_tokens + prices.generated * usage.generated_tokens
    tokens += (image - prices.prompt) * usage.image_tokens + (cached - prices.prompt) * usage.cached_tokens
    return tokens / 1e6 + prices.gpu_hour * gpu_hours
