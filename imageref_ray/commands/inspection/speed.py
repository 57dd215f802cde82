"""`imageref evaluate speed` → its `View`: each way of answering beside the other, what failed, what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageref_ray.commands.inspection.run_state import group_by_error, read_object
from imageref_ray.commands.inspection.training_state import read_lines
from imageref_ray.commands.inspection.view import FINISHED, Section, State, Tile, View, fill
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, from_row
from imageref_ray.dataset.cards.card import shorten
from imageref_ray.evaluation.tables import SPEED, number, speed_notes

FILE, LEFT_OUT = "speed.json", "left_out.jsonl"


def read(directory: Path, samples: int, seed: int) -> View:
    """The view of a measurement. Raises ConfigError where speed.json is not one."""
    result = read_object(directory / FILE)
    modes = {name: one for name, one in result.items() if isinstance(one, dict)}
    columns = {"answered": "answered", **{key: title for key, (title, _) in SPEED.items()}}
    columns |= {"prompt_tokens": "prompt tokens", "generated_tokens": "generated tokens"}
    digits = {key: digits for key, (_, digits) in SPEED.items()}
    try:
        rows = [(name, [_cell(one, key, digits) for key in columns]) for name, one in modes.items()]
        sentences = list(speed_notes(modes, result))
        silent = not all(one["answered"] for one in modes.values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{directory / FILE} is not a measurement ({error!r}); measure again") from None
    failures = [
        from_row(Failure, dict(row))
        for row in read_lines(directory / LEFT_OUT)
        if {"record_id", "stage", "error", "message"} <= row.keys()
    ]
    groups = group_by_error(failures, seed)
    sections = [
        Section("speed", "Speed", fill("speed.html", columns=list(columns.values()), rows=rows, notes=sentences))
    ]
    sections += (
        [Section("failures", "Left out", fill("failures.html", groups=groups, shorten=shorten))] if groups else []
    )
    state = State("✕", "wrong", "Finished, but a mode answered nothing") if silent or not modes else FINISHED
    ratio = result.get("ratio")
    return View(
        directory=directory,
        job="evaluate speed",
        state=state,
        lead=fill("speed_lead.html", in_flight=result.get("in_flight"), modes=list(modes)),
        line=f"{state.label.lower()}, {len(modes)} modes",
        tiles=[
            *(Tile(number(one["seconds_per_sample"], 3), name, "seconds a sample") for name, one in modes.items()),
            Tile("–" if ratio is None else f"{ratio:.2f} ×", "ratio", "staged over end to end, seconds a sample"),
        ],
        sections=sections,
    )


def _cell(mode: Mapping[str, Any], key: str, digits: Mapping[str, int]) -> str:
    if key == "answered":
        return f"{mode['answered']:,} of {mode['samples']:,}"
    return number(mode[key], digits.get(key, 0)) if key in digits or mode[key] is None else f"{mode[key]:,}"
