"""Public benchmarks: their files → a test set of ours, our answers → the file that their own script scores.

    rows ─read─▶ cases ─▶ annotation.jsonl, label.csv (slots "after"); left_out.jsonl where a row cannot be used
    rows + answers {"id", "result"} ─▶ answers in the benchmark's format, one for every row

Nothing of a benchmark's data is shipped: users download it themselves, under its licence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.check.read import Finding, iterate_json
from imageref_ray.dataset.export.rows import Row, question
from imageref_ray.dataset.paper_formats import Relevance, write_jsonl, write_labels
from imageref_ray.dataset.public_benchmarks import mmdocrag, mramg, rag_igbench
from imageref_ray.dataset.public_benchmarks.case import Read, Unusable, id_of
from imageref_ray.stages.prompts import load_pack

READERS: dict[str, Callable[[Path, Path], Read]] = {
    "mmdocrag": mmdocrag.reader,
    "mramg": mramg.reader,
    "rag-igbench": rag_igbench.reader,
}
"""Benchmark → what makes a reader of its file and its folder of images."""

ANSWERS: dict[str, tuple[str, Callable[[Mapping[str, Any], str], Row]]] = {
    "mmdocrag": ("q_id", mmdocrag.answer),
    "rag-igbench": ("id", rag_igbench.answer),
}
"""Benchmark → the key of a row's id, and what makes the row that its script reads of a row and an answer."""


@dataclass(frozen=True, slots=True)
class Imported:
    """How many rows became cases and were left out, and how many references of their answers name no image."""

    cases: int
    left_out: int
    unknown: int


def import_test_set(name: str, data: Path, images: Path, out: Path, split: str | None = None) -> Imported:
    """Write the test set into the folder `out`; with `split`, only of rows whose `split` is that.

    Image paths in it are relative to `images`. Raises ConfigError for a file that cannot be read.
    """
    rows: list[Row] = []
    labels: dict[str, Relevance] = {}
    left_out: list[Row] = []
    unknown, pack, read = 0, load_pack("compact"), READERS[name](data, images)
    for number, (line, value) in enumerate(iterate_json(data), start=1):
        if split is not None and isinstance(value, dict) and value.get("split") != split:
            continue
        try:
            case = read(number, _row(value))
            if case.sample.id in labels:
                raise Unusable(f"id {case.sample.id} is repeated")
        except Unusable as problem:
            left_out.append({"line": line, "problem": str(problem)})
            continue
        rows.append(question(case.sample, case.reference, images, pack))
        labels[case.sample.id] = case.labels
        unknown += case.unknown
    out.mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "annotation.jsonl", rows)
    write_labels(out / "label.csv", labels)
    write_jsonl(out / "left_out.jsonl", left_out)
    return Imported(len(rows), len(left_out), unknown)


def export_answers(name: str, data: Path, answers: Mapping[str, str], out: Path) -> tuple[int, int]:
    """Write a row for every row of `data` that has an id, in its order: (how many, how many without an answer).

    Those get an empty one: the benchmarks' scripts expect every question. Raises ConfigError where no question has an
    answer, and for a row that cannot be read or has no id.
    """
    key, answer = ANSWERS[name]
    rows = [_asked(value, key, f"{data} line {line}") for line, value in iterate_json(data)]
    texts = [answers.get(str(row[key]), "") for row in rows]
    if not any(texts):
        raise ConfigError(f"none of {len(answers):,} answers is to a question of {data}; give its own answers")
    write_jsonl(out, (answer(row, text) for row, text in zip(rows, texts, strict=True)))
    return len(rows), texts.count("")


def _asked(value: Any, key: str, where: str) -> Mapping[str, Any]:
    """A row with its question's id. Raises ConfigError."""
    try:
        id_of(row := _row(value), key)
    except Unusable as problem:
        raise ConfigError(f"{where}: {problem}; download the file again") from None
    return row


def _row(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Finding):
        raise Unusable(value.message)
    if not isinstance(value, dict):
        raise Unusable(f"contains {type(value).__name__}, not a JSON object")
    return value
