"""The settings that all batch jobs share: run directory, engine, commits, and when to stop."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig, PoolConfig
from imageref_ray.core.config.places import Written


class PriceConfig(Config):
    """Prices of tokens and GPUs for estimates and budgets; 0: free."""

    currency: str = Field("USD", description="currency of all prices, for display")
    prompt: float = Field(0, ge=0, description="price of a million prompt tokens")
    cached: float | None = Field(
        None, ge=0, description="price of a million prompt tokens served from a cache; default: same as prompt"
    )
    image: float | None = Field(
        None, ge=0, description="price of a million image tokens of a prompt; default: same as prompt"
    )
    generated: float = Field(0, ge=0, description="price of a million generated tokens")
    gpu_hour: float = Field(0, ge=0, description="price of one GPU hour")

    def charge(self, engines: Iterable[PoolConfig]) -> bool:
        """Whether work on these engines costs anything."""
        tokens = self.prompt or self.cached or self.image or self.generated
        return bool(tokens or (self.gpu_hour and any(engine.gpus for engine in engines)))


class PassConfig(Config):
    """Base of the configs of build, instruct and the evaluations."""

    output: Written[Path] = Field(
        description="run directory; created if missing, resumed if it contains a run with the same settings"
    )
    engine: EngineConfig = Field(
        description="the model that answers: a table; kind is vllm, transformers, openai or scripted"
    )
    preflight: bool = Field(True, description="first run the longest record, and stop if it does not fit the engine")
    stall_minutes: float = Field(30, gt=0, description="minutes without a finished record after which the run fails")
    min_success: float = Field(
        0.1, ge=0, le=1, description="exit with code 1 if a smaller fraction of the records succeeds, or none"
    )
    max_budget: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?( tokens)?$",
        description="begin no record that costs more than is left of this, and stop: tokens (`2000000 tokens`) or "
        "money in prices.currency (`20`)",
    )
    prices: PriceConfig = Field(PriceConfig(), description="prices of tokens and GPUs")
    commit_records: int = Field(32, ge=1, description="maximum records per commit")
    commit_seconds: float = Field(30, gt=0, description="maximum seconds between commits")

    def engines(self) -> tuple[PoolConfig, ...]:
        """The engines that the job may ask."""
        return (self.engine,)

    @model_validator(mode="after")
    def _money_has_prices(self) -> PassConfig:
        money = self.max_budget is not None and not self.max_budget.endswith("tokens")
        if money and not self.prices.charge(self.engines()):
            raise ValueError(
                f"max_budget is {self.max_budget} {self.prices.currency}, but by prices nothing costs anything, so "
                "that it would never be used up; set prices.prompt and prices.generated (for engines with GPUs "
                "prices.gpu_hour), or give tokens: `2000000 tokens`"
            )
        return self
