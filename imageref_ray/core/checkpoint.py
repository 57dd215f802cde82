"""A `model` setting → what loaders open: a folder, a hub name, or the checkpoint in the package."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "embedded"
"""The name of the checkpoint in the package, wherever it is installed (`./embedded` is a folder)."""

FOLDER = Path(__file__).parents[1] / "picturenews" / "checkpoint"


def resolve_model(model: str) -> str:
    """The folder or hub name that a `model` setting means."""
    return str(FOLDER) if model == EMBEDDED else model
