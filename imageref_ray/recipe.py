"""What the stages of a build need besides the record: prompt pack, sampling and in-context examples, as values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from imageref_ray import prompts
from imageref_ray.config import BuildConfig, ConfigError, SamplingConfig
from imageref_ray.engines.base import Sampling
from imageref_ray.prompts import CaptionExample, Pack, PlaceExample
from imageref_ray.sources import paper


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What the stages need besides the record; travels to the actors."""

    pack: Pack
    respond: Sampling
    caption: Sampling
    place: Sampling
    context_tokens: int
    caption_examples: tuple[CaptionExample, ...] = ()
    place_examples: tuple[PlaceExample, ...] = ()


def recipe(config: BuildConfig) -> Recipe:
    """The prompt pack, sampling and examples of a build. Raises ConfigError for files that cannot be used."""
    pack = prompts.load_pack(config.prompts)
    shown = config.examples if pack.examples else 0
    captions = _read(config.caption_examples, "caption_examples")[:shown] if config.caption_examples else []
    places = _read(config.place_examples, "place_examples")[:shown] if config.place_examples else []
    return Recipe(
        pack,
        respond=sampling(config.respond),
        caption=sampling(config.caption),
        place=sampling(config.place),
        context_tokens=config.context_tokens,
        caption_examples=tuple(_caption_example(config.source.root, entry) for entry in captions),
        place_examples=tuple(_place_examples(config.source.root / config.source.events, places)),
    )


def sampling(config: SamplingConfig) -> Sampling:
    """The settings as an engine takes them."""
    return Sampling(temperature=config.temperature, max_tokens=config.max_tokens)


def _caption_example(root: Path, entry: dict[str, Any]) -> CaptionExample:
    news, _, _ = str(entry["image_path"]).partition("/")
    document = paper.document(root, news)
    image = next((image for image in document.images if image.id == entry["image_path"]), None)
    if image is None:
        raise ConfigError(f"caption_examples: {entry['image_path']} is not in {root / 'image'}; mend the example file")
    return CaptionExample(document, image, entry["description"], entry["caption"])


def _place_examples(events: Path, entries: list[dict[str, Any]]) -> list[PlaceExample]:
    """The paper's examples name an event; its reference text is in the event file."""
    wanted = {str(entry["event_id"]): entry for entry in entries}
    texts = paper.responses(events, set(wanted)) if wanted else {}
    if missing := sorted(set(wanted) - set(texts)):
        raise ConfigError(f"place_examples: events {', '.join(missing)} are not in {events}; mend the example file")
    return [
        PlaceExample(tuple(entry["caption_str"]), texts[name], json.dumps(entry["result"], ensure_ascii=False))
        for name, entry in wanted.items()
    ]


def _read(path: Path, key: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: {path} cannot be read as JSON ({error}); mend it or leave {key} out") from None
    if not isinstance(found, list):
        raise ConfigError(f"{key}: {path} holds {type(found).__name__}, not a list; mend it or leave {key} out")
    return found
