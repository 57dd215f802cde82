"""A `model` setting → what loaders open: a folder, a hub name, or the checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "embedded"
"""Names the checkpoint in the package, wherever that is installed (`./embedded` names a folder)."""

FOLDER = Path(__file__).parents[1] / "picturenews" / "checkpoint"


def located(model: str) -> str:
    """The folder or hub name that a `model` setting stands for."""
    return str(FOLDER) if model == EMBEDDED else model
