"""What `imageref evaluate` prints at the end: metrics → a table, and notes on how to read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from imageref_ray.sources.vqa_sets import TYPES

MODES = ("guided", "structured", "free", "captions", "staged")
"""The ways of decoding a placement."""

PLACEMENT = {
    "recall_1": "recall_1: any relevant image",
    "recall_3": "recall_3: the best images",
    "precision": "precision, mean of the events",
    "micro_precision": "precision, all images together",
    "f1": "F1 of precision and recall_3",
    "score": "score",
    "edit_score": "image order: edit score",
    "kendall_score": "image order: Kendall score",
    "kendall_script": "image order: Kendall score, RAG-IGBench's script",
    "ordering_score": "image order: ordering score",
    "aligned": "sections of the reference found",
    "images_per_section": "images per section",
}
"""Metric → its label; all but the last are ratios, 1 is best."""

VQA = {
    "official": "accuracy (VQA challenge)",
    "release": "accuracy (VIGC release)",
    "total": "choice by total likelihood",
    "mean": "choice by mean likelihood",
}
"""Metric → its label; all are in per cent."""

JUDGE = {
    "win_rate": "wins over the baseline, %",
    "length_controlled": "wins at equal length, %",
    "flip_rate": "verdicts that changed with the order, %",
    "relative": "score relative to the reference, %",
    "unrated": "share of answers without a rating",
}
"""Metric of a judge → its label; those that are not here are the rubric's criteria, under their own names."""

SHOWN_TYPES = 10
"""Types of a set's questions or answers that the table lists; VQAv2 has 65 types of questions."""

SPEED = {
    "samples_per_second": ("samples/s", 2),
    "requests_per_second": ("requests/s", 2),
    "p50_s": ("p50, s", 3),
    "p95_s": ("p95, s", 3),
    "wall_s": ("wall time, s", 1),
}
"""Number in a mode's result → its column and digits."""

NOTES = {
    "missing_events": "{count} labelled events have no answer; the quarantine says why",
    "unparsed_events": "{count} answers share no section with the reference and count as answers without images",
    "beyond_text": "{count} events have labels at positions that the reference text does not have: see label_slots",
    "missing": "{count} of {questions} questions have no answer and count as wrong; the quarantine says why",
    "unlabelled": "{count} questions are left out: they have no annotators' answers, or no right choice",
    "few_labels": "{count} of {questions} questions have fewer than ten annotators; published accuracies use ten",
    "cut": "{count} of {questions} answers were cut off by max_tokens",
    "missing_answers": "{count} of {questions} questions have no answer and count as empty answers",
    "empty_answers": "{count} answers are empty and have the lowest rating, or lose",
    "missing_baselines": "the baseline has no answer to {count} of {questions} questions and loses there",
    "unknown_answers": "{count} answers are left out: the test set does not have their questions",
    "failed_answers": "{count} answers were not judged and are left out; the quarantine says why",
    "unrated_answers": "{count} answers are left out: the judge gave no rating, also when asked again",
    "unrated_images": "{count} images have no rating, also after asking again",
    "uncaptioned_images": "{count} images are left out: they have no caption",
    "without_images": "{count} answers have no image to judge and are left out",
}
"""Count in the metrics → the note that is printed where it is not 0."""


def show(console: Console, table: Table, summary: Mapping[str, Any]) -> None:
    """Print the table, and under it the notes."""
    console.print(table)
    for note in notes(summary):
        console.print(note, highlight=False, soft_wrap=True)


class Line(NamedTuple):
    """One measured number of a way of decoding, a set or a system (`name`).

    `value` is None where there was nothing to measure, `interval` its 95 % bootstrap interval, `of` how many it is the
    value of, None in a line that only says something.
    """

    name: str
    label: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    digits: int = 3
    of: int | None = None

    @property
    def texts(self) -> tuple[str, str, str, str, str]:
        """The line in figures: name, label, value, interval, count."""
        if self.of is None:
            return self.name, self.label, "", "", ""
        bounds = " – ".join(number(bound, self.digits) for bound in self.interval) if self.interval else ""
        return self.name, self.label, number(self.value, self.digits), bounds, f"{self.of:,}"


def placement(title: str, summary: Mapping[str, Any]) -> Table:
    """One row per way of decoding and measure, with its 95 % interval."""
    return _table(title, ("decoding", "value", "events"), placement_lines(summary))


def vqa(title: str, summary: Mapping[str, Any]) -> Table:
    """One row per set and measure, with its 95 % interval, and per type of question and answer where a set has them."""
    return _table(title, ("set", "%", "questions"), vqa_lines(summary))


def judge(title: str, summary: Mapping[str, Any]) -> Table:
    """One row per system and measure, the best system first, with its 95 % interval."""
    return _table(title, ("system", "value", "answers"), judge_lines(summary))


def placement_lines(summary: Mapping[str, Any]) -> Iterator[Line]:
    """One line per way of decoding and measure."""
    for mode in MODES:
        if mode in summary:
            yield from _lines(mode, summary[mode], PLACEMENT, 3, "events" if "events" in summary[mode] else "answers")


def vqa_lines(summary: Mapping[str, Any]) -> Iterator[Line]:
    """One line per set and measure, and for the commonest types of questions and answers."""
    for _, name, metrics in _sets(summary):
        yield from _lines(name, metrics, VQA, 1, "questions")
        for kind in TYPES:
            yield from _type_lines(name, kind.replace("_", " "), metrics.get(f"by_{kind}", {}))


