"""`imageref inspect`: a run directory, finished, running or failed → one HTML page, whatever the job.

directory ─kind_of─▶ KINDS ─┬─ records: build, instruct, evaluate ─┐
                            ├─ plan                                ├─▶ View ─▶ page: inspect.html
                            ├─ train                               │
                            └─ speed: evaluate speed ──────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from imageref_ray.commands.inspection import plan, speed, training
from imageref_ray.commands.inspection.page import Page, summary_line, write_page
from imageref_ray.commands.inspection.records import read_records, view_records
from imageref_ray.commands.inspection.run_state import Run, is_run, read_object, read_run
from imageref_ray.commands.inspection.view import View
from imageref_ray.commands.plan import FILE as PLAN
from imageref_ray.core.config import ConfigError

__all__ = ["Page", "Run", "inspect", "read_run", "read_view", "summary_line", "view_records", "write_page"]

KINDS: Mapping[str, Callable[[Path, int, int], View]] = {
    "records": read_records,
    "plan": plan.read,
    "train": training.read,
    "speed": speed.read,
}
"""Kind of run → how it is read: directory, number of samples, seed."""


def inspect(directory: Path, samples: int, seed: int, out: Path | None = None) -> None:
    """Write the page of a run and print its path. Raises ConfigError where `directory` is not a run directory."""
    view = read_view(directory, samples, seed)
    print(summary_line(view, write_page(view, out or view.directory / "inspect.html")))


def read_view(directory: Path, samples: int, seed: int = 0) -> View:
    """What the page of a run says. Raises ConfigError where it is damaged, or not a run."""
    if samples < 0:
        raise ConfigError(f"--samples {samples}: give 0 or more")
    return KINDS[kind_of(directory)](directory, samples, seed)


def kind_of(directory: Path) -> str:
    """What a directory holds; "records" also where it is no run: their reader says so."""
    if (directory / speed.FILE).is_file():
        return "speed"
    settings = read_object(directory / "fingerprint.json").get("settings")
    job = settings.get("job") if isinstance(settings, dict) else None
    if job == "train":
        return "train"
    if job == "plan" or (directory / PLAN).is_file():
        return "plan"
    return "plan" if not is_run(directory) and plan.directory_of(directory) else "records"
