"""A build's work on its records, pass by pass: records in, annotated records on disk.

verify pictures ─▶ respond ─▶ caption ─▶ place ─▶ check the contract
                 └── consecutive stages on one engine are one pass ──┘
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from imageref_ray import engines, sources
from imageref_ray.batch import store
from imageref_ray.batch.budget import Cost, gpu_seconds
from imageref_ray.batch.job import pass_of
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.commands.annotation.stage_inputs import Recipe
from imageref_ray.core import markdown, tokens
from imageref_ray.core.config import BuildConfig, EngineConfig, SourceConfig
from imageref_ray.core.records import Failure, Record, Usage, from_row, to_row
from imageref_ray.dataset.export import VARIANTS, answer
from imageref_ray.engines.base import Generate
from imageref_ray.sources.prepare_images import prepare_images
from imageref_ray.stages.caption import caption
from imageref_ray.stages.place import place
from imageref_ray.stages.respond import respond

STAGES = ("respond", "caption", "place")


def records(config: BuildConfig) -> Iterator[Record | Failure]:
    """What there is to build and what of the source could not be read, one after the other, read anew by every call.

    Raises ConfigError before anything is paid.
    """
    for _, engine, _ in passes(config):
        engines.check(engine)
    return sources.read(config.source)


def passes(config: BuildConfig) -> list[tuple[Path, EngineConfig, tuple[str, ...]]]:
    """Where each pass commits, its engine and its stages: consecutive stages on equal engines share one pool.

    The last pass commits to the run itself, those before it to folders of the run.
    """
    wanted = [(getattr(config, name).engine or config.engine, name) for name in STAGES]
    grouped = itertools.groupby(wanted, lambda pair: pair[0])
    plan = [(engine, tuple(name for _, name in group)) for engine, group in grouped]
    folders = [config.output / "passes" / f"{n}-{'-'.join(stages)}" for n, (_, stages) in enumerate(plan[:-1], 1)]
    return [(folder, *one) for folder, one in zip([*folders, config.output], plan, strict=True)]


def run_passes(
    config: BuildConfig,
    made: Recipe,
    chosen: Iterable[Record | Failure],
    again: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """All passes over these records: the results of one are the rows of the next, its failures are the next one's too.

    Returns the summary of all.
    """
    from imageref_ray.batch.ray_data import run_pass, summary

    rows: Iterable[Row | Failure] = map(_row, chosen)
    paid = Cost()
    for directory, engine, stages in passes(config):
        run_pass(_task(config, made, directory, engine, stages, paid), rows, again)
        results = ({"id": result.id, "record": result.row} for result in store.results(directory))
        failures = (dataclasses.replace(failure, usage=Usage()) for failure in store.failures(directory))
        rows = itertools.chain(failures, results)
        paid = Cost(paid.usage + store.spent(directory), paid.seconds + gpu_seconds(directory, engine))
    return summary(config.output, [directory for directory, _, _ in passes(config)[:-1]])


def _row(found: Record | Failure) -> Row | Failure:
    return found if isinstance(found, Failure) else {"id": found.id, "record": to_row(found)}


def verify(row: Row, source: SourceConfig, folder: Path, max_images: int) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: pictures fetched and verified, bad ones left out; the record fails without any or with too many."""
    record = from_row(Record, row["record"])
    sample, failures = prepare_images(record.sample, source, folder)
    count = len(sample.images)
    if count == 0:
        failures += (Failure(sample.id, "verify", "NoImages", "no usable picture is left"),)
    if count > max_images:
        message = f"{count} images, more than the {max_images} of max_images"
        failures += (Failure(sample.id, "verify", "TooManyImages", message),)
    return {**row, "record": to_row(dataclasses.replace(record, sample=sample))}, failures


async def annotate(row: Row, generate: Generate, recipe: Recipe, stages: Sequence[str] = STAGES) -> Row:
    """One record through these stages; raises ValueError (ParseError, RequestError) when one of them fails.

    A record that brings its response keeps it.
    """
    record = from_row(Record, row["record"])
    for name in stages:
        with stage(name):
            match name:
                case "respond" if not record.response:
                    record = await respond(record, generate, recipe.pack, recipe.respond)
                case "caption":
                    record = await caption(
                        record,
                        generate,
                        recipe.pack,
                        recipe.caption,
                        recipe.caption_examples,
                        recipe.context_tokens,
                        tokens.counter(recipe.tokenizer),
                    )
                case "place":
                    record = await place(
                        record, generate, recipe.pack, recipe.place, recipe.place_examples, recipe.analysis_words
                    )
                    _hold(record)
    return to_row(record)


def _hold(record: Record) -> None:
    """The reference contract over both variants of the answer; raises ValueError with every breach."""
    with stage("assemble"):
        for variant in VARIANTS:
            if breaches := markdown.check(answer(record, variant), record.sample):
                told = "; ".join(breach.message for breach in breaches)
                raise ValueError(f"the answer breaks the reference contract: {told}")


def weight(row: Row) -> float:
    """How long a record's prompts are, roughly, in tokens: four characters a token, 256 tokens an image."""
    sample = from_row(Record, row["record"]).sample
    return sum(len(document.text) for document in sample.documents) / 4 + 256 * len(sample.images)


def _task(
    config: BuildConfig, made: Recipe, directory: Path, engine: EngineConfig, stages: tuple[str, ...], paid: Cost
) -> Pass:
    images = partial(verify, source=config.source, folder=config.output / "images", max_images=config.max_images)
    return pass_of(
        config,
        "build" if stages == STAGES else f"build: {', '.join(stages)}",
        partial(annotate, recipe=made, stages=stages),
        prepare=images if stages[0] == STAGES[0] else None,
        weight=weight,
        engine=engine,
        directory=directory,
        before=paid,
        replies=config.cache,
    )