def judge_lines(summary: Mapping[str, Any]) -> Iterator[Line]:
    """One line per system and measure, the best system first."""
    labels = {key: JUDGE.get(key, key) for key in summary["measures"]}
    for name in summary["ranking"]:
        yield from _lines(name, summary["systems"][name], labels, 2, "answers")


def _type_lines(name: str, kind: str, by_type: Mapping[str, Any]) -> Iterator[Line]:
    """The challenge's accuracy for the commonest types, and how many more there are."""
    for type in list(by_type)[:SHOWN_TYPES]:
        yield from _lines(f"{name}, {kind} {type}", by_type[type], {"official": VQA["official"]}, 1, "questions")
    if len(by_type) > SHOWN_TYPES:
        yield Line(f"{name}, {len(by_type) - SHOWN_TYPES} more {kind}s", "in metrics.json")


def notes(summary: Mapping[str, Any]) -> list[str]:
    """One line for each count of `NOTES` that is not 0, and one for the run's problems."""
    modes = [(mode, summary[mode]) for mode in MODES if mode in summary]
    sets = [(f"{name}, {mode}", metrics) for mode, name, metrics in _sets(summary)]
    systems = summary.get("systems", {}).items()
    lines = [metrics["problem"] for _, metrics in modes if "problem" in metrics]
    lines += [
        f"{mode}: {count:,} answers were made as {made}: the endpoint cannot continue an answer that has begun"
        for mode, metrics in modes
        for made, count in metrics.get("made", {}).items()
        if made != mode
    ]
    lines += [f"{name}: {_references(metrics)}" for name, metrics in modes if "references" in metrics]
    lines += [
        f"{name}: " + note.format(count=f"{metrics[key]:,}", questions=f"{metrics.get('questions', 0):,}")
        for name, metrics in (*modes, *sets, *systems)
        for key, note in NOTES.items()
        if metrics.get(key)
    ]
    lines += [_agreement(found) for found in summary.get("agreement", ())]
    lines += [
        f"{rater}: {count:,} ratings are left out: they are of answers that are not judged here"
        for rater, count in summary.get("unknown_ratings", {}).items()
        if count
    ]
    lines += [_cost(summary["cost"])] if "cost" in summary else []
    problems = ", ".join(f"{error} {count:,}" for error, count in summary["run"]["problems"].items())
    return [*lines, *([f"problems: {problems}"] if problems else [])]


def speed_notes(modes: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    """What a table of speeds does not say: `result` by mode, and the whole of it."""
    for name, one in modes.items():
        yield f"{name}: at most {one['busiest']} requests in flight"
        for error, count in one["failures"].items():
            yield f"{name}: {count:,} samples failed with {error}, for example {one['messages'][error]}"
    if result["ratio"]:
        yield f"a sample takes {result['ratio']:.2f} times as long staged as end to end"
    if result["left_out"]:
        yield f"{result['left_out']:,} samples are left out: unreadable, or without a usable image (left_out.jsonl)"


def _references(metrics: Mapping[str, Any]) -> str:
    """What became of the images that the answers name, and of those that they should."""
    line = (
        "{written:,} image references written, {counted:,} placed; {unknown:,} name no image, {repeated:,} are "
        "repeated, {misplaced:,} are not alone after a paragraph"
    ).format(**metrics["references"])
    at_labels = "; at labelled slots {inserted:,} inserted, {hits:,} right, {missed:,} missed"
    return line + (at_labels.format(**metrics) if "inserted" in metrics else "")


def _agreement(found: Mapping[str, Any]) -> str:
    """How far two raters agree."""
    interval = " – ".join(f"{bound:.2f}" for bound in found["interval"] or ())
    return (
        f"{' and '.join(found['raters'])}, {found['measure']}: kappa {number(found['kappa'], 2)}"
        f"{f' ({interval})' if interval else ''}, equal in {100 * found['equal']:.0f} % of {found['answers']:,} answers"
    )


def _cost(cost: Mapping[str, Any]) -> str:
    line = "cost: {requests:,} requests, {prompt_tokens:,} prompt tokens, {generated_tokens:,} generated tokens"
    return (line + (", {money:,.2f} {currency}" if cost["money"] else "")).format(**cost)


def _table(title: str, headings: tuple[str, str, str], lines: Iterable[Line]) -> Table:
    """`headings`: of the names, of the values, of what they are of."""
    name, unit, counted = headings
    table = Table(title=title, title_justify="left")
    table.add_column(name)
    table.add_column("measure")
    for heading in (unit, "95 % interval", counted):
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*line.texts)
    return table


def _lines(
    name: str, metrics: Mapping[str, Any], labels: Mapping[str, str], digits: int, counted: str
) -> Iterator[Line]:
    for key in (key for key in labels if key in metrics):
        interval = metrics["intervals"].get(key)
        yield Line(name, labels[key], metrics[key], tuple(interval) if interval else None, digits, metrics[counted])


def number(value: float | None, digits: int) -> str:
    """A metric in figures, never "-0.000"; "–" where there is nothing to measure."""
    return "–" if value is None else f"{value:z.{digits}f}"


def _sets(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(mode, set, metrics) of a VQA summary."""
    for mode in ("direct", "choice"):
        for name, metrics in summary.get(mode, {}).items():
            yield mode, name, metrics
