"""A run of records (build, instruct, evaluate) → its `View`: failures, costs, what its job found, samples, settings.

Run ─┬─ the same for all ─▶ lead, tiles, failures, costs, settings
     └─ JOBS ─▶ what the job found, and its samples or events as cards, as many as fit
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from imageref_ray.commands.inspection import evaluation_parts, instruction_parts
from imageref_ray.commands.inspection.parts import COST_LABELS, Parts, fitting, outcome_sections, render_cards
from imageref_ray.commands.inspection.run_state import Run, read_run
from imageref_ray.commands.inspection.run_state import State as RunState
from imageref_ray.commands.inspection.view import (
    FAILED,
    FINISHED,
    UNFINISHED,
    Section,
    State,
    Tile,
    View,
    fill,
    plural,
    settings_section,
)
from imageref_ray.commands.pages import figures
from imageref_ray.core.records import Usage
from imageref_ray.dataset.cards.card import shorten

MAX_BYTES = 20_000_000
"""Size limit of the whole page: a phone's browser can still open it."""

MAX_CARD_BYTES = MAX_BYTES - 2_000_000
"""Of it the samples: the rest is for everything else."""

STATES: Mapping[RunState, State] = {
    "finished": FINISHED,
    "too few succeeded": State("✕", "wrong", "Finished, but too few records succeeded"),
    "failed": FAILED,
    "unfinished": UNFINISHED,
}


def read_records(directory: Path, samples: int, seed: int) -> View:
    """The view of a run of records. Raises ConfigError if it is damaged, or not a run."""
    return view_records(read_run(directory, samples, seed))


def view_records(run: Run, max_card_bytes: int = MAX_CARD_BYTES) -> View:
    """The view of `run`, with at most `max_card_bytes` of samples, or all events of an evaluation that fit."""
    parts = JOBS.get(run.job, build_parts)(run, max_card_bytes)
    failures = Section("failures", "Failures", failures_html(run))
    costs = Section("costs", "Costs", costs_html(run))
    sections = [failures] * bool(run.failure_groups) + [*parts.found] + [costs] * bool(run.costs)
    sections += [parts.samples] if parts.samples else []
    files = run.pass_summary.get("files", {})
    settings = settings_section(run.fingerprint, run.config or run.settings, bool(run.config), run.git, files)
    return View(
        directory=run.directory,
        job=run.job,
        state=STATES[run.state],
        lead=fill("lead.html", run=run),
        line=_line(run, parts),
        tiles=_tiles(run),
        sections=[*sections, settings],
        style=parts.style,
        samples=parts.cards,
    )


def failures_html(run: Run) -> Markup:
    """Failures by error and stage, with examples."""
    return fill("failures.html", groups=run.failure_groups, shorten=shorten)


def build_parts(run: Run, max_bytes: int) -> Parts:
    """A build's records with their images where they were placed; the rows of an unknown job field by field."""
    outcome = outcome_sections(run)
    if not run.samples:
        return Parts(outcome)
    cards = fitting(render_cards(run), max_bytes)
    html = fill("samples.html", run=run, cards=cards, records=len(run.costs), megabytes=MAX_BYTES // 1_000_000)
    return Parts(outcome, Section("samples", "Samples", html), plural(len(cards), "sample"), len(cards))


JOBS: Mapping[str, Callable[[Run, int], Parts]] = {
    "build": build_parts,
    "instruct": instruction_parts.parts,
    "evaluate placement": evaluation_parts.parts,
    "evaluate vqa": evaluation_parts.parts,
    "evaluate judge": evaluation_parts.parts,
}
"""Job → what its page shows beyond what all have."""


def _line(run: Run, parts: Parts) -> str:
    quarantined = f"{run.quarantined:,} quarantined"
    return f"{run.state}, {plural(len(run.costs), 'record')}, {quarantined}; {parts.shown}"


def _tiles(run: Run) -> list[Tile]:
    left_out = sum(group.items for group in run.failure_groups)
    return [
        Tile(f"{len(run.costs):,}", "records", "committed"),
        Tile(f"{run.quarantined:,}", "quarantined", "records that failed as a whole"),
        Tile(f"{left_out:,}", "left out", "images or documents that could not be used"),
        *(Tile(value, name, source) for name, value, source in _time_and_speed(run)[:1]),
    ]


def costs_html(run: Run) -> Markup:
    """What the run cost, record by record, and its speed."""
    return fill(
        "costs.html",
        costs=_cost_charts(run.costs),
        unknown=run.unreported,
        records_over_time=Markup(figures.records_over_time(run.progress)),
        speed=_time_and_speed(run),
        last_commit=run.last_commit,
    )


def _time_and_speed(run: Run) -> list[tuple[str, str, str]]:
    """(name, value, source) of each figure; without a manifest those that the files' modification times give."""
    summary, rows = run.pass_summary, []
    if "seconds" in summary:
        rows.append(("time", figures.duration(summary["seconds"]), "of the last call, as the run measured"))
    elif run.progress:
        rows.append(("time", figures.duration(run.progress[-1][0]), "from the start to the last commit"))
    if "tokens_per_second" in summary:
        rows.append(("generated tokens/s", f"{summary['tokens_per_second']:,.0f}", "as the run measured"))
    if run.progress:
        per_minute = 60 * len(run.costs) / run.progress[-1][0]
        rows.append(("records per minute", f"{per_minute:,.1f}", "from file times, engine start included"))
    return rows


def _cost_charts(costs: Sequence[Usage]) -> list[dict[str, Any]]:
    """One entry per kind of cost: its label, total, median and histogram per record."""
    charts = []
    for key, label in COST_LABELS.items():
        values = [getattr(cost, key) for cost in costs]
        if values:
            chart = Markup(figures.histogram(values, label))
            charts.append(
                {"key": key, "label": label, "total": sum(values), "median": statistics.median(values), "chart": chart}
            )
    return charts
