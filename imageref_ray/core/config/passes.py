"""What every job that walks records over engines can be told: its run directory, its engine, and when to stop."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig
from imageref_ray.core.config.places import Written


class PriceConfig(Config):
    """What tokens and GPUs cost, for estimates and budgets; 0 where nothing is charged."""

    currency: str = "USD"
    prompt: float = Field(0, ge=0, description="price of a million prompt tokens")
    cached: float | None = Field(
        None, ge=0, description="… of those served from a cache; left out: as any prompt token"
    )
    image: float | None = Field(
        None, ge=0, description="… of those that stand for images; left out: as any prompt token"
    )
    generated: float = Field(0, ge=0, description="price of a million generated tokens")
    gpu_hour: float = Field(0, ge=0, description="price of one GPU for an hour")


class PassConfig(Config):
    """Base of build, instruct and both evaluations."""

    output: Written[Path] = Field(description="run directory; created if missing, resumed if it holds the same work")
    engine: EngineConfig
    preflight: bool = Field(True, description="end the run early if its heaviest record does not fit the engine")
    stall_minutes: float = Field(30, gt=0, description="give up after so long without a finished record")
    min_success: float = Field(
        0.1, ge=0, le=1, description="exit code 1 where a smaller share of the records succeeds (or none does)"
    )
    max_budget: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?( tokens)?$",
        description="stop in good order once so much is spent: `2000000 tokens`, or money as in prices: `20`",
    )
    prices: PriceConfig = PriceConfig()
    commit_records: int = Field(32, ge=1, description="records per commit")
    commit_seconds: float = Field(30, gt=0, description="longest time between commits")
