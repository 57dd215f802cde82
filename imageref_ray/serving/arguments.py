"""Arguments of a Serve config file or of a command line → a checked `ServeConfig` that holds in a replica."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from imageref_ray.core import checkpoint
from imageref_ray.core.config import ServeConfig, check, overridden

EMBEDDED = Path(__file__).with_name("embedded.yaml")
"""What the embedded checkpoint is served with."""

ROOT = Path(__file__).resolve().parents[2]
"""Where the package lies: a checkout, or what `pip install` filled."""

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
    if engine.kind == "vllm" and engine.model != checkpoint.EMBEDDED:
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
