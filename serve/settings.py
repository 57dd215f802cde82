"""What the endpoint can be told: the arguments of `serve.app:build`, checked like every other config."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from imageref_ray.config import Config, EngineConfig


class ServeConfig(Config):
    """Arguments of the Serve application; `engine.actors` is the least and most number of replicas."""

    engine: EngineConfig
    name: str = Field("imageref", description="the model's name in the API")
    prompts: str = Field("compact", description="prompt pack of /v1/reference: a shipped name or a YAML file")
    method: Literal["direct", "staged"] = Field(
        "direct",
        description="/v1/reference in one go (a fine-tuned model), or response, captions, placement (any model)",
    )
    system: str = Field("", description="system prompt of /v1/reference (the one the model was trained with)")
    images: Path | None = Field(None, description="folder that requests may name pictures in; none: data URLs only")
    max_images: int = Field(50, ge=1, description="most pictures in one request")
    max_image_bytes: int = Field(20_000_000, ge=1, description="larger pictures are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="larger pictures are refused before they are decoded")
    max_tokens: int = Field(1024, ge=1, description="reply length where the request names none")
