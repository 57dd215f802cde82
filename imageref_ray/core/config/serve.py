"""The settings of the endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig
from imageref_ray.core.config.places import Shared, Shipped


class ServeConfig(Config):
    """Arguments of the Serve application; `engine.actors` is the [min, max] number of replicas."""

    engine: EngineConfig = Field(
        description="the model that answers; engine.actors is the [min, max] number of replicas"
    )
    model: str | None = Field(None, description="shorthand for engine.model")
    name: str = Field("imageref", description="model name in the API")
    prompts: Shipped[str] = Field(
        "compact", description="prompt pack of /v1/reference: a shipped name or the path of a YAML file"
    )
    method: Literal["direct", "staged"] = Field(
        "direct",
        description="/v1/reference: one request to a fine-tuned model (direct), or response, captions and placement "
        "one after another with any model (staged)",
    )
    system: str = Field("", description="system prompt of /v1/reference (the one the model was trained with)")
    images: Shared[Path | None] = Field(
        None, description="folder whose images requests may refer to by path; default: only data URLs are accepted"
    )
    max_images: int = Field(50, ge=1, description="maximum images per request")
    max_image_bytes: int = Field(20_000_000, ge=1, description="bytes; larger images are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels; larger images are refused before decoding")
    max_tokens: int = Field(1024, ge=1, description="maximum tokens per reply, if the request gives none")

    @model_validator(mode="before")
    @classmethod
    def _model_sets_engine_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") and isinstance(values.get("engine", {}), dict):
            return {**values, "engine": {**values.get("engine", {}), "model": values["model"]}}
        return values
