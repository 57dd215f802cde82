"""`imageref inspect`: a run directory, in whatever state → one HTML page to look at.

manifest, fingerprint, parts ─▶ run ─▶ cards (samples with their pictures) ─▶ sheet ─▶ inspect.html
"""

from __future__ import annotations

from imageref_ray.commands.inspection.page import Written, line, write
from imageref_ray.commands.inspection.run_state import Run, read

__all__ = ["Run", "Written", "line", "read", "write"]
