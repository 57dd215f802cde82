"""InternVL annotation files → sampled training conversations; unusable lines are counted, never replaced by others.

A mixture is `name → {root, annotation, repeat_time | ratio, …}` (InternVL's meta JSON, and our `ratio`), in a config or
in a file (`mixture_paths.py`). An annotation line, or item of a JSON list, is `{"id", "image"?: path or [paths],
"conversations": [{"from": "human" | "gpt" | "system", "value": text}]}` (other spellings: `turns.py`); the `<image>`
tags of the human turns are the places of the images in order. No torch here.

A line with one question and one answer may have `"alternatives": {"human": [texts], "gpt": text, "answers": [texts],
"weights": [numbers]}`, which other trainers ignore: `conversations` is what its first use reads; every later use draws
a human text, and an answer by weight, which takes the place of `<answer>` in the human and the gpt text.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imageref_ray.core.config import Config, ConfigError, MixtureEntry, TrainConfig, check, check_places
from imageref_ray.core.json_files import BrokenJson, NotText, json_rows, read_json
from imageref_ray.core.records import Image
from imageref_ray.dataset.mixture_paths import placed
from imageref_ray.dataset.turns import IMAGE_TAG, SampleError, read_images, read_turns
from imageref_ray.engines.base import Message

ANSWER_TAG = "<answer>"


class Mixture(Config):
    """The content of a meta JSON file, validated."""

    sets: dict[str, MixtureEntry]


@dataclass(frozen=True)
class Alternatives:
    """What one question and its answer may also be: `human` texts, equally likely, and `answers`, by `weights`."""

    human: tuple[str, ...]
    gpt: str
    answers: tuple[str, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Conversation:
    """One annotation line: turns as (role, text), image paths, and its uses per epoch (`copies`).

    `augment` is how its images are changed: `"jpeg"` (recompressed), `"crop_flip"`.
    """

    dataset: str
    turns: tuple[tuple[str, str], ...]
    images: tuple[Path, ...]
    max_tiles: int
    augment: tuple[str, ...] = ()
    copies: int = 1
    alternatives: Alternatives | None = None


def entries(config: TrainConfig) -> dict[str, MixtureEntry]:
    """The mixture's data sets, from the config or its meta JSON file, without the keys that `unused_keys` names.

    Raises ConfigError if the meta JSON is missing or invalid, or an annotation file is missing.
    """
    sets = config.mixture
    if isinstance(sets, Path):
        path = sets
        values = _read_meta(path)
        if isinstance(values, dict):
            values = {name: placed(_known(entry), path.parent) for name, entry in values.items()}
        mixture = check(Mixture, {"sets": values}, str(path))
        check_places(mixture, str(path))
        sets = mixture.sets
    if not sets:
        raise ConfigError("mixture has no data set; give at least one with its annotation file")
    for name, entry in sets.items():
        if not os.path.isfile(entry.annotation):  # unlike Path's, it answers whatever the name is
            raise ConfigError(f"mixture.{name}.annotation: {entry.annotation} does not exist; fix the path")
    return dict(sets)


def unused_keys(config: TrainConfig) -> str:
    """One sentence on what a meta JSON file says that this training does not use; "" if it uses everything.

    InternVL's files have keys for its own data sets and code (`conv_style`, `min_dynamic_patch`, …). In a config, which
    is written for this command, an unknown key is an error instead.
    """
    values = _read_meta(config.mixture) if isinstance(config.mixture, Path) else {}
    sets = [entry for entry in values.values() if isinstance(entry, dict)] if isinstance(values, dict) else []
    counts = Counter(key for entry in sets for key in entry if key not in MixtureEntry.model_fields)
    listed = ", ".join(f"{key} (in {count:,} of {len(sets):,} sets)" for key, count in sorted(counts.items()))
    return f"mixture {config.mixture}: not used: {listed}" if counts else ""


def _read_meta(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"mixture {path} does not exist; give a meta JSON file or the data sets themselves")
    return read_json(path)


def _known(entry: Any) -> Any:
    """A set's settings without the keys that no setting here has."""
    return {key: entry[key] for key in entry if key in MixtureEntry.model_fields} if isinstance(entry, dict) else entry


def repeat_times(sizes: Mapping[str, int], ratios: Mapping[str, float]) -> dict[str, float]:
    """`repeat_time` of every data set such that a sample is from it with probability ratio / sum of ratios.

    An epoch has as many samples as all sets together. Raises ConfigError if a set is empty or has no ratio.
    """
    for name, size in sizes.items():
        if size < 1 or ratios.get(name, 0) <= 0:
            raise ConfigError(f"mixture.{name}: {size} samples, ratio {ratios.get(name)}; both must be above 0")
    total, share = sum(sizes.values()), sum(ratios[name] for name in sizes)
    return {name: ratios[name] / share * total / size for name, size in sizes.items()}


