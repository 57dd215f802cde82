"""`imageref check`: the breaches of an annotation file, a line each."""

from __future__ import annotations

from pathlib import Path

from imageref_ray.dataset.check import check, summary_lines


def run(dataset: Path, root: Path | None, first: int) -> int:
    """Check and print; 1 where the file breaks the contract."""
    report = check(dataset, root, first)
    print(*summary_lines(report), sep="\n")
    return 1 if report.kinds else 0
