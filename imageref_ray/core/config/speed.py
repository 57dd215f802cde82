"""The settings of a speed measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import OpenAIConfig
from imageref_ray.core.config.places import Own, Written
from imageref_ray.core.config.source import SourceConfig


class SpeedConfig(Config):
    """`imageref evaluate speed`: documents + endpoint → how fast it answers, in one request and in stages."""

    source: SourceConfig = Field(description="where the documents and their images come from")
    output: Written[Path] = Field(description="folder for speed.json and for images that are fetched")
    engine: OpenAIConfig = Field(description="the endpoint that is measured")
    mode: tuple[Literal["end_to_end", "staged"], ...] = Field(
        ("end_to_end", "staged"),
        min_length=1,
        description="ways of answering, one after the other: end_to_end (one request a sample) or staged (response and "
        "all captions at once, then the placement)",
    )
    in_flight: int = Field(100, ge=1, description="requests in flight, in place of engine.concurrency")
    max_tokens: int = Field(2048, ge=1, description="maximum tokens per reply")
    prompts: Own[str] = Field("default-en", description="prompt pack: a shipped name or the path of a YAML file")
    system: str = Field(
        "", description="end_to_end: system prompt of every request (the one the model was trained with)"
    )
