"""`imageref inspect`: a run directory, finished, running or failed → one HTML page.

read: manifest, fingerprint, parts ─▶ run_state.Run ─┬─▶ cards: samples with thumbnails ─┐
                                                     └───────────────────────────────────┴─▶ page: inspect.html
"""

from __future__ import annotations

from pathlib import Path

from imageref_ray.commands.inspection.page import Page, summary_line, write_page
from imageref_ray.commands.inspection.run_state import Run, read_run

__all__ = ["Page", "Run", "inspect", "read_run", "summary_line", "write_page"]


def inspect(directory: Path, samples: int, seed: int, out: Path | None = None) -> None:
    """Write the page of a run and print its path. Raises ConfigError where `directory` is not a run directory."""
    run = read_run(directory, samples, seed)
    print(summary_line(run, write_page(run, out or run.directory / "inspect.html")))
