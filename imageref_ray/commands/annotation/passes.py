"""A build's passes: records in, annotated records on disk.

verify images, take results of left out stages from files ─▶ respond ─▶ caption ─▶ place ─▶ check the contract
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
from imageref_ray.batch import ledger, store
from imageref_ray.batch.budget import Cost, gpu_seconds
from imageref_ray.batch.job import pass_of
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.commands.annotation.attach import attach
from imageref_ray.commands.annotation.input_files import Inputs
from imageref_ray.commands.annotation.stage_inputs import Recipe
from imageref_ray.core import markdown, tokens
from imageref_ray.core.config import NO_ENGINE, STAGES, BuildConfig, EngineConfig, SourceConfig
from imageref_ray.core.records import Failure, Record, Usage, from_row, to_row
from imageref_ray.dataset.export import VARIANTS, answer
from imageref_ray.engines.base import Generate, Reply, Request
from imageref_ray.sources.prepare_images import prepare_images
from imageref_ray.stages.caption import caption
from imageref_ray.stages.place import place
from imageref_ray.stages.respond import respond


def nobody(request: Request) -> str:
    """The engine of a build without stages (`NO_ENGINE`)."""
    raise AssertionError("a build without stages asks no model")


def records(config: BuildConfig, inputs: Inputs) -> Iterator[Record | Failure]:
    """The source's records, and a failure for each entry of it and line of `inputs` that cannot be used; every call
    reads the source again. Raises ConfigError for an unusable engine, before any request is paid for.
    """
    for _, engine, _ in passes(config):
        engines.check(engine)
    return inputs.watch(sources.read(config.source))


def passes(config: BuildConfig) -> list[tuple[Path, EngineConfig, tuple[str, ...]]]:
    """Each pass's directory, engine and stages: consecutive stages on equal engines share one pool.

    The last pass commits to the run directory itself, earlier ones to directories inside it. Without stages there is
    one pass all the same, whose engine is never asked: it verifies, takes what files have, and checks.
    """
    engine_and_stage = [(getattr(config, name).engine or config.engine, name) for name in config.stages]
    groups = itertools.groupby(engine_and_stage, lambda pair: pair[0])
    pooled = [(engine, tuple(name for _, name in group)) for engine, group in groups] or [(NO_ENGINE, ())]
    earlier = [config.output / "passes" / f"{n}-{'-'.join(stages)}" for n, (_, stages) in enumerate(pooled[:-1], 1)]
    directories = [*earlier, config.output]
    return [(directory, engine, stages) for directory, (engine, stages) in zip(directories, pooled, strict=True)]


def run_passes(
    config: BuildConfig,
    recipe: Recipe,
    items: Iterable[Record | Failure],
    inputs: Inputs,
    again: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Run all passes: the results of each are the rows of the next, and its failures are carried along.

    Returns the summary over all passes. Quarantined records whose ids are in `again` are run again.
    """
    from imageref_ray.batch.ray_data import run_pass, summary

    rows: Iterable[Row | Failure] = map(partial(_to_pass_row, inputs=inputs), items)
    cost = Cost()
    for directory, engine, stages in passes(config):
        run_pass(_make_pass(config, recipe, directory, engine, stages, cost), rows, again)
        results = ({"id": result.id, "record": result.row} for result in store.results(directory))
        failures = (dataclasses.replace(failure, usage=Usage()) for failure in store.failures(directory))
        rows = itertools.chain(failures, results)
        spent = store.spent(directory) + ledger.lost(directory)
        cost = Cost(cost.usage + spent, cost.seconds + gpu_seconds(directory, engine))
    return summary(config.output, [directory for directory, _, _ in passes(config)[:-1]])


def _to_pass_row(item: Record | Failure, inputs: Inputs) -> Row | Failure:
    if isinstance(item, Failure):
        return item
    return {"id": item.id, "record": to_row(item), "found": inputs.find(item)}


def verify(
    row: Row, source: SourceConfig, folder: Path, max_images: int, left_out: Sequence[str] = ()
) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: fetch and verify the images, leave out bad ones; a record with none or too many of them fails.

    Then the results of the stages `left_out` are taken from what files have for the record (`found` in the row).
    """
    record = from_row(Record, row["record"])
    sample, failures = prepare_images(record.sample, source, folder)
    count = len(sample.images)
    if count == 0:
        failures += (Failure(sample.id, "verify", "NoImages", "no usable image is left"),)
    if count > max_images:
        message = f"{count} images, more than the {max_images} of max_images"
        failures += (Failure(sample.id, "verify", "TooManyImages", message),)
    verified = dataclasses.replace(record, sample=sample)
    if all(failure.item for failure in failures):
        verified, more = attach(verified, record.sample, row.get("found", {}), left_out)
        failures += more
    return {"id": row["id"], "record": to_row(verified)}, failures


async def annotate(row: Row, generate: Generate, recipe: Recipe, stages: Sequence[str] = STAGES) -> Row:
    """Run one record through these stages; raises ValueError (ParseError, RequestError) when one of them fails.

    A record that already has a response keeps it. One with placements is held to the reference contract. `left_out` in
    the row: failures of images that the engine refuses (`refused_images`), and of predictions that cannot be used.
    """
    record, left_out, shared = from_row(Record, row["record"]), list[Failure](), list[Usage]()
    generate = _counting_shared(generate, shared) if recipe.count_shared else generate
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
                        left_out if recipe.leave_out_refused else None,
                    )
                case "place":
                    examples, words = recipe.place_examples, recipe.analysis_words
                    record = await place(record, generate, recipe.pack, recipe.place, examples, words, left_out)
    if record.placements:
        _check_contract(record)
    more = {"left_out": [to_row(one) for one in left_out]} if left_out else {}
    return {**to_row(record), **more, **({"shared": to_row(sum(shared, Usage()))} if recipe.count_shared else {})}


def _counting_shared(generate: Generate, shared: list[Usage]) -> Generate:
    """`generate` that notes what each shared request cost: nothing where its reply was there already."""

    async def counted(request: Request) -> Reply:
        reply = await generate(request)
        shared.extend([reply.usage] if request.shared else [])
        return reply

    return counted


def _check_contract(record: Record) -> None:
    """Check both variants of the answer against the reference contract; raises ValueError with every breach."""
    with stage("assemble"):
        for variant in VARIANTS:
            if breaches := markdown.check(answer(record, variant), record.sample):
                messages = "; ".join(breach.message for breach in breaches)
                raise ValueError(f"the answer breaks the reference contract: {messages}")


def weight(row: Row) -> float:
    """A rough length of a record's prompts in tokens: four characters per token, 256 tokens per image."""
    sample = from_row(Record, row["record"]).sample
    return sum(len(document.text) for document in sample.documents) / 4 + 256 * len(sample.images)


def _make_pass(
    config: BuildConfig, recipe: Recipe, directory: Path, engine: EngineConfig, stages: tuple[str, ...], before: Cost
) -> Pass:
    prepare = partial(
        verify,
        source=config.source,
        folder=config.output / "images",
        max_images=config.max_images,
        left_out=config.left_out(),
    )
    return pass_of(
        config,
        "build" if stages == STAGES else f"build: {', '.join(stages) or 'assemble'}",
        partial(annotate, recipe=recipe, stages=stages),
        prepare=prepare if directory == passes(config)[0][0] else None,
        weight=weight,
        engine=engine,
        directory=directory,
        before=before,
        replies=config.cache,
    )
