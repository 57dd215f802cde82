"""`--dry-run`: print a job's resolved settings and the paths it would read and write. Starts and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel

from imageref_ray import engines
from imageref_ray.core.checkpoint import EMBEDDED
from imageref_ray.core.config.engine import PoolConfig
from imageref_ray.core.config.places import path_settings
from imageref_ray.training.progress import is_finished


def show(job: str, config: BaseModel) -> int:
    """Print settings and paths; returns 1 where an input is missing. Raises ConfigError for an unusable engine."""
    for engine in _engines(config):
        engines.check(engine)  # type: ignore[arg-type]
    print(f"# imageref {job}: settings; nothing was started")
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120))
    paths = list(path_settings(config))
    inputs = [(key, value, _input_state(value)) for key, value, access in paths if not access.written]
    outputs = [(key, value, _output_state(value)) for key, value, access in paths if access.written]
    for title, rows in (("reads", inputs), ("writes", outputs)):
        print(title)
        for key, value, state in rows:
            print(f"  {key:<24} {value!s:<48} {state}")
    return 1 if any(state == "MISSING" for *_, state in inputs) else 0


def _engines(config: BaseModel) -> Iterator[PoolConfig]:
    """Every engine in a config."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, PoolConfig):
            yield value
        elif isinstance(value, BaseModel):
            yield from _engines(value)


def _input_state(value: Path | str) -> str:
    if value == EMBEDDED:
        return "in the package"
    if Path(value).exists():
        return "found"
    is_path = isinstance(value, Path) or value.endswith((".yaml", ".yml")) or value.startswith((".", "/"))
    return "MISSING" if is_path else "a name: in the package or on the hub"


def _output_state(value: Path | str) -> str:
    path = Path(value)
    if (path / "manifest.json").is_file() or is_finished(path):
        return "finished run: would not be run again"
    if (path / "fingerprint.json").is_file():
        return "unfinished run: would be resumed"
    return "exists" if path.exists() else "new"
