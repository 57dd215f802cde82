"""`imageref inspect`: a run directory, in whatever state → one HTML page to look at.

manifest, fingerprint, parts ─▶ run ─▶ cards (samples with their pictures) ─▶ sheet ─▶ inspect.html
"""

from __future__ import annotations

from imageref_ray.inspection.run import Run, read
from imageref_ray.inspection.sheet import Written, line, write

__all__ = ["Run", "Written", "line", "read", "write"]
