"""The settings of the endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig
from imageref_ray.core.config.places import Shared, Shipped, Written


class KeyConfig(Config):
    """Who may ask, and how much. `imageref serve key` makes a key and prints these lines."""

    name: str = Field(min_length=1, max_length=100, description="whose key it is; it stands in logs and errors")
    sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the key, in hexadecimal; never the key itself"
    )
    concurrency: int | None = Field(
        None, ge=1, description="requests that one replica answers at the same time; more get a 429; default: any"
    )
    per_minute: int | None = Field(
        None, ge=1, description="requests a minute that one replica answers; more get a 429; default: any"
    )


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
    instruct_prompts: Shipped[str] = Field(
        "compact", description="instruction pack of /v1/instructions: a shipped name or the path of a YAML file"
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
    keys: tuple[KeyConfig, ...] = Field(
        (), description="who may ask; with keys here, in keys_file or in $IMAGEREF_KEYS every request needs one"
    )
    keys_file: Shared[Path | None] = Field(None, description="YAML file with more keys")
    insecure: bool = Field(False, description="answer other machines without keys")
    cors_origins: tuple[str, ...] = Field(
        (), description="web pages of these origins may ask (https://app.example.org, or * for all)"
    )
    max_body_bytes: int = Field(64_000_000, ge=1, description="bytes; larger requests get a 413 before they are read")
    body_timeout: float = Field(60, gt=0, description="seconds in which a request must have arrived; later it is a 408")
    max_queued_requests: int = Field(
        128, ge=0, description="requests that wait in a replica beyond engine.concurrency; more get a 429"
    )
    request_log: Written[Path | None] = Field(
        None, description="file for one JSON line a request, without its content; default: Ray Serve's log"
    )
    demo: bool = Field(True, description="the page at /demo, on which people try the endpoint")
    runs: Shared[Path | None] = Field(
        None,
        description="folder of runs whose samples, with their images, the demo page shows; default: none",
    )
    stream_interval_ms: int = Field(
        20,
        ge=1,
        le=1000,
        description="milliseconds of a stream that are sent as one write; its first token is sent at once",
    )

    @model_validator(mode="before")
    @classmethod
    def _model_sets_engine_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("model") and isinstance(values.get("engine", {}), dict):
            return {**values, "engine": {**values.get("engine", {}), "model": values["model"]}}
        return values
