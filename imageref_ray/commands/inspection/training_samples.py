"""A mixture's data sets → how much of a training each is, and a few of their samples as a training reads them.

annotation file ─┬─ all lines ───▶ counted
                 └─ a seeded few ▶ mixture.parse ─▶ turns with images in place, what is learned, or why not used
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from imageref_ray.commands.inspection.pictures import Pictures
from imageref_ray.core.config import ConfigError, MixtureEntry
from imageref_ray.core.json_files import OPENING, BrokenJson, JsonRow, json_rows
from imageref_ray.core.records import Image
from imageref_ray.core.subset import choose
from imageref_ray.core.tiles import Tiles
from imageref_ray.dataset import mixture
from imageref_ray.dataset.cards.card import shorten
from imageref_ray.dataset.turns import IMAGE_TAG, SampleError

LOOKED_AT = 20_000
"""Lines of a file among which samples are chosen: its beginning, so that a large mixture is shown at once."""

MAX_TEXT = 6_000
MAX_IMAGES = 8
"""Images of a sample that are shown."""

Card = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetSize:
    """A data set: its `rows` (None: the file cannot be read, `problem` says why) and its `share` of the training's
    samples as planned, None where a set's rows are not known."""

    rows: int | None
    share: float | None
    problem: str = ""


class Drawn(NamedTuple):
    """A sample of a set: its row, and where it is in the file."""

    set: str
    row: JsonRow


def sizes(sets: Mapping[str, MixtureEntry]) -> dict[str, SetSize]:
    """The size and share of every set."""
    found: dict[str, tuple[int | None, str]] = {}
    for name, entry in sets.items():
        try:
            found[name] = count_rows(entry.annotation), ""
        except (OSError, ConfigError) as error:
            found[name] = None, " ".join(str(error).split())
    rows = {name: count for name, (count, _) in found.items()}
    shares = _shares(sets, rows)
    return {name: SetSize(count, shares.get(name), problem) for name, (count, problem) in found.items()}


def _shares(sets: Mapping[str, MixtureEntry], rows: Mapping[str, int | None]) -> dict[str, float]:
    if all(entry.ratio is not None for entry in sets.values()):
        weights = {name: float(entry.ratio or 0) for name, entry in sets.items()}
    else:
        weights = {name: (rows[name] or 0) * entry.repeat_time for name, entry in sets.items()}
        if None in rows.values():
            return {}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}


def count_rows(path: Path) -> int:
    """The lines of a JSONL file, or the items of a list, without parsing them."""
    with path.open("rb") as file:
        if file.read(OPENING).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return sum(1 for _ in json_rows(path))
        file.seek(0)
        count, last = 0, b"\n"
        while chunk := file.read(2**20):
            count, last = count + chunk.count(b"\n"), chunk[-1:]
        return count + (last != b"\n")


def draw(sets: Mapping[str, MixtureEntry], count: int, seed: int) -> list[Drawn]:
    """About `count` rows, as many of every set, at least one of each where `count` is not 0."""
    each = max(1, count // max(len(sets), 1)) if count else 0
    drawn = []
    for name, entry in sets.items():
        try:
            first = islice(json_rows(entry.annotation), LOOKED_AT)
            rows = choose(first, each, seed, lambda row: row.place)
        except (OSError, ConfigError):
            continue  # `sizes` says why
        drawn += [Drawn(name, row) for row in sorted(rows, key=lambda row: row.offset)]
    return drawn


def make_card(drawn: Drawn, entry: MixtureEntry, settings: Mapping[str, Any], run: Path, pictures: Pictures) -> Card:
    """What training_sample.html shows. `settings`: `max_tiles`, `share_tiles` and `system` of the training."""
    card: Card = {
        "set": drawn.set,
        "place": drawn.row.where,
        "problem": "",
        "id": "",
        "turns": [],
        "images": [],
        "missing": "",
        "notes": [],
    }
    try:
        values = drawn.row.read(repair=False)
        card["id"] = shorten(str(values.get("id", "")), 200) if isinstance(values, dict) else ""
        found = mixture.parse(values, drawn.set, entry, int(settings.get("max_tiles") or 1))
    except SampleError as error:
        return {**card, "problem": str(error)}
    except BrokenJson as error:
        return {**card, "problem": f"not an annotation line: {error}"}
    images = [Image(path.name, str(path)) for path in found.images]
    shown = [(image.id, *pictures.find(image, run)) for image in images[:MAX_IMAGES]]
    missing = next((problem for _, _, problem in shown if problem), "")
    system = str(settings.get("system") or "")
    turns = found.turns if not system or found.turns[0][0] == "system" else (("system", system), *found.turns)
    numbers = iter(range(1, len(images) + 1))
    return {
        **card,
        "turns": [
            {
                "role": role,
                "learned": role == "assistant",
                "pieces": list(_pieces(role, shorten(text, MAX_TEXT), numbers)),
            }
            for role, text in turns
        ],
        "images": [{"name": name, "picture": picture, "problem": problem} for name, picture, problem in shown],
        "missing": missing,
        "notes": list(_notes(found, settings)),
    }


def _pieces(role: str, text: str, numbers: Iterator[int]) -> Iterator[str | int]:
    """A turn's text, and the number of each image where it stands."""
    if role != "user":
        yield text.lstrip() if role == "assistant" else text
        return
    for position, piece in enumerate(text.split(IMAGE_TAG)):
        if position and (number := next(numbers, 0)):
            yield number
        if piece:
            yield piece


def _notes(found: mixture.Conversation, settings: Mapping[str, Any]) -> Iterator[str]:
    if found.images:
        most = Tiles(found.max_tiles, bool(settings.get("share_tiles", True))).per_image(len(found.images))
        yield f"{len(found.images)} image{'s' * (len(found.images) > 1)}, at most {most} tile{'s' * (most > 1)} each"
    if len(found.images) > MAX_IMAGES:
        yield f"the first {MAX_IMAGES} are shown"
    if found.augment:
        yield f"images changed at every use: {', '.join(found.augment)}"
    if found.alternatives:
        yield (
            f"later uses draw one of {len(found.alternatives.human)} questions and {len(found.alternatives.answers)} "
            "answers"
        )
