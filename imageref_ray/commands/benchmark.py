"""`imageref benchmark`: a public benchmark's files in, our answers out in its format."""

from __future__ import annotations

from pathlib import Path

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import read_answers
from imageref_ray.dataset.public_benchmarks import export_answers, import_test_set


def import_(name: str, data: Path, images: Path, out: Path, split: str | None) -> None:
    """Write the test set and print what was left out. Raises ConfigError where no row can be used."""
    made = import_test_set(name, data, images, out, split)
    if not made.cases:
        reason = (
            f"see why: {out / 'left_out.jsonl'}"
            if made.left_out
            else f"it has no row{f' of split {split}' if split else ''}"
        )
        raise ConfigError(f"{data}: no row is a question of {name}; {reason}")
    print(f"{out}: {made.cases:,} questions; evaluate with root: {images} and label_slots: after")
    if made.left_out:
        print(f"{made.left_out:,} rows are left out: {out / 'left_out.jsonl'}")
    if made.unknown:
        print(f"{made.unknown:,} references of the benchmark's own answers name no image of their question")


def export(name: str, data: Path, answers: Path, out: Path) -> None:
    """Write the answers and print how many questions have none. Raises ConfigError where all have none."""
    written, missing = export_answers(name, data, read_answers(answers), out)
    print(f"{out}: {written:,} questions" + (f", {missing:,} without an answer" if missing else ""))
