"""Settings that name a file or folder: who opens it, and so what it may be where every machine has its own folders.

    Shared[Path]     workers read it                             on a cluster: absolute, on storage that all see
    Written[Path]    the job writes it                           … the same
    Shipped[Path]    workers read it, and it may travel          … or inside the working folder of a submitted job
    Own[Path]        only the process that starts the job        relative to where that one stands

None of them takes an address (`s3://…`): nothing here would read or write it, and a folder called `s3:` would be made.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator

from imageref_ray.core.checkpoint import EMBEDDED
from imageref_ray.core.config.base import ConfigError

T = TypeVar("T")

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address begins, also one that has been a `Path` and lost a slash. (Of one letter it is a Windows drive.)"""

SHOWN = 4
"""Settings that a message names; a mixture may have dozens."""


@dataclass(frozen=True)
class Reach:
    """Who opens what a setting names."""

    by: Literal["shared", "shipped", "own"]
    written: bool = False
    """By the job; else it is only read."""


def no_address(value: Any) -> Any:
    """The value as it is. Raises ValueError for an address where a path belongs."""
    if isinstance(value, str | Path) and ADDRESS.match(str(value)):
        raise ValueError(
            f"{value} is an address, but only paths of a mounted file system are supported here; "
            "give one, e.g. /mnt/shared/runs/first"
        )
    return value


Shared = Annotated[T, BeforeValidator(no_address), Reach("shared")]
Written = Annotated[T, BeforeValidator(no_address), Reach("shared", written=True)]
Shipped = Annotated[T, BeforeValidator(no_address), Reach("shipped")]
Own = Annotated[T, BeforeValidator(no_address), Reach("own")]
Model = Annotated[str, Reach("shipped")]
"""A checkpoint: a folder, a name on the hub, or `embedded`, which is in the package."""


def check_places(config: BaseModel, where: str = "") -> None:
    """Raise ConfigError where RAY_ADDRESS names a cluster and a setting would lead elsewhere on each of its machines.

    `where` names the origin of the settings in the error.
    """
    if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
        return
    travels = _folder_travels()
    wrong = {
        key: value
        for key, value, reach in named(config)
        if value != EMBEDDED
        and not Path(value).is_absolute()
        and (reach.by == "shared" or (reach.by == "shipped" and not travels and Path(value).exists()))
    }
    if wrong:
        told = " and ".join(f"{key}: {value}" for key, value in list(wrong.items())[:SHOWN])
        told += f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        example = Path("/mnt/shared", *(part for part in Path(next(iter(wrong.values()))).parts if part != ".."))
        raise ConfigError(
            f"{where}{': ' if where else ''}{told} {'is' if len(wrong) == 1 else 'are'} relative, but RAY_ADDRESS is "
            "set and every machine of a cluster has a working folder of its own: give an absolute path on storage "
            f"that all of them see, e.g. {example}, or unset RAY_ADDRESS to use this machine alone"
        )


def _folder_travels() -> bool:
    """Whether this is a job that was submitted with its working folder: then every worker stands in a copy of it."""
    told = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return bool((told.get("runtime_env") or {}).get("working_dir"))


def named(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Path | str, Reach]]:
    """Every file or folder that a config and its parts name: dotted key, value, who opens it."""
    for name, field in type(config).model_fields.items():
        reach = next((mark for mark in field.metadata if isinstance(mark, Reach)), None)
        for key, value in _parts(f"{prefix}{name}", getattr(config, name)):
            if isinstance(value, BaseModel):
                yield from named(value, f"{key}.")
            elif reach and isinstance(value, str | Path) and not ADDRESS.match(str(value)):
                yield key, value, reach


def _parts(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value, or what a table or list of values holds."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _parts(f"{key}.{name}", part)
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _parts(f"{key}.{number}", part)
    else:
        yield key, value
