"""Makes the package index's torchvision (a CUDA build) work with a CPU-only torch.

That build's operator library cannot load without CUDA, and then `import torchvision` fails with
"operator torchvision::nms does not exist". Declaring the two schemas before the import makes
everything work but those operators themselves. It has to happen in every process, so it is an entry point
of the group `torch.backends`, which torch runs at the end of `import torch` (see pyproject.toml).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

_declared: list[Any] = []  # a torch.library.Library drops its schemas when it is garbage-collected


def declare_operators() -> bool:
    """Declare torchvision's `nms` and `qnms` if its own library cannot; returns whether it was necessary."""
    import torch

    if _declared or torch.version.cuda is not None or not built_for_cuda(torchvision_version()):
        return False
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + SCHEMA)
    _declared.append(library)
    return True


def torchvision_version() -> str:
    """The text of torchvision's version.py, read without importing torchvision; empty if it is not installed."""
    spec = importlib.util.find_spec("torchvision")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    return file.read_text(encoding="utf-8") if file and file.is_file() else ""


def built_for_cuda(version: str) -> bool:
    """Whether a `version.py` is from a CUDA build: `__version__ = '0.28.0+cu130'`, not `…+cpu` or no suffix."""
    return any("+cu" in line for line in version.splitlines() if line.startswith("__version__"))
