"""An instruct run → what its page shows: counts by task, and each instruction with its image, draft and correction.

instructions ─┬─ all ─────▶ a table by task, probabilities, why others cannot be used
              └─ chosen ──▶ a card each: image │ draft │ corrected, unit by unit
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from imageref_ray.commands.inspection.instruction_tally import ENDED, Tally, read_instructions
from imageref_ray.commands.inspection.parts import Parts, fitting
from imageref_ray.commands.inspection.pictures import Pictures
from imageref_ray.commands.inspection.run_state import Run
from imageref_ray.commands.inspection.view import Section, fill, numeric_order, plural
from imageref_ray.commands.pages import figures
from imageref_ray.core.records import Instruction, Unit
from imageref_ray.core.sentences import split
from imageref_ray.dataset.cards.card import shorten

MAX_PICTURE_BYTES = 10_000_000
"""Size limit of all pictures together."""

ACTIONS = {"kept": ("✓", "right", "kept"), "changed": ("✎", "fair", "rewritten"), "dropped": ("✕", "wrong", "dropped")}
"""Action → sign, CSS class and word."""

FILTERS = {
    "changed": "rewritten units",
    "dropped": "dropped units",
    "different": "differ from the draft",
    "early": "ended early",
    "unusable": "unusable",
}

Card = dict[str, Any]


def parts(run: Run, max_bytes: int) -> Parts:
    """The counts of all instructions, and the instructions of the chosen images."""
    tally = run.instructions
    found = [Section("instructions", "Instructions", _counts_html(tally))] if tally.tasks or tally.unreadable else []
    chosen = sorted(run.samples, key=lambda result: numeric_order(result.id))
    by_image = [items for result in chosen if (items := read_instructions(result.row))]
    items = [item for of_image in by_image for item in of_image]
    if not items:
        return Parts(found)
    tasks, pictures = sorted(tally.tasks), Pictures(len(by_image), MAX_PICTURE_BYTES)
    cards = fitting(_cards(items, run, tasks, pictures), max_bytes - MAX_PICTURE_BYTES)
    html = fill(
        "instructions.html",
        cards=cards,
        images=len(by_image),
        records=len(run.costs),
        left=len(items) - len(cards),
        pictures_full=pictures.full,
        choices={
            "all instructions": FILTERS,
            **({"all tasks": {f"task-{n}": task for n, task in enumerate(tasks)}} if len(tasks) > 1 else {}),
        },
    )
    style = fill("instruction_style.html") + pictures.css()
    section = Section("samples", "Samples", html)
    return Parts(found, section, plural(len(cards), "instruction"), len(cards), style)


def _cards(items: Sequence[Instruction], run: Run, tasks: Sequence[str], pictures: Pictures) -> Iterator[Markup]:
    for number, item in enumerate(items, 1):
        picture, problem = pictures.find(item.image, run.directory)
        card = make_card(item, tasks.index(str(item.task)))
        yield fill("instruction.html", card=card, number=number, picture=picture, problem=problem)


def make_card(item: Instruction, task: int) -> Card:
    """What instruction.html shows: texts, units, the draft's sentences, and `flags` to filter by."""
    units = [_unit_view(unit) for unit in item.units]
    corrected = [sentence for unit in item.units for sentence in _sentences(unit.corrected)]
    draft = _sentences(item.draft)
    answered = bool(item.ended)
    known = set(draft)
    for unit in units:
        unit["new"] = (
            answered and bool(draft) and bool(unit["result"]) and not known.issuperset(_sentences(unit["result"]))
        )
    different = answered and bool(draft) and draft != corrected
    found = {"different": different, "early": item.ended in ("length", "repeats"), "unusable": bool(item.problem)}
    flags = {f"task-{task}", *(name for name, holds in found.items() if holds)}
    flags |= {unit.action for unit in item.units} & {"changed", "dropped"}
    total = sum(answer.weight for answer in item.candidates)
    return {
        "id": item.id,
        "title": shorten(item.question, 500) or ("no question" if item.problem else item.id),
        "task": item.task,
        "problem": item.problem,
        "instruction": shorten(item.instruction, 1_000),
        "ended": ENDED.get(item.ended, item.ended),
        "draft": [{"text": text, "gone": answered and text not in corrected} for text in draft],
        "units": units,
        "answered": answered,
        "answer": shorten(item.answer) if answered and _sentences(item.answer) != corrected else "",
        "candidates": [(shorten(one.text, 500), one.weight / total if total else 0.0) for one in item.candidates],
        "usage": item.usage,
        "flags": sorted(flags),
    }


def _unit_view(unit: Unit) -> dict[str, Any]:
    """A unit as it was and as it became, with its sign, and its probabilities before and after as text."""
    sign, css, word = ACTIONS.get(unit.action, ("", "", unit.action))
    before, after = (None if value is None else f"{value:.2f}" for value in (unit.before, unit.after))
    return {
        "sign": sign,
        "css": css,
        "word": word,
        "text": shorten(unit.text.strip()),
        "tried": shorten(unit.replacement.strip()),
        "action": unit.action,
        "result": unit.corrected,
        "before": before,
        "after": after,
    }


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in split(shorten(text).strip()) if part.strip()]


def _counts_html(tally: Tally) -> Markup:
    rows = [
        {
            "task": name,
            "usable": task.usable,
            "unusable": task.problems.total(),
            "as_drafted": f"{task.as_drafted / task.answered:.0%}" if task.answered else "–",
            **{action: _share(task.units, action) for action in ACTIONS},
            "before": _mean(task.before),
            "after": _mean(task.after),
            "ended": ", ".join(f"{ENDED.get(why, why)} {count:,}" for why, count in task.ended.most_common()),
        }
        for name, task in sorted(tally.tasks.items())
    ]
    problems = sorted(
        (
            (count, name, kind, task.examples[kind])
            for name, task in tally.tasks.items()
            for kind, count in task.problems.items()
        ),
        key=lambda row: (-row[0], row[1:]),
    )
    return fill(
        "instruction_counts.html",
        rows=rows,
        problems=problems,
        unreadable=tally.unreadable,
        charts=list(_charts(tally)),
        ended=ENDED,
    )


def _charts(tally: Tally) -> Iterator[tuple[str, str, str, Markup]]:
    """(name, mean, note, histogram) of the probabilities, where the model was asked for any."""
    for name, note, values in (
        (
            "probability of a unit",
            "that the image shows it, before correction",
            [p for t in tally.tasks.values() for p in t.before],
        ),
        (
            "probability of a rewritten unit",
            "of the replacements that were tried",
            [p for t in tally.tasks.values() for p in t.after],
        ),
    ):
        if values:
            chart = figures.histogram(values, name, per="unit", digits=2)
            yield (
                name,
                f"{statistics.fmean(values):.2f}",
                f"{note}; mean of {plural(len(values), 'unit')}",
                Markup(chart),
            )


def _share(units: Mapping[str, int], action: str) -> str:
    total = sum(units.values())
    return f"{units[action]:,} ({units[action] / total:.0%})" if total else "–"


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.2f}" if values else "–"
