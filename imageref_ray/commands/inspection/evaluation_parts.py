"""An evaluation → what its page shows: its metrics with their intervals, and every event, the worst first.

Of one that is not finished there are no verdicts yet: its rows are shown as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from imageref_ray.commands.inspection.event_cards import Reason
from imageref_ray.commands.inspection.event_section import Answers, Group, render_section
from imageref_ray.commands.inspection.parts import Parts, fitting, outcome_sections, render_cards
from imageref_ray.commands.inspection.run_state import Run
from imageref_ray.commands.inspection.view import Section, fill, plural
from imageref_ray.commands.pages import figures
from imageref_ray.core.config import ConfigError
from imageref_ray.core.json_files import json_lines
from imageref_ray.dataset.cards.card import shorten
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.tables import Line

LINES: Mapping[str, tuple[tuple[str, str], Callable[[Mapping[str, Any]], Iterable[Line]]]] = {
    "evaluate placement": (("decoding", "events"), tables.placement_lines),
    "evaluate vqa": (("set, in per cent", "questions"), tables.vqa_lines),
    "evaluate judge": (("system", "answers"), tables.judge_lines),
}
"""Job → headings of its names and counts, and its metrics as lines."""

JUDGEMENTS = "judgements.jsonl"


def parts(run: Run, max_bytes: int) -> Parts:
    """The metrics and the events of a finished evaluation, or the rows there are."""
    found = _metrics(run)
    if not run.events:
        return _rows(run, max_bytes, found)
    section = render_section(_groups(run))
    events = Section("samples", "Events", section.html)
    return Parts(found, events, plural(section.shown, "event"), section.shown, section.style)


def _metrics(run: Run) -> list[Section]:
    """The metrics as the command prints them; the summary as it stands where it is not of this version."""
    if not run.summary:
        return []
    headings, lines_of = LINES[run.job]
    try:
        lines, notes = list(lines_of(run.summary)), tables.notes(run.summary)
    except (AttributeError, KeyError, TypeError, ValueError):
        return outcome_sections(run)
    html = fill("metrics.html", rows=_drawn(lines), notes=notes, name=headings[0], counted=headings[1])
    return [Section("metrics", "Metrics", html)]


def _drawn(lines: Sequence[Line]) -> Iterator[tuple[Sequence[str], Markup]]:
    """Each line's texts, and its value with its interval as a small chart: those of one measure have one scale."""
    bounds: dict[str, list[float]] = {}
    for line in lines:
        bounds.setdefault(line.label, [0.0]).extend(
            one for one in (line.value, *(line.interval or ())) if one is not None
        )
    for line in lines:
        low, high = min(bounds[line.label]), max(bounds[line.label])
        high = next((most for most in (1.0, 10.0, 100.0) if high <= most), high)
        yield line.texts, Markup(figures.interval(line.value, line.interval, low, high))


def _groups(run: Run) -> list[Group]:
    """The run's modes as systems, side by side where they were asked the same events."""
    groups: dict[frozenset[str], list[Answers]] = {}
    reasons = _reasons(run) if run.job == "evaluate judge" else {}
    for mode, events in run.events.items():
        answers = Answers(mode, run.directory, events, reasons.get(mode, {}))
        groups.setdefault(frozenset(events), []).append(answers)
    return [Group(" · ".join(one.name for one in systems), systems) for systems in groups.values()]


def _reasons(run: Run) -> Mapping[str, Mapping[str, Sequence[Reason]]]:
    """System → question id → what the judge replied. Raises ConfigError for a damaged file."""
    path = run.directory / JUDGEMENTS
    found: dict[str, dict[str, list[Reason]]] = {}
    for row in json_lines(path) if path.is_file() else ():
        try:
            said = row.read()
            values = ", ".join(f"{name} {value:g}" for name, value in said["values"].items()) or "no rating"
            reply = said["response"] if said["prompt"] else f"{said['response']} (the judge did not have to be asked)"
            reason = Reason(str(said["about"]), values, shorten(reply, 4_000))
            found.setdefault(said["system"], {}).setdefault(said["id"], []).append(reason)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} {row.where} is not a judgement ({error}); evaluate into a new output") from None
    return found


def _rows(run: Run, max_bytes: int, found: Sequence[Section]) -> Parts:
    if not run.samples:
        return Parts(found)
    cards = fitting(render_cards(run), max_bytes)
    html = fill("rows.html", cards=cards, records=len(run.costs), finished=bool(run.summary))
    return Parts(found, Section("samples", "Answers", html), plural(len(cards), "answer"), len(cards))
