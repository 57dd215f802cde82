"""`imageref build`: documents with images → training set, by the ImageRef-VL method.

source ─▶ annotation/passes.py: verify, respond, caption, place ─▶ records ─▶ export: training set
inputs ───────────────────────────┘ results of stages that are left out

A build that stops before the images are placed exports only the files of its stages, for the build that goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray import sources
from imageref_ray.batch import manifest, store
from imageref_ray.batch.budget import bill
from imageref_ray.batch.job import Job, Summary, nothing_left, run_job
from imageref_ray.batch.progress import closing_table, unreported
from imageref_ray.commands.annotation.example_files import identity
from imageref_ray.commands.annotation.input_files import open_inputs
from imageref_ray.commands.annotation.passes import passes, records, run_passes
from imageref_ray.commands.annotation.stage_inputs import Recipe, make_recipe
from imageref_ray.commands.plan import compare
from imageref_ray.core.config import BuildConfig, ExportConfig, Format, Stage
from imageref_ray.core.records import Failure, Record, Usage, from_row
from imageref_ray.dataset.export import Origin, Target, export, make_target

DATASET = "dataset"
"""The training set's folder in the run directory."""

FILE_OF: dict[Stage, Format] = {"respond": "responses", "caption": "captions", "place": "insertion"}
"""Stage → the export format with its results, which another build takes as `inputs`."""


