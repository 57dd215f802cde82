"""`View`: what a page about a run says, whatever its job. The readers make one, `page.py` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from imageref_ray.commands import pages
from imageref_ray.dataset.cards.card import flatten, shorten

FOLDER = Path(__file__).parent
SECRET_KEY = re.compile(r"(?:^|[._-])(?:key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
"""Names of settings whose values are hidden: the page may be sent to others."""


NO_STYLE = Markup()


class State(NamedTuple):
    """How a run is: a sign and its CSS class (colour alone never says it), and a label."""

    sign: str
    css: str
    label: str


FINISHED = State("✓", "right", "Finished")
FAILED = State("✕", "wrong", "Stopped by an error")
UNFINISHED = State("◔", "missed", "Not finished")


class Tile(NamedTuple):
    """A figure at the top of a page."""

    value: str
    name: str
    note: str


class Section(NamedTuple):
    """A part of a page; `id` is where the links at its top lead."""

    id: str
    title: str
    html: Markup


@dataclass(frozen=True, slots=True)
class View:
    """A run's page: `lead` says in sentences how the run is and what to do next, `line` the same in few words for the
    screen, with what the page shows. `samples`: how many records or events the page shows."""

    directory: Path
    job: str
    state: State
    lead: Markup
    line: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    style: Markup = NO_STYLE
    samples: int = 0


def fill(template: str, **values: Any) -> Markup:
    """A template of this folder with its values, which are escaped."""
    found = pages.environment(FOLDER).get_template(template)
    return Markup(found.render(**values))


def plural(number: int, noun: str, ending: str = "s") -> str:
    """`1 record`, `2,000 records`."""
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def numeric_order(id: str) -> tuple[int, str]:
    """A sort key: ids of digits in the order of their numbers."""
    return len(id) if id.isdigit() else 0, id


def setting_text(key: str, value: Any) -> str:
    """A setting's value as text; secrets are hidden."""
    if SECRET_KEY.search(key) and value:
        return "•••"
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 2_000)


def settings_section(
    fingerprint: str,
    settings: Mapping[str, Any],
    resolved: bool,
    git: str = "",
    files: Mapping[str, Any] | None = None,
) -> Section:
    """Settings, all of a `resolved` config or those that change rows, and the paths of what the run wrote."""
    html = fill(
        "settings.html",
        fingerprint=fingerprint,
        git=git,
        files=files or {},
        title="Resolved config" if resolved else "Settings that change rows",
        settings=[(key, setting_text(key, value)) for key, value in flatten(settings)],
    )
    return Section("settings", "Settings", html)
