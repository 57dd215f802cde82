"""InternVL annotation files in, drawn training rows out; what cannot be read is counted, never swapped.

A mixture is `name → {root, annotation, repeat_time | ratio, …}` (InternVL's meta JSON, and our `ratio`). An annotation
line is `{"id", "image"?: path or [paths], "conversations": [{"from": "human" | "gpt" | "system", "value"}]}`; the
`<image>` tags of the human turns stand for the images in order. No torch here.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from imageref_ray.core.config import Config, ConfigError, MixtureEntry, TrainConfig, check, check_places

IMAGE_TAG = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class SampleError(ValueError):
    """One sample cannot be trained on; the message is the reason it is counted under."""


class Mixture(Config):
    """A meta JSON file, checked."""

    sets: dict[str, MixtureEntry]


@dataclass(frozen=True)
class Row:
    """One annotation line: turns as (role, text), image paths, and how often it is trained on per epoch."""

    dataset: str
    turns: tuple[tuple[str, str], ...]
    images: tuple[Path, ...]
    max_tiles: int
    augment: bool
    copies: int = 1


def entries(config: TrainConfig) -> dict[str, MixtureEntry]:
    """The mixture's data sets, from the config or from its meta JSON file; every annotation file exists."""
    found = config.mixture
    if isinstance(found, Path):
        if not found.is_file():
            raise ConfigError(f"mixture {found} does not exist; give a meta JSON file or the data sets themselves")
        try:
            values = json.loads(found.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"mixture {found} is not valid JSON: {error}; mend the file") from None
        listed = check(Mixture, {"sets": values}, str(found))
        check_places(listed, str(found))
        found = listed.sets
    if not found:
        raise ConfigError("mixture holds no data set; name at least one with its annotation file")
    for name, entry in found.items():
        if not entry.annotation.is_file():
            raise ConfigError(f"mixture.{name}.annotation: {entry.annotation} does not exist; mend the path")
    return dict(found)


def repeat_times(sizes: Mapping[str, int], ratios: Mapping[str, float]) -> dict[str, float]:
    """The `repeat_time` of every set so that a row is of it with probability ratio / sum of ratios.

    As many rows are drawn as the sets hold together. Raises ConfigError where a set is empty or has no ratio.
    """
    for name, size in sizes.items():
        if size < 1 or ratios.get(name, 0) <= 0:
            raise ConfigError(
                f"set {name}: {size} rows, ratio {ratios.get(name)}; both must be above 0, or leave it out"
            )
    total, share = sum(sizes.values()), sum(ratios[name] for name in sizes)
    return {name: ratios[name] / share * total / size for name, size in sizes.items()}


def draw(sets: dict[str, MixtureEntry], max_tiles: int, seed: int) -> tuple[list[Row], Counter[tuple[str, str]]]:
    """Rows to train on, and (data set, reason) → how many were skipped. Sets with a `ratio` come by it.

    `repeat_time` below 1 draws that share of the lines at random (seeded by `seed` and the set's name), above 1
    gives every line its whole repeats and a seeded share of the lines the fraction.
    """
    rows: list[Row] = []
    skipped: Counter[tuple[str, str]] = Counter()
    sizes = {name: sum(1 for _ in _lines(entry.annotation)) for name, entry in sets.items()}
    for name, entry in sets.items():
        if entry.length not in (None, sizes[name]):
            raise ConfigError(
                f"mixture.{name}.length is {entry.length:,}, but {entry.annotation} holds {sizes[name]:,} samples; "
                "correct the number or leave it out, or get the whole file"
            )
    ratios = {name: entry.ratio for name, entry in sets.items() if entry.ratio is not None}
    times = repeat_times(sizes, ratios) if ratios else {name: entry.repeat_time for name, entry in sets.items()}
    for name, entry in sets.items():
        copies = _copies(sizes[name], times[name], f"{seed}:{name}")
        for number, line in enumerate(_lines(entry.annotation)):
            if not copies[number]:
                continue
            try:
                row = parse(line, name, entry, max_tiles)
            except SampleError as error:
                skipped[name, str(error)] += copies[number]
            else:
                rows.append(replace(row, copies=copies[number]))
    return rows, skipped


def parse(line: str, dataset: str, entry: MixtureEntry, max_tiles: int) -> Row:
    """One annotation line as a Row, or SampleError with the reason."""
    try:
        values = json.loads(line)
        turns = tuple((ROLES[turn["from"]], str(turn["value"])) for turn in values["conversations"])
    except (json.JSONDecodeError, KeyError, TypeError):
        raise SampleError("not an annotation line") from None
    given = values.get("image") or []
    names = [given] if isinstance(given, str) else list(given)
    tags = sum(text.count(IMAGE_TAG) for role, text in turns if role == "user")
    if names and not tags:  # InternVL's habit: images without tags stand before the first question
        turns, tags = _tagged(turns, len(names)), len(names)
    if tags != len(names):
        raise SampleError("image tags and images differ in number")
    if not any(role == "assistant" and text for role, text in turns):
        raise SampleError("no answer to learn")
    images = tuple(entry.root / name for name in names)
    return Row(dataset, turns, images, entry.max_dynamic_patch or max_tiles, entry.data_augment)


def _tagged(turns: tuple[tuple[str, str], ...], count: int) -> tuple[tuple[str, str], ...]:
    first = next((number for number, (role, _) in enumerate(turns) if role == "user"), None)
    if first is None:
        raise SampleError("image tags and images differ in number")
    question = ("user", f"{IMAGE_TAG}\n" * count + turns[first][1])
    return (*turns[:first], question, *turns[first + 1 :])


def _copies(count: int, repeat_time: float, seed: str) -> list[int]:
    whole, share = divmod(repeat_time, 1)
    copies = [int(whole)] * count
    for number in random.Random(seed).sample(range(count), round(share * count)):
        copies[number] += 1
    return copies


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if line.strip())
