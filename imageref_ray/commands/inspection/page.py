"""`Run` → one HTML file of bounded size: cards are added in the order of their ids until the page is full."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from imageref_ray.batch.progress import COSTS
from imageref_ray.batch.store import Result
from imageref_ray.commands import pages
from imageref_ray.commands.inspection.cards import flatten, make_card, shorten
from imageref_ray.commands.inspection.event_section import Answers, Group, Section, render_section
from imageref_ray.commands.inspection.run_state import Run, State
from imageref_ray.commands.pages import figures
from imageref_ray.core.records import Usage

MAX_BYTES = 20_000_000
"""Size limit of the whole page: a phone's browser can still open it."""

FRAME_BYTES = 2_000_000
"""Bytes of it reserved for everything but the samples."""

SECRET_KEY = re.compile(r"(?:^|[._-])(?:key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
"""Names of settings whose values are hidden: the page may be sent to others."""

FOLDER = Path(__file__).parent
SHOWN_ELSEWHERE = frozenset(
    {*COSTS, "unreported", "records", "quarantined", "problems", "seconds", "tokens_per_second", "files"}
)
"""Keys of a summary that the page shows in sections of their own."""

COST_LABELS = {**COSTS, "cached_tokens": "prompt tokens from the cache", "image_tokens": "prompt tokens of images"}

STATES: Mapping[State, tuple[str, str, str]] = {
    "finished": ("✓", "right", "Finished"),
    "too few succeeded": ("✕", "wrong", "Finished, but too few records succeeded"),
    "failed": ("✕", "wrong", "Stopped by an error"),
    "unfinished": ("◔", "missed", "Not finished"),
}
"""State → sign, CSS class and label."""


@dataclass(frozen=True, slots=True)
class Page:
    """A written page: its path, its size, and how many samples it shows."""

    path: Path
    bytes: int
    samples: int


def write_page(run: Run, out: Path, max_card_bytes: int = MAX_BYTES - FRAME_BYTES) -> Page:
    """Write the page to `out`, with at most `max_card_bytes` of samples, or all events of an evaluation that
    fit. Raises ConfigError if that fails."""
    cards = [] if run.events else _render_cards(run, max_card_bytes)
    section = render_section(_groups(run)) if run.events else None
    size = pages.write(out, _render_page(run, cards, section))
    return Page(out, size, section.shown if section else len(cards))


def summary_line(run: Run, page: Page) -> str:
    """The run's state and the page's path, in one line."""
    records, samples = _plural(len(run.costs), "record"), _plural(page.samples, "sample")
    state = f"{run.state}, {records}, {run.quarantined:,} quarantined"
    return f"{run.directory}: {state}; {samples} in {page.path} ({page.bytes / 1e6:.1f} MB)"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _render_cards(run: Run, max_bytes: int) -> list[Markup]:
    """The samples as HTML, as many as fit into `max_bytes`."""
    template = pages.environment(FOLDER).get_template("card.html")
    cards: list[Markup] = []
    for result in sorted(run.samples, key=_numeric_order):
        card = make_card(result, run.failures.get(result.id, ()), run.directory)
        html = template.render(card=card, number=len(cards) + 1, costs=COST_LABELS, unknown=_unreported(run))
        size = len(html.encode("utf-8", "replace"))
        if size <= max_bytes:
            max_bytes -= size
            cards.append(Markup(html))
    return cards


def _numeric_order(result: Result) -> tuple[int, str]:
    """A sort key: ids of digits in the order of their numbers."""
    return len(result.id) if result.id.isdigit() else 0, result.id


def _groups(run: Run) -> list[Group]:
    """The run's modes as systems, side by side where they were asked the same events."""
    groups: dict[frozenset[str], list[Answers]] = {}
    for mode, events in run.events.items():
        groups.setdefault(frozenset(events), []).append(Answers(mode, run.directory, events))
    return [Group(" · ".join(one.name for one in systems), systems) for systems in groups.values()]


def _render_page(run: Run, cards: Sequence[Markup], events: Section | None) -> str:
    return pages.render(
        FOLDER / "inspect.html",
        script=pages.BROWSE.read_text(encoding="utf-8"),
        events=events,
        run=run,
        state=STATES[run.state],
        cards=cards,
        megabytes=MAX_BYTES // 1_000_000,
        costs=_cost_charts(run.costs),
        unknown=_unreported(run),
        records_over_time=Markup(figures.records_over_time(run.progress)),
        speed=_time_and_speed(run),
        left_out=sum(group.items for group in run.failure_groups),
        outcome=_outcome(run),
        files=_pass_summary(run).get("files", {}),
        settings=[(key, _setting_text(key, value)) for key, value in flatten(run.config or run.settings)],
        shorten=shorten,
    )


def _pass_summary(run: Run) -> Mapping[str, Any]:
    """The part of a summary about the pass itself: an evaluation has it under `run`."""
    nested = run.summary.get("run")
    return nested if isinstance(nested, Mapping) else run.summary


def _unreported(run: Run) -> Sequence[str]:
    """Costs that the run's endpoint does not count."""
    return list(_pass_summary(run).get("unreported", ()))


def _outcome(run: Run) -> dict[str, list[tuple[str, str]]]:
    """The rest of a summary, e.g. an evaluation's metrics: section ("" for none) → (name, value)."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for key, value in run.summary.items():
        if isinstance(value, Mapping) and key not in {"run", *SHOWN_ELSEWHERE}:
            sections[key] = [(name, _number_text(number)) for name, number in flatten(value)]
        elif key not in {"run", *SHOWN_ELSEWHERE}:
            sections.setdefault("", []).append((key, _number_text(value)))
    return sections


def _number_text(value: Any) -> str:
    """A result as text, numbers rounded; an interval as `low – high`."""
    if isinstance(value, list) and value and all(isinstance(bound, float) for bound in value):
        return " – ".join(map(_number_text, value))
    return f"{value:.4g}" if isinstance(value, float) else _setting_text("", value)


def _time_and_speed(run: Run) -> list[tuple[str, str, str]]:
    """(name, value, source) of each figure; without a manifest those that the files' modification times give."""
    summary, rows = _pass_summary(run), []
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


def _setting_text(key: str, value: Any) -> str:
    """A setting's value as text; secrets are hidden."""
    if SECRET_KEY.search(key) and value:
        return "•••"
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 2_000)
