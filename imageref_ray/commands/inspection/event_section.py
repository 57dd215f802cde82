"""Events of one or several systems → the part of a page in which they are browsed, of bounded size.

The events in which systems differ most come first, then those with the lowest values: they also get the room first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from markupsafe import Markup

from imageref_ray.commands import pages
from imageref_ray.commands.inspection.event_cards import Column, Reason, headline_value, make_event_card, shown_images
from imageref_ray.commands.inspection.pictures import Pictures
from imageref_ray.evaluation.events import Events

MAX_TEXT_BYTES, MAX_PICTURE_BYTES = 10_000_000, 15_000_000
"""Size limits: with both reached, a phone's browser can still open the page."""

FOLDER = Path(__file__).parent
FILTERS = {"different": "systems differ", "wrong": "wrong", "missed": "missed", "problem": "problems"}


class Answers(NamedTuple):
    """One system's events; `run` is where its relative paths start, `reasons` what a judge said, by event."""

    name: str
    run: Path
    events: Events
    reasons: Mapping[str, Sequence[Reason]] = MappingProxyType({})


class Group(NamedTuple):
    """Systems that were asked the same, side by side; `mode` is shown where it is not empty."""

    mode: str
    systems: Sequence[Answers]


@dataclass(frozen=True, slots=True)
class Section:
    """The section and its style, and how many events it shows."""

    html: Markup
    style: Markup
    shown: int


def render_section(
    groups: Sequence[Group], text_bytes: int = MAX_TEXT_BYTES, picture_bytes: int = MAX_PICTURE_BYTES
) -> Section:
    """As many events as fit into `text_bytes` of HTML; their pictures, as many as fit into `picture_bytes`."""
    all_events = [event for group in groups for system in group.systems for event in system.events.values()]
    pictures, numbers = Pictures(len(shown_images(all_events)), picture_bytes), _numbers(groups)
    rows = sorted(_rows(groups, numbers), key=_interest)
    cards = list(_render_cards(groups, rows, pictures, text_bytes))
    template = pages.environment(FOLDER).get_template("events.html")
    html = template.render(
        cards=cards,
        total=len(rows),
        modes=len(groups),
        order="those in which systems differ most" if _compared(groups) else "those with the lowest values",
        choices=_choices(groups, numbers),
        pictures_full=pictures.full,
        text_mb=MAX_TEXT_BYTES // 1_000_000,
        picture_mb=MAX_PICTURE_BYTES // 1_000_000,
    )
    style = Markup((FOLDER / "events_style.html").read_text(encoding="utf-8"))
    return Section(Markup(html), style + pictures.css(), len(cards))


def _render_cards(
    groups: Sequence[Group], rows: Iterable[tuple[int, list[Column]]], pictures: Pictures, text_bytes: int
) -> Iterator[Markup]:
    """The cards in order, until one does not fit."""
    template = pages.environment(FOLDER).get_template("event.html")
    for number, (mode, columns) in enumerate(rows, 1):
        card = make_event_card(columns, pictures.find)
        mode_name = groups[mode].mode if len(groups) > 1 else ""
        html = template.render(card=card, number=number, mode=mode, mode_name=mode_name)
        text_bytes -= len(html.encode("utf-8", "replace"))
        if text_bytes < 0:
            return
        yield Markup(html)


def _numbers(groups: Iterable[Group]) -> dict[str, int]:
    """System → its number on the page."""
    names = dict.fromkeys(system.name for group in groups for system in group.systems)
    return {name: number for number, name in enumerate(names)}


def _rows(groups: Sequence[Group], numbers: Mapping[str, int]) -> Iterable[tuple[int, list[Column]]]:
    """(number of the group, the event's columns) of every event, in the order of the test set."""
    for mode, group in enumerate(groups):
        for id in dict.fromkeys(id for system in group.systems for id in system.events):
            columns = [
                Column(numbers[one.name], one.name, one.run, one.events.get(id), one.reasons.get(id, ()))
                for one in group.systems
            ]
            yield mode, columns


def _interest(row: tuple[int, Sequence[Column]]) -> tuple[float, float]:
    """A sort key: the largest difference first, then the lowest value."""
    values = [value for column in row[1] if (value := headline_value(column.event)) is not None]
    return (min(values) - max(values), sum(values) / len(values)) if values else (0.0, 0.0)


def _compared(groups: Iterable[Group]) -> bool:
    """Whether any event has the answers of several systems."""
    return any(len(group.systems) > 1 for group in groups)


def _choices(groups: Sequence[Group], numbers: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """What can be filtered by: a menu of findings, and one of modes where there are several."""
    several = _compared(groups)
    findings = {name: label for name, label in FILTERS.items() if several or name != "different"}
    if several:
        findings |= {f"best-{number}": f"{name}: better" for name, number in numbers.items()}
        findings |= {f"{flag}-{n}": f"{name}: {flag}" for name, n in numbers.items() for flag in ("wrong", "missed")}
    modes = {f"mode-{i}": group.mode for i, group in enumerate(groups)}
    return {"all events": findings, **({"all modes": modes} if len(modes) > 1 else {})}
