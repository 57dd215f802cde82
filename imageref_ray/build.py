"""`imageref build`: documents with pictures → training set, by the ImageRef-VL method.

source ─▶ verify pictures ─▶ respond ─▶ caption ─▶ place ─▶ check the contract ─▶ records ─▶ training set
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray import commit, engines, manifest, markdown, prompts
from imageref_ray.config import BuildConfig, ConfigError, StageConfig
from imageref_ray.engines.base import Generate, Sampling
from imageref_ray.export import VARIANTS, answer, export
from imageref_ray.progress import closing_table
from imageref_ray.prompts import CaptionExample, Pack, PlaceExample
from imageref_ray.records import Failure, Record, Sample, from_row, to_row
from imageref_ray.sources import paper
from imageref_ray.sources.images import verify_sample
from imageref_ray.stages.caption import caption
from imageref_ray.stages.place import place
from imageref_ray.stages.respond import respond
from imageref_ray.worker import Pass, Row, stage


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


def build(config: BuildConfig, console: Console | None = None) -> dict[str, Any]:
    """Build, or go on with, the training set in `config.output`; returns the run's summary.

    Keys: records, quarantined, problems, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens,
    tokens_per_second, seconds, files. Raises ConfigError for what the user can mend, EngineError when the engine fails.
    """
    console = console or Console()
    engines.check(config.engine)
    made = recipe(config)
    found = list(paper.read(config.source.root, config.source.events, config.source.limit))
    settings = fingerprint_settings(config, made)
    finished = manifest.begin(config.output, settings)
    if finished is not None:
        console.print(f"{config.output} is done: {finished['records']} records, nothing left to do", highlight=False)
        return finished
    samples = [sample for sample in found if isinstance(sample, Sample)]
    early = [failure for failure in found if isinstance(failure, Failure)]
    from imageref_ray.pipeline import run_pass

    outcome = run_pass(_task(config, made), [{"id": s.id, "sample": to_row(s)} for s in samples], early)
    done = {result.id: from_row(Record, result.row) for result in commit.results(config.output)}
    records = [done[sample.id] for sample in samples if sample.id in done]
    outcome["files"] = export(
        config.output / "dataset", records, config.source.root, made.pack, _facts(config, settings, outcome)
    )
    manifest.finish(config.output, config.model_dump(mode="json"), settings, outcome)
    console.print(closing_table(f"build: {config.output}", outcome))
    return outcome


def recipe(config: BuildConfig) -> Recipe:
    """The prompt pack, sampling and examples of a build. Raises ConfigError for files that cannot be used."""
    pack = prompts.load_pack(config.prompts)
    shown = config.examples if pack.examples else 0
    captions = _read(config.caption_examples, "caption_examples")[:shown] if config.caption_examples else []
    places = _read(config.place_examples, "place_examples")[:shown] if config.place_examples else []
    return Recipe(
        pack,
        respond=_sampling(config.respond),
        caption=_sampling(config.caption),
        place=_sampling(config.place),
        context_tokens=config.context_tokens,
        caption_examples=tuple(_caption_example(config.source.root, entry) for entry in captions),
        place_examples=tuple(_place_examples(config.source.root / config.source.events, places)),
    )


def fingerprint_settings(config: BuildConfig, made: Recipe) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, time-outs, output or commit intervals."""
    source = config.source
    stages = {name: getattr(config, name).model_dump() for name in ("respond", "caption", "place")}
    return {
        "engine": manifest.engine_settings(config.engine),
        "prompts": {"name": made.pack.name, "content": _digest(made.pack.model_dump())},
        "examples": _digest([[to_row(e) for e in made.caption_examples], [to_row(e) for e in made.place_examples]]),
        "sampling": {**stages, "context_tokens": config.context_tokens},
        "source": {
            "kind": source.kind,
            "events": manifest.content_identity(source.root / source.events),
            **source.model_dump(include={"limit", "max_image_bytes", "max_image_pixels"}),
        },
        "max_images": config.max_images,
    }


def verify(row: Row, max_bytes: int, max_pixels: int, max_images: int) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: pictures verified, bad ones left out; the record fails without any or with too many."""
    sample, failures = verify_sample(from_row(Sample, row["sample"]), max_bytes, max_pixels)
    count = len(sample.images)
    if count == 0:
        failures += (Failure(sample.id, "verify", "NoImages", "no usable picture is left"),)
    if count > max_images:
        message = f"{count} images, more than the {max_images} of max_images"
        failures += (Failure(sample.id, "verify", "TooManyImages", message),)
    return {**row, "sample": to_row(sample)}, failures


async def annotate(row: Row, generate: Generate, recipe: Recipe) -> Row:
    """One record through all stages; raises ValueError (ParseError, RequestError) when one of them fails."""
    record = Record(from_row(Sample, row["sample"]))
    with stage("respond"):
        record = await respond(record, generate, recipe.pack, recipe.respond)
    with stage("caption"):
        record = await caption(
            record, generate, recipe.pack, recipe.caption, recipe.caption_examples, recipe.context_tokens
        )
    with stage("place"):
        record = await place(record, generate, recipe.pack, recipe.place, recipe.place_examples)
    with stage("assemble"):
        for variant in VARIANTS:
            if breaches := markdown.check(answer(record, variant), record.sample):
                told = "; ".join(breach.message for breach in breaches)
                raise ValueError(f"the answer breaks the reference contract: {told}")
    return to_row(record)


def _task(config: BuildConfig, made: Recipe) -> Pass:
    source = config.source
    return Pass(
        name="build",
        directory=config.output,
        work=partial(annotate, recipe=made),
        engine=config.engine,
        prepare=partial(
            verify,
            max_bytes=source.max_image_bytes,
            max_pixels=source.max_image_pixels,
            max_images=config.max_images,
        ),
        commit_records=config.commit_records,
        commit_seconds=config.commit_seconds,
    )


def _sampling(config: StageConfig) -> Sampling:
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


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _facts(config: BuildConfig, settings: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": f"{config.source.kind} layout, {config.source.root.name}/{config.source.events}",
        "model": Path(config.engine.model).name,
        "engine": config.engine.kind,
        "prompt pack": config.prompts,
        "fingerprint": manifest.fingerprint(settings),
        "quarantined records": outcome["quarantined"],
        "problems": ", ".join(f"{count} {error}" for error, count in outcome["problems"].items()) or "none",
    }
