"""How an engine that holds an InternVL cuts images: its settings, else the checkpoint's record, else its processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.core import tiles
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import CheckpointConfig, ConfigError
from imageref_ray.core.tiles import Tiles
from imageref_ray.engines.chat_template import INTERNVL

UNSAID = 12
"""Hugging Face's `max_patches` for a processor config without it."""


def of_checkpoint(config: CheckpointConfig, architectures: Sequence[str], processor: Mapping[str, Any]) -> Tiles | None:
    """The tiles of every request; None for models other than InternVL, which have their own ways.

    `processor` is the content of the checkpoint's image processor config. Where nothing says so, the images of a
    request share the tiles, as those of a sample do in InternVL's own training. Raises ConfigError for settings of
    tiles with another model.
    """
    check(config, architectures)
    if INTERNVL not in architectures:
        return None
    return tiles.chosen(config, _record(config), int(processor.get("max_patches", UNSAID)))


def check(config: CheckpointConfig, architectures: Sequence[str]) -> None:
    """Raise ConfigError where tiles are set for a model that is not InternVL."""
    if config.tiling() and INTERNVL not in architectures:
        raise ConfigError(
            f"engine.{next(iter(config.tiling()))} is a setting of InternVL, and {config.model} is "
            f"{', '.join(architectures)}; leave it out"
        )


def _record(config: CheckpointConfig) -> Tiles | None:
    """What the checkpoint records of its training, in its folder or on the hub; None where it records nothing."""
    from transformers.utils import cached_file

    path = cached_file(
        resolve_model(config.model),
        tiles.FILE,
        revision=config.args.get("revision"),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return tiles.read(Path(path)) if path else None
