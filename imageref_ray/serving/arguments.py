"""Arguments of a Serve config file or of a command line → a checked `ServeConfig` that is valid in a replica."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from imageref_ray.core import checkpoint
from imageref_ray.core.config import CheckpointConfig, EngineConfig, ServeConfig, VllmConfig, check, overridden
from imageref_ray.serving.keys import with_keys

EMBEDDED = Path(__file__).with_name("embedded.yaml")
"""The settings for serving the embedded checkpoint."""

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the package: a checkout, or site-packages."""

TEXT_SETTINGS = frozenset(
    name for name, field in ServeConfig.model_fields.items() if field.annotation in (str, str | None)
)
"""Settings that are text: never parsed as YAML."""


def read_settings(args: Mapping[str, Any]) -> ServeConfig:
    """Settings from a file's `args` (values) or from `serve run`'s (all text: `engine.gpus=1`, as with `--set`).

    They override, key by key, the settings for the embedded checkpoint, except where `engine` is another one: names its
    kind or its model. Raises ConfigError.
    """
    values = {key: value for key, value in args.items() if key in TEXT_SETTINGS or not isinstance(value, str)}
    overrides = [f"{key}={value}" for key, value in args.items() if key not in values]
    given = overridden(values, overrides, "")
    engine = given.get("engine", {})
    if isinstance(engine, Mapping) and not {"kind", "model"} & engine.keys():
        given = merged(yaml.safe_load(EMBEDDED.read_text(encoding="utf-8")), given)
    return with_keys(_with_absolute_paths(check(ServeConfig, given, "the endpoint's arguments")))


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `values` in it; where both hold a mapping, the two are merged."""
    both = {**base, **values}
    for key in base.keys() & values.keys():
        if isinstance(base[key], Mapping) and isinstance(values[key], Mapping):
            both[key] = merged(base[key], values[key])
    return both


def counting(engine: EngineConfig) -> EngineConfig:
    """The engine's settings with vLLM's own metrics on, unless they say otherwise."""
    if not isinstance(engine, VllmConfig):
        return engine
    return engine.model_copy(update={"args": {"disable_log_stats": False, **engine.args}})


def _with_absolute_paths(settings: ServeConfig) -> ServeConfig:
    """The settings with absolute paths: a replica has another working directory."""
    engine = settings.engine
    if isinstance(engine, CheckpointConfig) and engine.model != checkpoint.EMBEDDED:
        engine = engine.model_copy(update={"model": absolute(engine.model)})
    found = {
        "prompts": _pack(settings.prompts),
        "instruct_prompts": _pack(settings.instruct_prompts),
        "runs": settings.runs and Path(absolute(str(settings.runs))),
        "images": settings.images and Path(absolute(str(settings.images))),
        "keys_file": settings.keys_file and Path(absolute(str(settings.keys_file))),
        "request_log": settings.request_log and settings.request_log.absolute(),
    }
    return settings.model_copy(update={"engine": engine, **found})


def _pack(name: str) -> str:
    return absolute(name) if name.endswith((".yaml", ".yml")) else name


def absolute(path: str) -> str:
    """A relative path made absolute: from the working directory or, if it does not exist there, from the package's
    folder. A path that exists in neither is returned unchanged.
    """
    existing = (folder / path for folder in (Path.cwd(), ROOT) if (folder / path).exists())
    return str(next(existing, path))
