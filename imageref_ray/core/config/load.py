"""A YAML file and `key=value` overrides → a checked config, or one line that says what is wrong and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from imageref_ray.core.config.base import Config, ConfigError

C = TypeVar("C", bound=Config)


def load(kind: type[C], path: Path, overrides: Iterable[str] = ()) -> C:
    """Read a YAML file, apply `key.sub=value` overrides, check everything.

    Raises ConfigError for a missing file, bad YAML, an unknown key (with the nearest known one) or a bad value.
    """
    if not path.is_file():
        raise ConfigError(f"config file {path} does not exist; give the path of a YAML file, e.g. one of jobs/configs/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}; mend the file") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, not `key: value` lines; mend the file")
    return check(kind, overridden(values, overrides), str(path))


def check(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validate plain values as a config; `where` names their origin in errors."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_sentence(kind, item) for item in error.errors())) from None


def overridden(values: dict[str, Any], overrides: Iterable[str], option: str = "--set ") -> dict[str, Any]:
    """A copy of `values` with each `key.sub=value` set; values are read as YAML.

    `option` is what stands before an override on the command line. Raises ConfigError for one that cannot be read.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"{option}{override}: expected key=value, e.g. {option}engine.concurrency=32")
        node = values = {**values}
        *parents, last = key.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = {**child} if isinstance(child, dict) else {}
            node = node[parent]
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(
                f"{option}{override}: the value is not valid YAML; quote it: {option}'{key}=\"…\"'"
            ) from None
    return values


def _sentence(kind: type[Config], item: Any) -> str:
    """One pydantic error as `key: what (how to mend)`."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        # a validator's own words stay as they are, for there are paths and names in them
        told = item["ctx"]["error"] if item["type"] == "value_error" else item["msg"].lower()
        return f"{key or 'config'}: {told}"
    *parents, last = item["loc"]
    known = _fields(kind, [str(part) for part in parents])
    near = difflib.get_close_matches(str(last), known, n=1)
    mend = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(known)
    return f"unknown key {key} ({mend})"


def _fields(kind: Any, parents: list[str]) -> list[str]:
    for parent in parents:
        found = getattr(kind, "model_fields", {}).get(parent)
        kind = found.annotation if found else kind
    return list(getattr(kind, "model_fields", {}))
