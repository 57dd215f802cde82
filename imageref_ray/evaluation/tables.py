"""What `imageref evaluate` says at its end: metrics → a table, and sentences on what to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

MODES = ("guided", "free")
"""The ways of decoding a placement."""

PLACEMENT = {
    "recall_1": "recall_1: any relevant image",
    "recall_3": "recall_3: the best images",
    "precision": "precision",
    "f1": "F1 of precision and recall_3",
    "score": "score",
}
"""Metric → its words; all are ratios, 1 is best."""

VQA = {
    "official": "accuracy (VQA challenge)",
    "release": "accuracy (VIGC release)",
    "total": "choice by total likelihood",
    "mean": "choice by mean likelihood",
}
"""Metric → its words; all are in per cent."""

CAVEATS = {
    "missing_events": "{count} labelled events have no answer; the quarantine says why",
    "unparsed_events": "{count} answers share no line with the reference and place nothing",
    "missing": "{count} of {questions} questions have no answer and count as wrong; the quarantine says why",
    "unlabelled": "{count} questions are left out: they have no annotators' answers, or no right choice",
    "few_labels": "{count} of {questions} questions have fewer than the ten annotators of published accuracies",
    "cut": "{count} of {questions} answers were cut off by max_tokens",
}
"""Count in the metrics → what to know where it is not 0."""


def show(console: Console, found: Table, summary: Mapping[str, Any]) -> None:
    """The table, and under it the notes."""
    console.print(found)
    for note in notes(summary):
        console.print(note, highlight=False, soft_wrap=True)


def placement(title: str, summary: Mapping[str, Any]) -> Table:
    """One line a way of decoding and measure, with its 95 % interval."""
    made = _empty(title, "decoding", "value", "events")
    for mode in MODES:
        if mode in summary:
            _fill(made, mode, summary[mode], PLACEMENT, 3, "events")
    return made


def vqa(title: str, summary: Mapping[str, Any]) -> Table:
    """One line a set and measure, with its 95 % interval."""
    made = _empty(title, "set", "%", "questions")
    for _, name, found in _sets(summary):
        _fill(made, name, found, VQA, 1, "questions")
    return made


def notes(summary: Mapping[str, Any]) -> list[str]:
    """One line for everything that bears on the numbers, and what the run's problems were."""
    modes = [(mode, summary[mode]) for mode in MODES if mode in summary]
    sets = [(f"{name}, {mode}", found) for mode, name, found in _sets(summary)]
    lines = [
        f"{name}: " + sentence.format(count=f"{found[key]:,}", questions=f"{found.get('questions', 0):,}")
        for name, found in (*modes, *sets)
        for key, sentence in CAVEATS.items()
        if found.get(key)
    ]
    problems = ", ".join(f"{error} {count:,}" for error, count in summary["run"]["problems"].items())
    return [*lines, *([f"problems: {problems}"] if problems else [])]


def _empty(title: str, what: str, unit: str, counted: str) -> Table:
    made = Table(title=title, title_justify="left")
    made.add_column(what)
    made.add_column("measure")
    for name in (unit, "95 % interval", counted):
        made.add_column(name, justify="right")
    return made


def _fill(
    made: Table, name: str, found: Mapping[str, Any], measures: Mapping[str, str], digits: int, counted: str
) -> None:
    for key in (key for key in measures if key in found):
        value, low, high = (f"{number:.{digits}f}" for number in (found[key], *found["intervals"][key]))
        made.add_row(name, measures[key], value, f"{low} – {high}", f"{found[counted]:,}")


def _sets(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Mode, set and metrics."""
    for mode in ("direct", "choice"):
        for name, found in summary.get(mode, {}).items():
            yield mode, name, found