def draw(
    sets: dict[str, MixtureEntry], max_tiles: int, seed: int, whole_sets: bool = False
) -> tuple[list[Conversation], Counter[tuple[str, str]]]:
    """Conversations to train on, and (data set, reason) → number of skipped samples. A `ratio` replaces `repeat_time`.

    A `repeat_time` below 1 samples that fraction of the lines (seeded by `seed` and the set's name); above 1, every
    line is used as often as its integer part says, and a sampled fraction of the lines once more.
    With `whole_sets`, sets with a ratio are used whole, each line once: the batches are drawn by their ratios instead.
    Raises ConfigError if a set's number of samples is not its `length`.
    """
    conversations: list[Conversation] = []
    skipped: Counter[tuple[str, str]] = Counter()
    sizes = {name: sum(1 for _ in json_rows(entry.annotation)) for name, entry in sets.items()}
    for name, entry in sets.items():
        if entry.length not in (None, sizes[name]):
            raise ConfigError(
                f"mixture.{name}.length is {entry.length:,}, but {entry.annotation} has {sizes[name]:,} samples; "
                "fix the number or remove it, or get the complete file"
            )
    ratios = {name: entry.ratio for name, entry in sets.items() if entry.ratio is not None}
    times = repeat_times(sizes, ratios) if ratios else {name: entry.repeat_time for name, entry in sets.items()}
    if ratios and whole_sets:
        times = dict.fromkeys(sets, 1.0)
    for name, entry in sets.items():
        copies = _copies(sizes[name], times[name], f"{seed}:{name}")
        for number, row in enumerate(json_rows(entry.annotation)):
            if not copies[number]:
                continue
            try:
                conversation = parse(row.read(repair=False), name, entry, max_tiles)
            except NotText as error:
                skipped[name, str(error)] += copies[number]
            except BrokenJson:
                skipped[name, "not an annotation line"] += copies[number]
            except SampleError as error:
                skipped[name, str(error)] += copies[number]
            else:
                conversations.append(replace(conversation, copies=copies[number]))
    return conversations, skipped


def parse(values: Any, dataset: str, entry: MixtureEntry, max_tiles: int) -> Conversation:
    """One annotation line's value as a Conversation. Raises SampleError with the reason if it cannot be used."""
    turns = read_turns(values)
    names = read_images(values)
    tags = sum(text.count(IMAGE_TAG) for role, text in turns if role == "user")
    if names and not tags:  # as in InternVL: images without tags go before the first question
        turns, tags = _with_tags(turns, len(names)), len(names)
    if tags != len(names):
        raise SampleError("different numbers of image tags and images")
    answers = [text.strip() for role, text in turns if role == "assistant"]
    if not any(answers):
        raise SampleError("no answer to train on")
    if not all(answers):
        raise SampleError("an answer is empty")
    images = tuple(entry.root / name for name in names)
    augment = ("jpeg",) * entry.data_augment + ((entry.augment,) if entry.augment else ())
    more = values.get("alternatives")
    alternatives = None if more is None else _alternatives(more, [role for role, _ in turns], len(names))
    tiles = entry.max_dynamic_patch or max_tiles
    return Conversation(dataset, turns, images, tiles, augment, alternatives=alternatives)


def draw_again(conversation: Conversation, seed: str) -> Conversation:
    """The conversation with one of its alternatives, the same for the same seed; itself if it has none."""
    found = conversation.alternatives
    if found is None:
        return conversation
    generator = random.Random(seed)
    human = generator.choice(found.human)
    (answer,) = generator.choices(found.answers, found.weights)
    texts = {"user": human.replace(ANSWER_TAG, answer), "assistant": found.gpt.replace(ANSWER_TAG, answer)}
    return replace(conversation, turns=tuple((role, texts.get(role, text)) for role, text in conversation.turns))


def _alternatives(values: Any, roles: list[str], images: int) -> Alternatives:
    try:
        found = Alternatives(
            tuple(sys.intern(text) for text in values["human"]),  # many lines have the same wordings
            values["gpt"],
            tuple(text.strip() for text in values["answers"]),
            tuple(float(weight) for weight in values["weights"]),
        )
        fits = (
            [role for role in roles if role != "system"] == ["user", "assistant"]
            and bool(found.human)
            and all(text.count(IMAGE_TAG) == images for text in found.human)
            and all(found.answers)
            and len(found.answers) == len(found.weights)
            and all(math.isfinite(weight) and weight > 0 for weight in found.weights)
            and bool(found.gpt.strip())
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        fits = False
    if not fits:
        raise SampleError("alternatives do not fit the conversation")
    return found


def messages(turns: Iterable[tuple[str, str]]) -> list[Message]:
    """The turns, as (role, text), as a request has them: an image for every tag of a question, and the text between.

    An answer loses white space before it: where a whole prompt is tokenized, it would join the template's line break in
    one token that is never learned.
    """
    return [_message(role, text) for role, text in turns]


def _message(role: str, text: str) -> Message:
    if role == "user":
        return Message("user", tuple(_parts(text)))
    return Message("assistant", (text.lstrip(),)) if role == "assistant" else Message("system", (text,))


def _parts(text: str) -> Iterator[str | Image]:
    for number, piece in enumerate(text.split(IMAGE_TAG)):
        if number:
            yield Image("", "")
        if piece:
            yield piece


def _with_tags(turns: tuple[tuple[str, str], ...], count: int) -> tuple[tuple[str, str], ...]:
    first = next((number for number, (role, _) in enumerate(turns) if role == "user"), None)
    if first is None:
        raise SampleError("different numbers of image tags and images")
    question = ("user", f"{IMAGE_TAG}\n" * count + turns[first][1])
    return (*turns[:first], question, *turns[first + 1 :])


def _copies(count: int, repeat_time: float, seed: str) -> list[int]:
    whole, share = divmod(repeat_time, 1)
    copies = [int(whole)] * count
    for number in random.Random(seed).sample(range(count), round(share * count)):
        copies[number] += 1
    return copies
