"""Training directory → `Training`: its settings, its metrics, its restarts, its data sets. No torch here.

Everything a training writes is read line by line; a line that is cut off, because the training is being written or was
killed, is left out.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from imageref_ray.commands.inspection.run_state import read_object
from imageref_ray.core.config import ConfigError, MixtureEntry, TrainConfig
from imageref_ray.core.json_files import json_lines
from imageref_ray.dataset import mixture

LOG_BYTES = 6_000
"""The end of train.log that is shown."""


class Happened(NamedTuple):
    """A line of events.jsonl: when, what (`started`, `resumed`, `lost`), and what was said on the screen."""

    time: str
    event: str
    text: str

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Happened:
        """The line's texts, empty where it has none."""
        return cls(*(str(line.get(name) or "") for name in cls._fields))


@dataclass(frozen=True, slots=True)
class Training:
    """The contents of a training's run directory.

    `metrics` are the lines of metrics.jsonl and `events` those of events.jsonl; `skipped` is data set → reason →
    samples, known when the training is done, as is `samples`. `sets` is empty, and `problem` says why, where the
    mixture cannot be read any more. `idle` is how many seconds ago anything was written.
    """

    directory: Path
    fingerprint: str
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    events: Sequence[Happened]
    samples: int | None
    skipped: Mapping[str, Mapping[str, int]]
    model: bool
    checkpoints: Sequence[str]
    sets: Mapping[str, MixtureEntry]
    problem: str
    log: str
    last_written: str

    @property
    def steps(self) -> int:
        """The steps of the whole training, 0 if not known."""
        steps = self.config.get("steps") or self.settings.get("steps") or 0
        return steps if isinstance(steps, int) else 0


def read_training(directory: Path) -> Training:
    """Read a training in whatever state. Raises ConfigError where fingerprint.json or summary.json is damaged."""
    start, summary = read_object(directory / "fingerprint.json"), read_object(directory / "summary.json")
    config = start.get("config") or {}
    sets, problem = _sets(config)
    return Training(
        directory=directory,
        fingerprint=str(start.get("fingerprint", "")),
        settings=start.get("settings") or {},
        config=config,
        metrics=[line for line in read_lines(directory / "metrics.jsonl") if _is_number(line.get("step"))],
        events=[Happened.of(line) for line in read_lines(directory / "events.jsonl")],
        samples=summary.get("samples") if isinstance(summary.get("samples"), int) else None,
        skipped=summary.get("skipped") or {},
        model=(directory / "model").is_dir() and bool(summary),
        checkpoints=sorted(path.name for path in (directory / "checkpoints").glob("checkpoint_*/")),
        sets=sets,
        problem=problem,
        log=_end_of(directory / "train.log"),
        last_written=_last_written(directory),
    )


def read_lines(path: Path) -> list[Mapping[str, Any]]:
    """The lines of a file that are whole JSON objects; none where it does not exist."""
    found: list[Mapping[str, Any]] = []
    for row in json_lines(path) if path.is_file() else ():
        try:
            value = row.read()
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sets(values: Mapping[str, Any]) -> tuple[Mapping[str, MixtureEntry], str]:
    """The mixture's data sets, or why they cannot be read."""
    if not values:
        return {}, "fingerprint.json has no config"
    try:
        return mixture.entries(TrainConfig.model_validate(values)), ""
    except (ConfigError, ValidationError, OSError) as error:
        return {}, " ".join(str(error).split())


def _end_of(path: Path) -> str:
    """The end of a log, from the beginning of a line."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
        text = file.read().decode("utf-8", "replace")
    return text if len(text) < LOG_BYTES else text.partition("\n")[2]


def _last_written(directory: Path) -> str:
    names = ("metrics.jsonl", "events.jsonl", "train.log")
    times = [path.stat().st_mtime for name in names if (path := directory / name).is_file()]
    return f"{datetime.datetime.fromtimestamp(max(times), datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" if times else ""
