"""What the screen shows of a pass: status rows → one moving line (a terminal) or a line now and then (a file)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from imageref_ray.core.config import EngineConfig

LINE_SECONDS = 5.0
"""Seconds between two progress lines where the screen is not a terminal."""

COSTS = {
    "requests": "requests",
    "prompt_tokens": "prompt tokens",
    "image_tokens": "… of images",
    "cached_tokens": "… from the cache",
    "generated_tokens": "generated tokens",
}

REPORTED = ("image_tokens", "cached_tokens")
"""Costs that an endpoint may leave out of its replies: zero of them in all may mean that nobody counted."""

PLANNED = ("requests", "prompt_tokens", "generated_tokens")
"""Costs that a build's plan predicted and its closing table compares."""


class Display:
    """Records done of `total`, failures and generated tokens a second, while a pass runs."""

    def __init__(self, name: str, total: int, log: Path, console: Console | None = None) -> None:
        self._name, self._total, self._log = name, total, log
        self._console = console or Console(stderr=True)
        self._done = self._failed = self._tokens = 0
        self._began = self._printed = 0.0
        self._bar: Progress | None = None
        self._row = TaskID(0)

    def __enter__(self) -> Display:
        self._began = self._printed = time.monotonic()
        if self._console.is_terminal:
            name, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
            columns = SpinnerColumn(), name, BarColumn(), MofNCompleteColumn(), note, TimeElapsedColumn()
            self._bar = Progress(*columns, console=self._console)
            self._row = self._bar.add_task(self._name, total=self._total, note="starting the engine")
            self._bar.start()
        else:
            self.print(f"0/{self._total} records, starting the engine (log: {self._log})")
        return self

    def update(self, statuses: Iterable[Mapping[str, Any]]) -> None:
        """Count status rows: `ok`, `skipped`, and the costs."""
        for status in statuses:
            if status["skipped"]:
                continue
            self._done += 1
            self._failed += not status["ok"]
            self._tokens += status["generated_tokens"]
        note = f"{self._failed} failed, {self._tokens / max(time.monotonic() - self._began, 1e-3):,.0f} tokens/s"
        if self._bar:
            self._bar.update(self._row, completed=self._done, note=note)
        elif time.monotonic() - self._printed >= LINE_SECONDS or self._done == self._total:
            self._printed = time.monotonic()
            self.print(f"{self._done}/{self._total} records, {note}, {self._printed - self._began:.0f} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def state(self) -> str:
        """The pass's progress, for messages."""
        return f"{self._done} of {self._total} records done, {self._failed} of them failed"

    def print(self, text: str) -> None:
        """Print one line, above the moving one."""
        self._console.print(f"{self._name}: {text}", highlight=False, soft_wrap=True)


def unreported(counts: Mapping[str, float], engines: Iterable[EngineConfig]) -> dict[str, list[str]]:
    """`{"unreported": [costs]}`, for a summary, where an endpoint has counted none of a cost in `REPORTED`; else {}."""
    names = [name for name in REPORTED if not counts[name]]
    return {"unreported": names} if names and any(engine.kind == "openai" for engine in engines) else {}


def closing_table(title: str, summary: Mapping[str, Any]) -> Table:
    """A run's summary as a table: records, what was quarantined and why, costs (– where not reported), time."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("records", f"{summary['records']:,}")
    nothing = summary["quarantined"] and not summary["records"]
    table.add_row(
        "quarantined records",
        f"{summary['quarantined']:,}",
        style="red" if nothing else None,
        end_section=not summary["problems"],
    )
    for error, count in summary["problems"].items():
        table.add_row(f"  {error}", f"{count:,}")
    table.add_section()
    for key, words in COSTS.items():
        part = key in REPORTED and summary["prompt_tokens"] > 0
        share = f" ({summary[key] / summary['prompt_tokens']:.0%})" if part else ""
        table.add_row(words, "–" if key in summary.get("unreported", ()) else f"{summary[key]:,}{share}")
    if "money" in summary:
        table.add_row("money", money_text(summary))
    table.add_section()
    table.add_row("generated tokens/s", f"{summary['tokens_per_second']:,.0f}")
    table.add_row("seconds", f"{summary['seconds']:,.1f}", end_section="plan" in summary)
    for key in PLANNED if "plan" in summary else ():
        table.add_row(f"plan, {COSTS[key]}", _deviation_text(summary["plan"][key]))
    return table


def money_text(summary: Mapping[str, Any]) -> str:
    """What a summary's `money` is, with its `currency`: cents, or three digits of what is less."""
    money = summary["money"]
    return f"{f'{money:,.2f}' if money >= 1 or not money else f'{money:.3g}'} {summary['currency']}"


def _deviation_text(deviation: Mapping[str, Any]) -> str:
    """How far a plan's prediction was off, in percent of the real value: + where it was too high."""
    relative = deviation["relative"]
    text = f"{round(100 * relative, 1) + 0.0:+.1f} %" if math.isfinite(relative) else "predicted, but there were none"
    return text if deviation["inside"] else f"{text} (outside its interval)"
