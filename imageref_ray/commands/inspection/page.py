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
from imageref_ray.commands.inspection.cards import card, cut, flat
from imageref_ray.commands.inspection.run_state import Run
from imageref_ray.commands.pages import figures
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Usage

MOST_BYTES = 20_000_000
"""Size of the whole page: what a browser on a phone still opens."""

FRAME_BYTES = 2_000_000
"""What of it is kept free for everything above and below the samples."""

SECRET = re.compile(r"(?:^|[._-])(?:key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
"""Names of settings whose values stay out of a page that people pass on."""

FOLDER = Path(__file__).parent
TOLD = frozenset({*COSTS, "records", "quarantined", "problems", "seconds", "tokens_per_second", "files"})
"""Keys of a summary that have a place of their own on the page."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a page: its path, its size, and how many samples it shows."""

    path: Path
    bytes: int
    samples: int


def write(run: Run, out: Path, room: int = MOST_BYTES - FRAME_BYTES) -> Written:
    """Write the page to `out`; its samples take at most `room` bytes. Raises ConfigError where it cannot."""
    cards = _cards(run, room)
    html = _page(run, cards).encode("utf-8", "replace")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(html)
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written: {error.strerror}; give the path of a new HTML file"
        ) from None
    return Written(out, len(html), len(cards))


def line(run: Run, written: Written) -> str:
    """What was read and where the page is, in one line."""
    records, samples = _count(len(run.costs), "record"), _count(written.samples, "sample")
    told = f"{run.state}, {records}, {run.quarantined:,} quarantined"
    return f"{run.directory}: {told}; {samples} in {written.path} ({written.bytes / 1e6:.1f} MB)"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _cards(run: Run, room: int) -> list[Markup]:
    """The chosen samples as HTML, as many as the page has room for."""
    template = pages.environment(FOLDER).get_template("card.html")
    cards: list[Markup] = []
    for result in sorted(run.chosen, key=_natural):
        shown = card(result, run.failures.get(result.id, ()), run.directory)
        html = template.render(card=shown, place=len(cards) + 1, costs=COSTS)
        size = len(html.encode("utf-8", "replace"))
        if size <= room:
            room -= size
            cards.append(Markup(html))
    return cards


def _natural(result: Result) -> tuple[int, str]:
    """Ids of digits in the order of their numbers."""
    return len(result.id) if result.id.isdigit() else 0, result.id


def _page(run: Run, cards: Sequence[Markup]) -> str:
    return pages.render(
        FOLDER / "inspect.html",
        script=(FOLDER / "browse.js").read_text(encoding="utf-8"),
        run=run,
        cards=cards,
        chosen=len(run.chosen),
        megabytes=MOST_BYTES // 1_000_000,
        spreads=_spreads(run.costs),
        rise=Markup(figures.rise(run.progress)),
        speed=_speed(run),
        left_out=sum(reason.items for reason in run.reasons),
        outcome=_outcome(run),
        files=_numbers(run).get("files", {}),
        settings=[(key, _told(key, value)) for key, value in flat(run.config or run.settings)],
        cut=cut,
    )


def _numbers(run: Run) -> Mapping[str, Any]:
    """The pass's own numbers in a summary: an evaluation keeps them under `run`."""
    inner = run.summary.get("run")
    return inner if isinstance(inner, Mapping) else run.summary


def _outcome(run: Run) -> dict[str, list[tuple[str, str]]]:
    """What a summary tells beyond the pass's own numbers, by part: an evaluation's metrics, mode by mode."""
    parts: dict[str, list[tuple[str, str]]] = {}
    for key, value in run.summary.items():
        if isinstance(value, Mapping) and key not in {"run", *TOLD}:
            parts[key] = [(name, _rounded(number)) for name, number in flat(value)]
        elif key not in {"run", *TOLD}:
            parts.setdefault("", []).append((key, _rounded(value)))
    return parts


def _rounded(value: Any) -> str:
    """A result for people; an interval's ends with a dash between them."""
    if isinstance(value, list) and value and all(isinstance(end, float) for end in value):
        return " – ".join(map(_rounded, value))
    return f"{value:.4g}" if isinstance(value, float) else _told("", value)


def _speed(run: Run) -> list[tuple[str, str, str]]:
    """Name, value and where it is known from; without a manifest as far as the files' times tell."""
    numbers, rows = _numbers(run), []
    if "seconds" in numbers:
        rows.append(("time", figures.duration(numbers["seconds"]), "of the last call, as the run measured"))
    elif run.progress:
        rows.append(("time", figures.duration(run.progress[-1][0]), "from the start to the last commit"))
    if "tokens_per_second" in numbers:
        rows.append(("generated tokens/s", f"{numbers['tokens_per_second']:,.0f}", "as the run measured"))
    if run.progress:
        pace = 60 * len(run.costs) / run.progress[-1][0]
        rows.append(("records a minute", f"{pace:,.1f}", "by the files' times, engine start included"))
    return rows


def _spreads(costs: Sequence[Usage]) -> list[dict[str, Any]]:
    """One entry a figure: its total, median and histogram per record."""
    spreads = []
    for key, name in COSTS.items():
        values = [getattr(cost, key) for cost in costs]
        if values:
            told = {"cached_tokens": "prompt tokens from the cache", "image_tokens": "prompt tokens of images"}
            label = told.get(key, name)
            figure = Markup(figures.histogram(values, label))
            spreads.append({"name": label, "total": sum(values), "median": statistics.median(values), "figure": figure})
    return spreads


def _told(key: str, value: Any) -> str:
    """A setting's value for people, without what must stay private."""
    if SECRET.search(key) and value:
        return "•••"
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 2_000)
