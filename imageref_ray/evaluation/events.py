"""`events.jsonl`: what an evaluation found, event by event, for comparisons and pages.

    placement ─┐
    vqa ───────┼─▶ one row per event and mode: its metrics, its answer, the verdict at every slot ─▶ compare, inspect
    judge ─────┘

A row holds all that its readers need: labels and answers are not read again. An event without an answer, or one that
is left out of the metrics, has a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imageref_ray.batch import manifest
from imageref_ray.core.config import ConfigError
from imageref_ray.core.durable import write_atomically
from imageref_ray.core.json_files import json_lines
from imageref_ray.core.markdown import Policy
from imageref_ray.core.records import Failure, Image, from_row, to_row
from imageref_ray.core.text import json_text
from imageref_ray.evaluation.placement_metrics import Verdict

FILE = "events.jsonl"

TEST_SET = {
    "evaluate placement": ("data", "labels", "label_slots", "limit", "paper"),
    "evaluate vqa": ("sets", "limit"),
    "evaluate judge": ("data", "rubric", "baseline", "limit", "engine"),
}
"""Job → settings of its fingerprint (and those under them) that say what was measured, and how; the others say who."""


@dataclass(frozen=True, slots=True)
class SlotVerdict:
    """One labelled or used slot: the image placed there ("" for none), and those that fit best (ids)."""

    slot: int
    verdict: Verdict
    image: str = ""
    best: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One event in one mode; rows of the same `id` and `mode` in two runs are a pair.

    `values`: metric → value, empty where the event is left out of the metrics; None in every event: there is nothing
    to measure. `problem` says why there is no answer, or no value. `text` is the text whose slots (under `policy`) are
    judged, `answer` what the system wrote, `expected` the right answer where it is not images.
    """

    id: str
    mode: str
    values: Mapping[str, float | None] = field(default_factory=dict)
    problem: str = ""
    question: str = ""
    text: str = ""
    policy: Policy = "after"
    answer: str = ""
    expected: str = ""
    images: tuple[Image, ...] = ()
    slots: tuple[SlotVerdict, ...] = ()


Events = Mapping[str, Event]
"""Id → event, of one run in one mode."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation: its job, the settings that say what was measured, its events by mode and id."""

    directory: Path
    job: str
    test_set: Mapping[str, object]
    events: Mapping[str, Events]


def problems(failures: Iterable[Failure]) -> dict[str, str]:
    """Record id → why it failed as a whole."""
    return {f.record_id: f"{f.error} in {f.stage}: {f.message}" for f in failures if not f.item}


def write(directory: Path, events: Iterable[Event]) -> None:
    """Write a run's events.jsonl."""
    write_atomically(directory / FILE, "".join(f"{json_text(to_row(event))}\n" for event in events))


def read(directory: Path) -> dict[str, dict[str, Event]]:
    """Mode → id → event of a run. Raises ConfigError where the file is missing or damaged."""
    path = directory / FILE
    if not path.is_file():
        raise ConfigError(
            f"{directory} has no {FILE} (not finished, or of an older version); evaluate into a new output"
        )
    events: dict[str, dict[str, Event]] = {}
    for row in json_lines(path):
        try:
            event = from_row(Event, row.read())
            events.setdefault(event.mode, {})[event.id] = event
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} line {row.line} is not an event ({error}); evaluate into a new output") from None
    return events


def read_evaluation(directory: Path) -> Evaluation:
    """A finished evaluation. Raises ConfigError where `directory` is something else."""
    job, _ = manifest.job_and_config(directory)
    if job not in TEST_SET:
        raise ConfigError(f"{directory} is a run of {job}, which has no answers to compare; give runs of evaluate")
    if manifest.summary(directory) is None:
        raise ConfigError(f"{directory} is not finished; run the same command again to resume it")
    settings = manifest.finished(directory)["settings"]
    test_set = {key: value for key, value in settings.items() if key.split(".")[0] in TEST_SET[job]}
    return Evaluation(directory, job, test_set, read(directory))
