"""`imageref labels`: an annotation file → a label CSV, without annotators."""

from __future__ import annotations

from pathlib import Path

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import read_questions, write_labels
from imageref_ray.evaluation.layout_labels import layout_labels


def layout(data: Path, out: Path) -> None:
    """Write the labels and print what became of the images. Raises ConfigError where no image can be labelled."""
    questions = read_questions(data, data.parent)
    made = layout_labels(questions)
    if not made.labels:
        raise ConfigError(
            f"{data}: none of {made.images:,} images stands beside a paragraph that a section of its reference answer "
            "resembles; these answers need labels by hand"
        )
    write_labels(out, made.labels)
    print(
        f"{out}: {len(made.labels):,} of {len(questions):,} events, "
        f"{made.images - made.alone - made.unlike:,} of {made.images:,} images labelled; {made.alone:,} have no "
        f"paragraph beside them, {made.unlike:,} one that no section of the reference resembles"
    )
