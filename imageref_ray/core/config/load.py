"""A YAML file and `key=value` overrides → a validated config, or a one-line error with the way to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from imageref_ray.core.config.base import Config, ConfigError
from imageref_ray.core.yaml_files import BrokenYaml, parse_yaml, read_yaml

C = TypeVar("C", bound=Config)


def load(kind: type[C], path: Path, overrides: Iterable[str] = ()) -> C:
    """Read a YAML file, apply `key.sub=value` overrides and validate.

    Raises ConfigError for a missing file, bad YAML, an unknown key (with the nearest known one) or a bad value.
    """
    if not path.is_file():
        raise ConfigError(f"config file {path} does not exist; give the path of a YAML file, e.g. one of jobs/configs/")
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} contains {type(values).__name__}, not `key: value` lines; fix the file")
    return check(kind, overridden(values, overrides), str(path))


def check(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validate plain values as a config; `where` is their origin in error messages. Raises ConfigError."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_message(kind, item) for item in error.errors())) from None


def overridden(values: dict[str, Any], overrides: Iterable[str], option: str = "--set ") -> dict[str, Any]:
    """A copy of `values` with each `key.sub=value` set; values are read as YAML.

    `option` precedes an override on the command line, for messages. Raises ConfigError for one that cannot be parsed.
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
            node[last] = parse_yaml(text)
        except BrokenYaml:
            raise ConfigError(
                f"{option}{override}: the value is not valid YAML; quote it: {option}'{key}=\"…\"'"
            ) from None
    return values


def _message(kind: type[Config], item: Any) -> str:
    """One pydantic error as `key: what is wrong (how to fix it)`."""
    names, models = _locate(kind, item["loc"])
    key = ".".join(names)
    if item["type"] != "extra_forbidden":
        # our validators' messages keep their case: they contain paths and names
        message = item["ctx"]["error"] if item["type"] == "value_error" else item["msg"].lower()
        return f"{key or 'config'}: {message}"
    model, *others = models
    if elsewhere := [_kind(other) for other in others if names[-1] in other.model_fields]:
        return f"unknown key {key} for kind {_kind(model)} (it belongs to kind {' and '.join(elsewhere)})"
    near = difflib.get_close_matches(names[-1], model.model_fields, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(model.model_fields)}"
    return f"unknown key {key} ({hint})"


def _locate(kind: type[Config], location: Iterable[Any]) -> tuple[list[str], list[type[Config]]]:
    """An error's keys, without the kinds that pydantic puts between them for unions of models; and the model that
    should have the last key, followed by its alternatives."""
    names: list[str] = []
    owners: list[type[Config]] = [kind]
    annotation: Any = kind
    others: list[type[Config]] = []
    for part in location:
        models = _models(annotation)
        if len(models) > 1 and part in map(_kind, models):
            annotation = next(model for model in models if _kind(model) == part)
            others = [model for model in models if model is not annotation]
            continue
        names.append(str(part))
        if models:
            owners, others = [models[0], *others], []
            field = models[0].model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:  # a table or list: the type of its values
            annotation = next((value for value in reversed(get_args(annotation)) if _models(value)), None)
    return names, owners


def _models(annotation: Any) -> list[type[Config]]:
    """The config models in a type annotation."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Config) else []
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def _kind(model: type[Config]) -> str:
    return str(model.model_fields["kind"].default)
