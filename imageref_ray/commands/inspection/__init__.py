"""`imageref inspect`: a run directory, in whatever state → one HTML page to look at.

manifest, fingerprint, parts ─▶ run ─▶ cards (samples with their pictures) ─▶ sheet ─▶ inspect.html
"""

from __future__ import annotations

from pathlib import Path

from imageref_ray.commands.inspection.page import Written, line, write
from imageref_ray.commands.inspection.run_state import Run, read

__all__ = ["Run", "Written", "inspect", "line", "read", "write"]


def inspect(directory: Path, samples: int, seed: int, out: Path | None = None) -> None:
    """Write the page of a run and print where it is. Raises ConfigError for a folder that is no run."""
    run = read(directory, samples, seed)
    print(line(run, write(run, out or run.directory / "inspect.html")))
