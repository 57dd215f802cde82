"""A build's plan → its `View`: estimates with intervals, what the records are like, those that were run for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from imageref_ray.commands.inspection.parts import fitting, render_cards
from imageref_ray.commands.inspection.records import MAX_CARD_BYTES, costs_html
from imageref_ray.commands.inspection.run_state import Run, read_object, read_run
from imageref_ray.commands.inspection.view import (
    FAILED,
    FINISHED,
    UNFINISHED,
    Section,
    Tile,
    View,
    fill,
    plural,
    settings_section,
)
from imageref_ray.commands.pages import figures
from imageref_ray.commands.plan import FILE, FOLDER, LABELS
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.cards.card import shorten

MONEY = ("gpu_hours", "money")
"""Figures with two digits, left out where they are 0: nobody said what a GPU or a token costs."""

Figure = Mapping[str, float]


def directory_of(directory: Path) -> Path | None:
    """Where a plan is: in this folder, or beside what it holds, where there is no run yet; None: there is none."""
    places = [directory, directory / FOLDER]
    return next((place for place in places if (place / FILE).is_file() or _begun(place)), None)


def _begun(directory: Path) -> bool:
    settings = read_object(directory / "fingerprint.json").get("settings")
    return isinstance(settings, dict) and settings.get("job") == "plan"


def read(directory: Path, samples: int, seed: int) -> View:
    """The view of a plan, finished or not. Raises ConfigError where it is damaged."""
    directory = directory_of(directory) or directory
    run, plan = read_run(directory, samples, seed), read_object(directory / FILE)
    config = read_object(directory / "fingerprint.json").get("config") or {}
    state = FINISHED if plan else FAILED if run.failure_reason else UNFINISHED
    cards = fitting(render_cards(run), MAX_CARD_BYTES)
    try:
        estimated = _sections(plan, config) if plan else []
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{directory / FILE} is not a plan ({error!r}); run imageref plan again") from None
    failures = Section("failures", "Failures", fill("failures.html", groups=run.failure_groups, shorten=shorten))
    sections = [
        *estimated,
        *[failures] * bool(run.failure_groups),
        *[Section("costs", "Costs of the measured records", costs_html(run))] * bool(run.costs),
        *[Section("samples", "Measured records", fill("plan_samples.html", cards=cards, records=len(run.costs)))]
        * bool(cards),
        settings_section(run.fingerprint, config or run.settings, bool(config)),
    ]
    return View(
        directory=directory,
        job="plan",
        state=state,
        lead=fill("plan_lead.html", plan=plan, run=run, build=directory.parent),
        line=f"{state.label.lower()}, {plural(len(run.costs), 'record')} measured; {plural(len(cards), 'sample')}",
        tiles=_tiles(plan, run, _currency(config)),
        sections=sections,
        samples=len(cards),
    )


def _currency(config: Mapping[str, Any]) -> str:
    return str((config.get("prices") or {}).get("currency", ""))


def _tiles(plan: Mapping[str, Any], run: Run, currency: str) -> list[Tile]:
    if not plan:
        return [Tile(f"{len(run.costs):,}", "records", "measured so far")]
    shown = [
        ("money", currency or "money"),
        ("gpu_hours", "GPU-hours"),
        ("prompt_tokens", "prompt tokens"),
        ("generated_tokens", "generated tokens"),
    ]
    tiles = [Tile(f"{plan['records']:,}", "records", f"{plan['measured']:,} of them were run for this plan")]
    for key, name in shown:
        figure = plan["figures"][key]
        if key not in MONEY or figure["value"]:
            tiles.append(
                Tile(_text(key, figure["value"]), name, f"{_text(key, figure['low'])} to {_text(key, figure['high'])}")
            )
    return tiles


def _text(key: str, value: float) -> str:
    return f"{value:,.2f}" if key in MONEY else f"{value:,.0f}"


def _sections(plan: Mapping[str, Any], config: Mapping[str, Any]) -> list[Section]:
    unknown, currency = plan.get("unreported", ()), _currency(config)
    groups = [("all stages", plan["figures"])]
    groups += [(", ".join(one["stages"]), one["figures"]) for one in plan.get("passes", ())]
    rows = [(name, list(_rows(of_pass, plan["figures"], unknown, currency))) for name, of_pass in groups]
    sections = [Section("estimate", "Estimate", fill("plan_estimate.html", groups=rows, plan=plan))]
    if plan.get("sizes"):
        sections.append(Section("sizes", "All records", _sizes_html(plan, config)))
    return sections


def _rows(
    of_pass: Mapping[str, Figure], total: Mapping[str, Figure], unknown: Sequence[str], currency: str
) -> Iterator[tuple[str, str, str, Markup]]:
    """(name, estimate, interval, chart) of every figure; the charts of one figure have one scale."""
    for key, label in LABELS.items():
        value, low, high = (float(of_pass[key][bound]) for bound in ("value", "low", "high"))
        if key in MONEY and not total[key]["value"]:
            continue
        name = f"{label}, {currency}" if key == "money" and currency else label
        if key in unknown:
            yield name, "–", "–", Markup()
            continue
        chart = figures.interval(value, (low, high), 0.0, max(float(total[key]["high"]), high) or 1.0)
        yield name, _text(key, value), f"{_text(key, low)} to {_text(key, high)}", Markup(chart)


def _sizes_html(plan: Mapping[str, Any], config: Mapping[str, Any]) -> Markup:
    """Histograms of images and characters per record, and what is over a limit or cannot be read."""
    charts = []
    for key in ("images", "characters"):
        values = [float(value) for value, count in plan["sizes"][key] for _ in range(int(count))]
        total = sum(values)
        charts.append((key, f"{total:,.0f}", Markup(figures.histogram(values, key))))
    return fill(
        "plan_sizes.html",
        charts=charts,
        most=config.get("max_images"),
        over=plan["left_out"],
        without=sum(count for value, count in plan["sizes"]["images"] if value == 0),
        unreadable=sorted((plan.get("unreadable") or {}).items()),
    )
