"""`imageref check`: print the breaches of an annotation file, one per line."""

from __future__ import annotations

from pathlib import Path

from imageref_ray.dataset.check import check, summary_lines


def run(dataset: Path, root: Path | None, first: int) -> int:
    """Check and print; returns 1 where the file breaks the contract."""
    report = check(dataset, root, first)
    print(*summary_lines(report), sep="\n")
    return 1 if report.kinds else 0
