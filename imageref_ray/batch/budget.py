"""What work has cost, what it may cost, and when nothing more may begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may cost: `limit` is `"N tokens"`, or an amount in the prices' currency, which tokens and GPUs both
    count against. `before` is the cost of the passes before this one, `gpus` are those of one of its engines."""

    limit: str
    prices: PriceConfig = field(default_factory=PriceConfig)
    before: Cost = field(default_factory=Cost)
    gpus: float = 0.0

    @property
    def amount(self) -> float:
        return float(self.limit.split()[0])

    @property
    def in_tokens(self) -> bool:
        return self.limit.endswith("tokens")

    def used(self, spent: Usage, directory: Path) -> float:
        """What counts against the limit, in its unit, once this pass (in `directory`) has cost these tokens."""
        usage = self.before.usage + spent
        if self.in_tokens:
            return usage.prompt_tokens + usage.generated_tokens
        seconds = self.before.seconds
        if self.gpus and self.prices.gpu_hour:
            seconds += self.gpus * store.engine_seconds(directory)
        return money(usage, seconds / 3600, self.prices)

    def refusal(self, used: float, next_record: float) -> str:
        """Why no record may begin, where so much is used and the next one is likely to cost this; "": it may."""
        if used >= self.amount:
            return f"the budget of {self.limit} is used up"
        if used + next_record <= self.amount:
            return ""
        left, unit = self.amount - used, " tokens" if self.in_tokens else f" {self.prices.currency}"
        shown = f"{left:,.0f}" if self.in_tokens else f"{left:,.4g}"
        return f"what is left of the budget of {self.limit} ({shown}{unit}) is less than a record costs"

    def uncounted(self, usage: Usage) -> bool:
        """Whether these requests brought no count of tokens, so that the budget could never be used up."""
        by_the_hour = not self.in_tokens and self.gpus * self.prices.gpu_hour > 0
        return usage.requests > 0 and not (by_the_hour or usage.prompt_tokens or usage.generated_tokens)


def gpu_seconds(directory: Path, engine: EngineConfig) -> float:
    """GPU-seconds a pass took so far: all its engines, over all attempts."""
    return store.engine_seconds(directory) * engine.gpus


def bill(prices: PriceConfig, usage: Usage, passes: Iterable[tuple[Path, EngineConfig]]) -> dict[str, Any]:
    """`{"money", "currency"}`, for a summary: what these passes (directory, engine) cost in all; {} without prices."""
    engines = list(passes)
    if not prices.charge(engine for _, engine in engines):
        return {}
    hours = sum(gpu_seconds(directory, engine) for directory, engine in engines) / 3600
    return {"money": money(usage, hours, prices), "currency": prices.currency}


def money(usage: Usage, gpu_hours: float, prices: PriceConfig) -> float:
    """What this costs, in the prices' currency.

    Every prompt token at its price; image and cached tokens, which are prompt tokens, at the difference to that.
    """
    image = prices.prompt if prices.image is None else prices.image
    cached = prices.prompt if prices.cached is None else prices.cached
    tokens = prices.prompt * usage.prompt_tokens + prices.generated * usage.generated_tokens
    tokens += (image - prices.prompt) * usage.image_tokens + (cached - prices.prompt) * usage.cached_tokens
    return tokens / 1e6 + prices.gpu_hour * gpu_hours
