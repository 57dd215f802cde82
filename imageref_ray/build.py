"""`imageref build`: documents with pictures → training set, by the ImageRef-VL method.

source ─▶ passes.py: verify, respond, caption, place ─▶ records ─▶ export: training set
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray import commit, manifest, sources
from imageref_ray.config import BuildConfig, ConfigError, check
from imageref_ray.examples import identity
from imageref_ray.export import Origin, export, target
from imageref_ray.passes import STAGES, passes, records, run_passes
from imageref_ray.plan import compare
from imageref_ray.progress import closing_table
from imageref_ray.recipe import Recipe, recipe
from imageref_ray.records import Record, from_row


def build(config: BuildConfig, console: Console | None = None, again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Build, or go on with, the training set in `config.output`; returns the run's summary.

    Records in the quarantine are left there, but for the ids in `again`. Keys of the summary: records, quarantined,
    problems, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens, tokens_per_second, seconds, files.
    Raises ConfigError for what the user can mend, EngineError when the engine fails, Stopped when it is told to end.
    """
    console = console or Console()
    made = recipe(config)
    to = target(config.source.root, made.pack, config.export)
    everything, early = records(config)
    settings = fingerprint_settings(config, made)
    finished = manifest.begin(config.output, settings, config.model_dump(mode="json"))
    if finished is not None:
        console.print(f"{config.output} is done: {finished['records']} records, nothing left to do", highlight=False)
        return finished
    outcome = run_passes(config, made, everything, early, again)
    read = partial(_records, config.output, [record.id for record in everything])
    outcome["files"] = export(config.output / "dataset", read, to, _origin(config, settings, outcome))
    if (off := compare(config, everything)) is not None:
        outcome["plan"] = off
    manifest.finish(config.output, config.model_dump(mode="json"), settings, outcome)
    console.print(closing_table(f"build: {config.output}", outcome))
    return outcome


def retry(
    run: Path, stage: str | None = None, error: str | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Run the quarantined records of a build once more, all or those of one stage or error; returns the summary.

    Raises ConfigError where none matches, and what `build` raises.
    """
    config = check(BuildConfig, manifest.held(run), str(run / "fingerprint.json"))
    whole = [failure for failure in commit.failures(run) if not failure.item]
    chosen = [f for f in whole if stage in (None, f.stage) and error in (None, f.error)]
    if not chosen:
        reasons = sorted({f"--stage {failure.stage} --error {failure.error}" for failure in whole})
        told = f"it has {'; '.join(reasons)}" if reasons else "its quarantine is empty"
        raise ConfigError(f"{run}: no quarantined record matches; {told}")
    manifest.reopen(run)
    return build(config.model_copy(update={"output": run}), console, frozenset(f.record_id for f in chosen))


def fingerprint_settings(config: BuildConfig, made: Recipe) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, time-outs, output or commit intervals."""
    stages = {name: getattr(config, name).model_dump(exclude={"engine"}) for name in STAGES}
    annotators = {"+".join(names): manifest.engine_settings(engine) for _, engine, names in passes(config)}
    return {
        "job": "build",
        "engine": annotators if len(annotators) > 1 else manifest.engine_settings(config.engine),
        "prompts": {"name": made.pack.name, "content": manifest.digest(made.pack.model_dump())},
        "examples": manifest.digest([identity(made.caption_examples), identity(made.place_examples)]),
        "sampling": {**stages, "context_tokens": config.context_tokens},
        "source": {
            "samples": sources.identity(config.source),
            **config.source.model_dump(mode="json", exclude={"root", "fetch"}),
        },
        "max_images": config.max_images,
    }


def _records(directory: Path, ids: Sequence[str]) -> Iterator[Record]:
    return (from_row(Record, result.row) for result in commit.results_of(directory, ids))


def _origin(config: BuildConfig, settings: dict[str, Any], outcome: dict[str, Any]) -> Origin:
    """What the dataset card says of the run."""
    facts = {
        "source": f"{config.source.kind}: {config.source.root.name}",
        "model": f"{Path(config.engine.model).name} {settings['engine'].get('files', '')}".strip(),
        "engine": config.engine.kind,
        "prompt pack": " ".join(settings["prompts"].values()),
        "fingerprint": manifest.fingerprint(settings),
        "code": manifest.git_revision() or "released package",
    }
    return Origin(facts, outcome["quarantined"], outcome["problems"])
