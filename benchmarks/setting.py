"""What the benchmarks share: the embedded checkpoint as they run it, and how a result is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODEL = "embedded"
"""As in `jobs/configs`: benchmarks are run from the repository's root."""

ARGS: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "block_size": 32,
    "max_model_len": 2048,
    "max_num_seqs": 64,
    "enable_prefix_caching": True,
}
ENV = {"VLLM_CPU_KVCACHE_SPACE": "1"}


def tell(result: dict[str, Any], out: Path | None) -> None:
    """One JSON object on the screen, and in the file `out`."""
    text = json.dumps(result, indent=1)
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8")
