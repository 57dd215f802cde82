"""`imageref compare`: evaluations of one test set → who is better, by how much, and a page to see where.

RUN RUN … ─▶ compare_runs ─┬▶ tables on the screen, or JSON
                           └▶ page: leaderboard, differences, every event with all answers side by side
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from imageref_ray.commands.comparison.page import write_page
from imageref_ray.commands.comparison.tables import show
from imageref_ray.core.config import ConfigError
from imageref_ray.evaluation.compare_runs import compare_runs

PAGE = Path("compare.html")


def compare(runs: list[Path], metric: list[str], as_json: bool = False, out: Path | None = None, seed: int = 0) -> None:
    """Print the comparison and write its page; as JSON the page is written only where `out` is given.

    Raises ConfigError for fewer than two runs, for a page that cannot be written, and as `compare_runs`.
    """
    if len(runs) < 2:
        raise ConfigError(f"compare needs two runs or more; to look at one: imageref inspect {runs[0]}")
    comparisons = compare_runs(runs, metric, seed)
    if as_json:
        print(json.dumps({one.mode: one.as_json() for one in comparisons}, indent=2, ensure_ascii=False))
    else:
        show(Console(), comparisons)
    if out or not as_json:
        line = write_page(comparisons, out or PAGE)
        if not as_json:
            print(line)
