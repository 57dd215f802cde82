"""Settings that name a file or folder: who opens it, and so which paths work on a cluster.

    Shared[Path]     workers read it                             absolute, on storage that all machines mount
    Written[Path]    the job writes it                           the same
    Shipped[Path]    workers read it, it may be uploaded         the same, or inside the working_dir of a submitted job
    Own[Path]        only the process that starts the job        relative to its working directory

None of them accepts an address (`s3://…`): nothing reads or writes one, and a folder called `s3:` would be created.
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
"""The start of an address, also of one that was a `Path` and lost a slash. (A single letter is a Windows drive.)"""

SHOWN = 4
"""Maximum settings listed in a message; a mixture may have dozens."""


@dataclass(frozen=True)
class Access:
    """Who opens the file or folder that a setting names."""

    by: Literal["shared", "shipped", "own"]
    written: bool = False
    """True: the job writes it; False: it is only read."""


def reject_address(value: Any) -> Any:
    """The value unchanged. Raises ValueError for an address (`s3://…`): only paths are supported."""
    if isinstance(value, str | Path) and ADDRESS.match(str(value)):
        raise ValueError(
            f"{value} is an address, but only paths of a mounted file system are supported here; "
            "give one, e.g. /mnt/shared/runs/first"
        )
    return value


def folder_or_bucket(value: Any) -> Any:
    """A folder as a Path, `s3://bucket/prefix` or `gs://bucket/prefix` as it is. Raises ValueError for another
    address."""
    if not isinstance(value, str | Path) or not ADDRESS.match(str(value)):
        return Path(value) if isinstance(value, str) else value
    if not str(value).startswith(("s3://", "gs://")):
        raise ValueError(f"{value} is not a folder, s3://bucket/prefix or gs://bucket/prefix; give one of these")
    return value


def files(value: Any) -> Any:
    """None, one or several paths as a tuple. Raises ValueError for an address."""
    if isinstance(value, str | Path):
        return (reject_address(value),)
    return tuple(map(reject_address, value)) if isinstance(value, list | tuple) else () if value is None else value


Shared = Annotated[T, BeforeValidator(reject_address), Access("shared")]
Written = Annotated[T, BeforeValidator(reject_address), Access("shared", written=True)]
Shipped = Annotated[T, BeforeValidator(reject_address), Access("shipped")]
Own = Annotated[T, BeforeValidator(reject_address), Access("own")]
SharedOrBucket = Annotated[Path | str, BeforeValidator(folder_or_bucket), Access("shared")]
"""A folder that workers read, or a bucket that they fetch from."""
OwnFiles = Annotated[
    tuple[Path, ...], BeforeValidator(files, json_schema_input_type=Path | tuple[Path, ...] | None), Access("own")
]
"""None, one or several files that only the process opens that starts the job."""
Model = Annotated[str, Access("shipped")]
"""A checkpoint: a folder, a hub name, or `embedded` (the one in the package)."""


def check_places(config: BaseModel, where: str = "") -> None:
    """Raise ConfigError if RAY_ADDRESS is set and a relative path would mean another folder on each machine.

    `where` is the origin of the settings, for the message.
    """
    if os.environ.get("RAY_ADDRESS", "") in ("", "local"):
        return
    uploaded = _working_dir_is_uploaded()
    wrong = {
        key: value
        for key, value, access in path_settings(config)
        if value != EMBEDDED
        and not Path(value).is_absolute()
        and (access.by == "shared" or (access.by == "shipped" and not uploaded and Path(value).exists()))
    }
    if wrong:
        listed = " and ".join(f"{key}: {value}" for key, value in list(wrong.items())[:SHOWN])
        listed += f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        example = Path("/mnt/shared", *(part for part in Path(next(iter(wrong.values()))).parts if part != ".."))
        raise ConfigError(
            f"{where}{': ' if where else ''}{listed} {'is' if len(wrong) == 1 else 'are'} relative, but RAY_ADDRESS is "
            "set and every machine of a cluster has its own working directory: give an absolute path on storage that "
            f"all machines mount, e.g. {example}, or unset RAY_ADDRESS to run on this machine only"
        )


def _working_dir_is_uploaded() -> bool:
    """Whether this job was submitted with a working_dir: then every worker runs in a copy of it."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return bool((job.get("runtime_env") or {}).get("working_dir"))


def path_settings(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Path | str, Access]]:
    """Every file or folder setting of a config and its nested models: dotted key, value, who opens it."""
    for name, field in type(config).model_fields.items():
        access = next((item for item in field.metadata if isinstance(item, Access)), None)
        for key, value in _parts(f"{prefix}{name}", getattr(config, name)):
            if isinstance(value, BaseModel):
                yield from path_settings(value, f"{key}.")
            elif access and isinstance(value, str | Path) and not ADDRESS.match(str(value)):
                yield key, value, access


def _parts(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The value, or the values of a table or list, with their keys."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _parts(f"{key}.{name}", part)
    elif isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _parts(f"{key}.{number}", part)
    else:
        yield key, value
