"""What `imageref evaluate vqa` says at its end: metrics by mode and set → a table, and sentences on what to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

MEASURES = {
    "official": "accuracy (VQA challenge)",
    "release": "accuracy (VIGC release)",
    "total": "choice by total likelihood",
    "mean": "choice by mean likelihood",
}
"""Metric → its words; all are in per cent."""

CAVEATS = {
    "missing": "{count} of {questions} questions have no answer and count as wrong; the quarantine says why",
    "unlabelled": "{count} questions are left out: they have no annotators' answers, or no right choice",
    "few_labels": "{count} of {questions} questions have fewer than the ten annotators of published accuracies",
    "cut": "{count} of {questions} answers were cut off by max_tokens",
}
"""Count in a set's metrics → what to know where it is not 0."""


def table(title: str, summary: Mapping[str, Any]) -> Table:
    """One line a set and measure, with its 95 % interval."""
    made = Table(title=title, title_justify="left")
    made.add_column("set")
    made.add_column("measure")
    for name in ("%", "95 % interval", "questions"):
        made.add_column(name, justify="right")
    for _, name, found in _found(summary):
        for key in (key for key in MEASURES if key in found):
            low, high = found["intervals"][key]
            value, interval = f"{found[key]:.1f}", f"{low:.1f} – {high:.1f}"
            made.add_row(name, MEASURES[key], value, interval, f"{found['questions']:,}")
    return made


def notes(summary: Mapping[str, Any]) -> list[str]:
    """One line for everything that bears on the numbers, and what the run's problems were."""
    lines = [
        f"{name}, {mode}: " + sentence.format(count=f"{found[key]:,}", questions=f"{found['questions']:,}")
        for mode, name, found in _found(summary)
        for key, sentence in CAVEATS.items()
        if found.get(key)
    ]
    problems = ", ".join(f"{error} {count:,}" for error, count in summary["run"]["problems"].items())
    return [*lines, *([f"problems: {problems}"] if problems else [])]


def _found(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Mode, set and metrics."""
    for mode in ("direct", "choice"):
        for name, found in summary.get(mode, {}).items():
            yield mode, name, found
