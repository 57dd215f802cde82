"""`Parts`: what one job puts into the page of a run, beside what all runs have; and the cards of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from imageref_ray.batch.progress import COSTS
from imageref_ray.commands.inspection.run_state import Run
from imageref_ray.commands.inspection.view import Section, fill, numeric_order, setting_text
from imageref_ray.dataset.cards.card import flatten, make_card

SHOWN_ELSEWHERE = frozenset(
    {*COSTS, "unreported", "records", "quarantined", "problems", "seconds", "tokens_per_second", "files"}
)
"""Keys of a summary that the page shows in sections of their own."""

COST_LABELS = {**COSTS, "cached_tokens": "prompt tokens from the cache", "image_tokens": "prompt tokens of images"}


class Parts(NamedTuple):
    """What a job `found`, its samples or events with the number of their `cards` (in words `shown`), their style."""

    found: Sequence[Section] = ()
    samples: Section | None = None
    shown: str = "no samples"
    cards: int = 0
    style: Markup = Markup()


def render_cards(run: Run) -> Iterator[Markup]:
    """The chosen rows: a build's records with their images, those of other jobs field by field."""
    chosen = sorted(run.samples, key=lambda result: numeric_order(result.id))
    for number, result in enumerate(chosen, 1):
        card = make_card(result, run.failures.get(result.id, ()), run.directory)
        yield fill("card.html", card=card, number=number, costs=COST_LABELS, unknown=run.unreported)


def fitting(cards: Iterable[Markup], max_bytes: int) -> list[Markup]:
    """The cards, without those that do not fit any more."""
    chosen = []
    for card in cards:
        size = len(card.encode("utf-8", "replace"))
        if size <= max_bytes:
            max_bytes -= size
            chosen.append(card)
    return chosen


def outcome_sections(run: Run) -> list[Section]:
    """What the summary says beyond the costs, as it stands; none where it says nothing."""
    found = _outcome(run)
    return [Section("outcome", "Outcome", fill("outcome.html", outcome=found))] if found else []


def _outcome(run: Run) -> dict[str, list[tuple[str, str]]]:
    """The rest of a summary: section ("" for none) → (name, value)."""
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
    return f"{value:.4g}" if isinstance(value, float) else setting_text("", value)
