"""A training → its `View`: curves, data sets, starts and checkpoints, samples, the end of its log, settings."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from markupsafe import Markup

from imageref_ray.commands.inspection import training_samples
from imageref_ray.commands.inspection.parts import fitting
from imageref_ray.commands.inspection.pictures import Pictures
from imageref_ray.commands.inspection.training_samples import Drawn
from imageref_ray.commands.inspection.training_state import Training, read_training
from imageref_ray.commands.inspection.view import (
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
from imageref_ray.commands.pages.figures import Points

MAX_SAMPLE_BYTES, MAX_PICTURE_BYTES = 5_000_000, 10_000_000

RESUMED = re.compile(r"resumed from step (\d+)")
"""How `training/callback.py` says where a training went on."""


def read(directory: Path, samples: int, seed: int) -> View:
    """The view of a training in whatever state. Raises ConfigError where one of its JSON files is damaged."""
    training = read_training(directory)
    cards, count, style = _samples(training, samples, seed)
    done = training.model
    steps, last = training.steps, _last(training, "step")
    sections = [
        Section("curves", "Curves", _curves_html(training)),
        Section("sets", "Data sets", _sets_html(training)),
        Section("starts", "Starts and checkpoints", fill("training_starts.html", training=training)),
        *([Section("samples", "Samples", cards)] if count else []),
        *([Section("log", "Log", fill("log.html", text=training.log))] if training.log else []),
        settings_section(training.fingerprint, training.config or training.settings, bool(training.config)),
    ]
    progress = f"step {last or 0:,.0f} of {steps:,}" if steps else f"step {last or 0:,.0f}"
    return View(
        directory=directory,
        job="train",
        state=FINISHED if done else UNFINISHED,
        lead=fill("training_lead.html", training=training, progress=progress),
        line=f"{'finished' if done else 'unfinished'}, {progress}; {plural(count, 'sample')}",
        tiles=_tiles(training, progress),
        sections=sections,
        style=style,
        samples=count,
    )


def _tiles(training: Training, progress: str) -> list[Tile]:
    loss, speed = _points(training, "loss"), [value for _, value in _points(training, "tokens_per_second")]
    seconds = _last(training, "seconds")
    restarts = sum(event.event == "lost" for event in training.events)
    skipped = sum(count for reasons in training.skipped.values() for count in reasons.values())
    trained = "–" if training.samples is None else f"{training.samples:,}"
    return [
        Tile(
            f"{_last(training, 'step') or 0:,.0f}",
            "steps",
            f"{'of ' * bool(training.steps)}{training.steps or ''}, {plural(restarts, 'restart')}",
        ),
        Tile(
            f"{loss[-1][1]:.3g}" if loss else "–", "loss", f"from {loss[0][1]:.3g}" if loss else "no line written yet"
        ),
        Tile(f"{statistics.median(speed):,.0f}" if speed else "–", "tokens/s", "median, padding included"),
        Tile(figures.duration(seconds) if seconds is not None else "–", "time", "of training, without starts"),
        Tile(trained, "samples", f"{skipped:,} skipped" if training.samples is not None else "counted at the end"),
    ]


def _points(training: Training, key: str) -> Points:
    """(step, value) of the lines that have a finite one."""
    values = ((line["step"], line.get(key)) for line in training.metrics)
    return [(float(step), float(value)) for step, value in values if _finite(value)]


def _finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _last(training: Training, key: str) -> float | None:
    points = _points(training, key)
    return points[-1][1] if points else None


def _curves_html(training: Training) -> Markup:
    """Loss, by set, learning rate, speed and GPU memory over steps; dashed where the training was resumed."""
    marks = [float(found[1]) for event in training.events if (found := RESUMED.match(event.text))]
    by_set = _loss_by_set(training)
    charts = [
        (
            "Loss",
            "thin: as logged, thick: moving average, from 30 lines on",
            figures.loss_curve(_points(training, "loss"), marks),
        ),
        ("Loss by data set", "colours as in the table below", figures.curves(by_set, "Loss by data set", marks)),
    ]
    for key, name, note in (
        ("lr", "Learning rate", ""),
        ("tokens_per_second", "Tokens/s", "of all workers, padding included"),
        ("gpu_memory_gib", "GPU memory, GiB", "peak of the first worker"),
    ):
        charts.append((name, note, figures.curves({name: _points(training, key)}, name, marks)))
    drawn = [(name, note, Markup(chart)) for name, note, chart in charts if chart]
    return fill("training_curves.html", charts=drawn, marks=marks, lines=len(training.metrics))


def _loss_by_set(training: Training) -> dict[str, Points]:
    """Data set → its loss over steps, in the order of the mixture; none where there is one set only."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in training.sets}
    for line in training.metrics:
        losses = line.get("sets")
        for name, loss in losses.items() if isinstance(losses, Mapping) else ():
            if _finite(loss):
                found.setdefault(str(name), []).append((float(line["step"]), float(loss)))
    return {name: points for name, points in found.items() if points} if len(found) > 1 else {}


def _sets_html(training: Training) -> Markup:
    sizes = training_samples.sizes(training.sets)
    losses, numbers = _loss_by_set(training), {}
    for number, name in enumerate((name for name, points in losses.items() if len(points) > 1), 1):
        numbers[name] = figures.key_number(number)
    rows = []
    for name in dict.fromkeys([*training.sets, *training.skipped, *losses]):
        size, entry, reasons = sizes.get(name), training.sets.get(name), training.skipped.get(name, {})
        rows.append(
            {
                "name": name,
                "number": numbers.get(name),
                "rows": "–" if size is None or size.rows is None else f"{size.rows:,}",
                "uses": "–"
                if entry is None
                else f"ratio {entry.ratio:g}"
                if entry.ratio
                else f"× {entry.repeat_time:g}",
                "share": "–" if size is None or size.share is None else f"{size.share:.1%}",
                "skipped": f"{sum(reasons.values()):,}" if training.samples is not None else "–",
                "reasons": sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0])),
                "loss": f"{losses[name][-1][1]:.3g}" if name in losses else "–",
                "annotation": str(entry.annotation) if entry else "",
                "problem": size.problem if size else "",
            }
        )
    return fill("training_sets.html", rows=rows, problem=training.problem)


def _samples(training: Training, count: int, seed: int) -> tuple[Markup, int, Markup]:
    """The section of samples, how many it has, and its style."""
    drawn: Sequence[Drawn] = training_samples.draw(training.sets, count, seed)
    pictures, names = Pictures(2 * len(drawn), MAX_PICTURE_BYTES), list(training.sets)
    views = [
        training_samples.make_card(one, training.sets[one.set], training.config, training.directory, pictures)
        for one in drawn
    ]
    cards = fitting(
        (
            fill("training_sample.html", card=card, number=number, set=names.index(card["set"]))
            for number, card in enumerate(views, 1)
        ),
        MAX_SAMPLE_BYTES,
    )
    choices = {"all samples": {"skipped": "not used", "text": "without an image", "missing": "image missing"}}
    if len(names) > 1:
        choices["all data sets"] = {f"set-{number}": name for number, name in enumerate(names)}
    html = fill(
        "training_samples.html", cards=cards, sets=len(names), choices=choices, looked_at=training_samples.LOOKED_AT
    )
    return html, len(cards), fill("training_style.html") + pictures.css()
