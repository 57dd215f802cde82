"""How many tiles an image is cut into: what a training did, as its checkpoint records it, and what a request gets.

InternVL cuts an image into up to so many tiles, and a thumbnail beside more than one. A checkpoint's processor holds
one number (`max_patches`); `imageref.json` beside it holds what training did with each data set.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import CheckpointConfig, ConfigError, EngineConfig
from imageref_ray.core.durable import writing
from imageref_ray.core.json_files import read_json

FILE = "imageref.json"
"""The record's name in a checkpoint folder: `{"max_tiles", "share_tiles", "max_tiles_by_set": {name: tiles}}`."""

SHOWN = 3
"""Data sets named in a sentence for each number of tiles."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """At most `max_tiles` per image, or, with `share_tiles`, for all images of a sample or request together.

    `by_set`: the `max_tiles` of each data set with images that a checkpoint was trained on.
    """

    max_tiles: int
    share_tiles: bool
    by_set: Mapping[str, int] = field(default_factory=dict)

    def per_image(self, images: int) -> int:
        """Maximum tiles of each of so many images. Sharing is InternVL's: max(1, max_tiles // images)."""
        return max(1, self.max_tiles // max(1, images)) if self.share_tiles else self.max_tiles

    def at_most(self, images: int) -> int:
        """Most tiles of so many images together, thumbnails included."""
        each = self.per_image(images)
        return images * (each + 1 if each > 1 else 1)


def trained(by_set: Mapping[str, int], images: Mapping[str, int], share_tiles: bool, unseen: int) -> Tiles:
    """The record of a training: `by_set` is each data set's setting, `images` how many images of it were trained on.

    A checkpoint carries one `max_tiles`: what most images had (of equals the smaller), so that image-referencing sets,
    whose samples have many images, decide it beside general sets. `unseen`: where there was no image at all.
    """
    seen = {name: tiles for name, tiles in by_set.items() if images.get(name, 0) > 0}
    counts = Counter[int]()
    for name, tiles in seen.items():
        counts[tiles] += images[name]
    most = min(counts, key=lambda tiles: (-counts[tiles], tiles), default=unseen)
    return Tiles(most, share_tiles, seen)


def write(folder: Path, tiles: Tiles) -> None:
    """Write the record into a checkpoint folder."""
    values = {"max_tiles": tiles.max_tiles, "share_tiles": tiles.share_tiles, "max_tiles_by_set": dict(tiles.by_set)}
    with writing(folder / FILE):
        (folder / FILE).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Tiles:
    """The record in a file. Raises ConfigError if it is none."""
    try:
        values = read_json(path)
        by_set = {str(name): int(tiles) for name, tiles in values["max_tiles_by_set"].items()}
        tiles = Tiles(int(values["max_tiles"]), bool(values["share_tiles"]), by_set)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no record of a training ({error!r}); copy it from the checkpoint again") from None
    if min(tiles.max_tiles, *by_set.values(), 1) < 1:
        raise ConfigError(f"{path} has a number of tiles below 1; copy it from the checkpoint again")
    return tiles


def expected(config: EngineConfig) -> Tiles | None:
    """The tiles of an engine's requests as far as settings and the record in the checkpoint's folder say them."""
    if not isinstance(config, CheckpointConfig):
        return None
    path = Path(resolve_model(config.model)) / FILE
    trained = read(path) if path.is_file() else None
    return chosen(config, trained) if trained or config.max_tiles else None


def chosen(config: CheckpointConfig, trained: Tiles | None, max_patches: int = 1) -> Tiles:
    """The settings, else the record, else the processor's `max_patches`, shared as in InternVL's own training."""
    trained = trained or Tiles(max_patches, True)
    return Tiles(
        trained.max_tiles if config.max_tiles is None else config.max_tiles,
        trained.share_tiles if config.share_tiles is None else config.share_tiles,
        trained.by_set,
    )


def notice(model: str, max_tiles: int | None = None) -> str:
    """One sentence where a checkpoint folder's data sets were cut differently, else "".

    `max_tiles` is the setting for its requests; None: the checkpoint's own number.
    """
    path = Path(resolve_model(model)) / FILE
    if not path.is_file():
        return ""
    tiles = read(path)
    names: dict[int, list[str]] = {}
    for name, each in sorted(tiles.by_set.items()):
        names.setdefault(each, []).append(name)
    if len(names) < 2:
        return ""
    said = "; ".join(f"{each} in {_listed(names[each])}" for each in sorted(names))
    number = tiles.max_tiles if max_tiles is None else max_tiles
    origin = "what most of its images had" if max_tiles is None else "engine.max_tiles"
    return (
        f"{model} was trained with different maximum numbers of tiles per image ({said}): requests get {number}, "
        f"{origin}; set engine.max_tiles for a task that was trained with another"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
