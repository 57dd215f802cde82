"""What the endpoint can be told: arguments of a Serve config file or a command line → a checked `ServeConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from imageref_ray.core.config import Config, EngineConfig, check, overridden
from imageref_ray.core.config.places import Shared, Shipped

ROOT = Path(__file__).resolve().parents[3]
"""Where the package lies: a checkout, or what `pip install` filled."""

EMBEDDED = ROOT / "imageref_ray/serving/embedded.yaml"


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


TEXTS = frozenset(name for name, field in ServeConfig.model_fields.items() if field.annotation in (str, str | None))
"""Settings that are text: taken as they stand, whoever gives them."""


def read(args: Mapping[str, Any]) -> ServeConfig:
    """Settings from a file's `args` (values) or from `serve run`'s (all text: `engine.gpus=1`, as with `--set`).

    Without `engine` they change what the embedded checkpoint is served with. Raises ConfigError.
    """
    base = {} if "engine" in args else yaml.safe_load(EMBEDDED.read_text(encoding="utf-8"))
    plain = {key: value for key, value in args.items() if key in TEXTS or not isinstance(value, str)}
    spoken = [f"{key}={value}" for key, value in args.items() if key not in plain]
    return _placed(check(ServeConfig, overridden({**base, **plain}, spoken, ""), "the endpoint's arguments"))


def _placed(settings: ServeConfig) -> ServeConfig:
    """With paths that hold in a replica, whose working directory is another."""
    engine = settings.engine
    if engine.kind == "vllm":
        engine = engine.model_copy(update={"model": absolute(engine.model)})
    prompts = absolute(settings.prompts) if settings.prompts.endswith((".yaml", ".yml")) else settings.prompts
    images = settings.images and Path(absolute(str(settings.images)))
    return settings.model_copy(update={"engine": engine, "prompts": prompts, "images": images})


def absolute(path: str) -> str:
    """Where a relative path leads from the working directory or, if nothing is there, from where the package lies.

    What is in neither place stays as it is.
    """
    found = (folder / path for folder in (Path.cwd(), ROOT) if (folder / path).exists())
    return str(next(found, path))
