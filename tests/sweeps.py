"""How far sweeps go: a property tries some examples in `make unit`, and SWEEP times as many in `make sweep`."""

import os

SWEEP = int(os.environ.get("SWEEP") or 1)
EXAMPLES = 40
"""Examples of a property that says nothing itself."""


def sweep(examples: int) -> int:
    """So many examples, worlds or cases by default."""
    return examples * SWEEP
