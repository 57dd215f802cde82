"""The settings of the endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig
from imageref_ray.core.config.places import Shared, Shipped


class ServeConfig(Config):
    """Arguments of the Serve application; `engine.actors` is the least and most number of replicas."""

    engine: EngineConfig
    model: str | None = Field(None, description="short for engine.model")
    name: str = Field("imageref", description="the model's name in the API")
    prompts: Shipped[str] = Field("compact", description="prompt pack of /v1/reference: a shipped name or a YAML file")
    method: Literal["direct", "staged"] = Field(
        "direct",
        description="/v1/reference in one go (a fine-tuned model), or response, captions, placement (any model)",
    )
    system: str = Field("", description="system prompt of /v1/reference (the one the model was trained with)")
    images: Shared[Path | None] = Field(
        None, description="folder that requests may name pictures in; none: data URLs only"
    )
    max_images: int = Field(50, ge=1, description="most pictures in one request")
    max_image_bytes: int = Field(20_000_000, ge=1, description="larger pictures are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="larger pictures are refused before they are decoded")
    max_tokens: int = Field(1024, ge=1, description="reply length where the request names none")

    @model_validator(mode="before")
    @classmethod
    def _model_is_the_engines(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") and isinstance(values.get("engine", {}), dict):
            return {**values, "engine": {**values.get("engine", {}), "model": values["model"]}}
        return values