def build(config: BuildConfig, console: Console | None = None, again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Build the training set in `config.output`, or resume building it; returns the run's summary.

    Records in the quarantine stay there, except those whose ids are in `again`. Where a run is finished and only its
    settings of `export` have changed, the new files are written from its records, without any engine. Keys of the
    summary: records, quarantined, problems, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens,
    tokens_per_second, seconds, files, `money` and `currency` where there are prices, `unreported` if the engine's
    endpoint does not count images or cached tokens.
    Raises as `run_job`.
    """
    recipe, inputs = make_recipe(config), open_inputs(config.inputs)
    export_target = make_target(config.source.root, recipe.pack, _export_config(config))
    items, ids = records(config, inputs), list[str]()
    settings = fingerprint_settings(config, recipe)
    read_records = partial(_read_records, config.output, ids)

    def finish(run: Summary) -> Summary:
        origin = _origin(config, settings, run, manifest.git_revision())
        engines = [(directory, engine) for directory, engine, _ in passes(config)]
        run |= unreported(run, (engine for _, engine in engines))
        run |= bill(config.prices, from_row(Usage, run), engines)
        summary = {**run, "files": export(config.output / DATASET, read_records, export_target, origin)}
        deviations = compare(config, ids)
        return summary if deviations is None else {**summary, "plan": deviations}

    def repeat(_: Summary, console: Console) -> Summary:
        ids.extend(item.id for item in items if isinstance(item, Record))
        return _export_again(config, settings, read_records, export_target, console)

    job = Job(
        config,
        settings,
        run=lambda: run_passes(config, recipe, _collect_ids(items, ids), inputs, again),
        finish=finish,
        show=lambda summary, console: console.print(closing_table(f"build: {config.output}", summary)),
        repeat=repeat,
    )
    return run_job(job, console)


def _export_config(config: BuildConfig) -> ExportConfig:
    """The settings of the export; without a result of every stage the files of the stages that ran, and no split: the
    next build reads them whole."""
    if not config.missing():
        return config.export
    formats = tuple(FILE_OF[stage] for stage in config.stages)
    return config.export.model_copy(update={"formats": formats, "split": None, "tokenizer": None})


def _export_again(
    config: BuildConfig,
    settings: dict[str, Any],
    read_records: Callable[[], Iterator[Record]],
    export_target: Target,
    console: Console,
) -> dict[str, Any]:
    """A finished run's summary. Exports its records again where settings of `export` changed, a file is missing, or the
    last export was interrupted."""
    finished = manifest.finished(config.output)
    summary, export_settings = finished["summary"], config.export.model_dump(mode="json")
    folder, old_settings = config.output / DATASET, finished["config"]["export"]
    old_files = {Path(path).name for path in summary["files"].values()}
    changed = sorted(f"export.{key}" for key, value in export_settings.items() if old_settings.get(key) != value)
    missing = sorted(name for name in old_files if not (folder / name).is_file())
    interrupted = "revising" in finished
    if not (changed or missing or interrupted):
        return nothing_left(config, "records", summary, console)
    manifest.begin_revision(config.output)
    there = {path.name for path in folder.glob("*")}
    files = export(folder, read_records, export_target, _origin(config, settings, summary, finished["git"]))
    new_files = {Path(path).name for path in files.values()}
    stale = sorted(there - {path.name for path in folder.iterdir()})
    summary = {**summary, "files": files}
    manifest.revise(config.output, {"export": export_settings}, summary)
    reason = f"{', '.join(changed)} changed" if changed else f"missing: {', '.join(missing)}"
    reason = "the last export was interrupted" if interrupted else reason
    line = f"{config.output} is done: {summary['records']} records; {reason}; wrote {', '.join(sorted(new_files))} "
    line += "from the records, without any engine" + (f"; removed {', '.join(stale)}" if stale else "")
    console.print(line, highlight=False, soft_wrap=True)
    return summary


def fingerprint_settings(config: BuildConfig, recipe: Recipe) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, timeouts, output or commit intervals."""
    sampling = {name: getattr(config, name).model_dump(exclude={"engine"}) for name in config.stages}
    context = {"context_tokens": config.context_tokens} if "caption" in config.stages else {}
    refused = {} if config.refused_images == "leave_out" else {"refused_images": config.refused_images}
    annotators = {"+".join(names): manifest.engine_settings(engine) for _, engine, names in passes(config) if names}
    return {
        "job": "build",
        "engine": annotators if len(annotators) != 1 else next(iter(annotators.values())),
        "prompts": {"name": recipe.pack.name, "content": manifest.digest(recipe.pack.model_dump())},
        "examples": manifest.digest([identity(recipe.caption_examples), identity(recipe.place_examples)]),
        "sampling": {**sampling, **context},
        "inputs": {name: manifest.content_identity(path) for name, path in config.inputs.given().items()},
        "source": {
            "samples": sources.identity(config.source),
            **config.source.model_dump(mode="json", exclude={"root", "fetch", "labels", "exclude"}),
        },
        "max_images": config.max_images,
        **refused,
    }


def _collect_ids(items: Iterable[Record | Failure], ids: list[str]) -> Iterator[Record | Failure]:
    """Yields the same items and appends the records' ids to `ids`: a source may be too large to keep more of it."""
    for item in items:
        if isinstance(item, Record):
            ids.append(item.id)
        yield item


def _read_records(directory: Path, ids: Sequence[str]) -> Iterator[Record]:
    return (from_row(Record, result.row) for result in store.results_of(directory, ids))


def _origin(
    config: BuildConfig, settings: dict[str, Any], summary: dict[str, Any], revision: str | None
) -> Origin | None:
    """The run's facts for the dataset card, None where it made no dataset; `revision` is the git revision that made the
    records."""
    if config.missing():
        return None
    annotators = [engine for _, engine, names in passes(config) if names]
    models, files = _listed(Path(one.model).name for one in annotators), settings["engine"].get("files", "")
    facts = {
        "source": f"{config.source.kind}: {config.source.root.name}",
        "model": f"{models} {files}".strip() or "none",
        "engine": _listed(one.kind for one in annotators) or "none",
        **{name: f"{path.name} {settings['inputs'][name]}" for name, path in config.inputs.given().items()},
        "prompt pack": " ".join(settings["prompts"].values()),
        "fingerprint": manifest.fingerprint(settings),
        "code": revision or "released package",
    }
    return Origin(facts, summary["quarantined"], summary["problems"], tuple(config.inputs.given()))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
