"""`imageref build`: documents with images → training set, by the ImageRef-VL method.

source ─▶ annotation/passes.py: verify, respond, caption, place ─▶ records ─▶ export: training set
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray import sources
from imageref_ray.batch import manifest, store
from imageref_ray.batch.job import Job, Summary, nothing_left, run_job
from imageref_ray.batch.progress import closing_table
from imageref_ray.commands.annotation.example_files import identity
from imageref_ray.commands.annotation.passes import STAGES, passes, records, run_passes
from imageref_ray.commands.annotation.stage_inputs import Recipe, make_recipe
from imageref_ray.commands.plan import compare
from imageref_ray.core.config import BuildConfig
from imageref_ray.core.records import Failure, Record, from_row
from imageref_ray.dataset.export import Origin, Target, export, make_target

DATASET = "dataset"
"""The training set's folder in the run directory."""


def build(config: BuildConfig, console: Console | None = None, again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Build the training set in `config.output`, or resume building it; returns the run's summary.

    Records in the quarantine stay there, except those whose ids are in `again`. Where a run is finished and only its
    settings of `export` have changed, the new files are written from its records, without any engine. Keys of the
    summary: records, quarantined, problems, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens,
    tokens_per_second, seconds, files. Raises as `run_job`.
    """
    recipe = make_recipe(config)
    export_target = make_target(config.source.root, recipe.pack, config.export)
    items, ids = records(config), list[str]()
    settings = fingerprint_settings(config, recipe)
    read_records = partial(_read_records, config.output, ids)

    def finish(run: Summary) -> Summary:
        origin = _origin(config, settings, run, manifest.git_revision())
        summary = {**run, "files": export(config.output / DATASET, read_records, export_target, origin)}
        deviations = compare(config, ids)
        return summary if deviations is None else {**summary, "plan": deviations}

    def repeat(_: Summary, console: Console) -> Summary:
        ids.extend(item.id for item in items if isinstance(item, Record))
        return _export_again(config, settings, read_records, export_target, console)

    job = Job(
        config,
        settings,
        run=lambda: run_passes(config, recipe, _collect_ids(items, ids), again),
        finish=finish,
        show=lambda summary, console: console.print(closing_table(f"build: {config.output}", summary)),
        repeat=repeat,
    )
    return run_job(job, console)


def _export_again(
    config: BuildConfig,
    settings: dict[str, Any],
    read_records: Callable[[], Iterator[Record]],
    export_target: Target,
    console: Console,
) -> dict[str, Any]:
    """A finished run's summary. Exports its records again where settings of `export` changed or a file is missing.

    Files of the earlier settings that these do not write are removed: they may hold what is now in the test split.
    """
    finished = manifest.finished(config.output)
    summary, export_settings = finished["summary"], config.export.model_dump(mode="json")
    folder, old_settings = config.output / DATASET, finished["config"]["export"]
    old_files = {Path(path).name for path in summary["files"].values()}
    changed = sorted(f"export.{key}" for key, value in export_settings.items() if old_settings.get(key) != value)
    missing = sorted(name for name in old_files if not (folder / name).is_file())
    if not changed and not missing:
        return nothing_left(config, "records", summary, console)
    files = export(folder, read_records, export_target, _origin(config, settings, summary, finished["git"]))
    new_files = {Path(path).name for path in files.values()}
    for name in (stale := sorted(old_files - new_files)):
        (folder / name).unlink(missing_ok=True)
    summary = {**summary, "files": files}
    manifest.revise(config.output, {"export": export_settings}, summary)
    reason = f"{', '.join(changed)} changed" if changed else f"missing: {', '.join(missing)}"
    line = f"{config.output} is done: {summary['records']} records; {reason}; wrote {', '.join(sorted(new_files))} "
    line += "from the records, without any engine" + (f"; removed {', '.join(stale)}" if stale else "")
    console.print(line, highlight=False, soft_wrap=True)
    return summary


def fingerprint_settings(config: BuildConfig, recipe: Recipe) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, timeouts, output or commit intervals."""
    stages = {name: getattr(config, name).model_dump(exclude={"engine"}) for name in STAGES}
    annotators = {"+".join(names): manifest.engine_settings(engine) for _, engine, names in passes(config)}
    return {
        "job": "build",
        "engine": annotators if len(annotators) > 1 else manifest.engine_settings(config.engine),
        "prompts": {"name": recipe.pack.name, "content": manifest.digest(recipe.pack.model_dump())},
        "examples": manifest.digest([identity(recipe.caption_examples), identity(recipe.place_examples)]),
        "sampling": {**stages, "context_tokens": config.context_tokens},
        "source": {
            "samples": sources.identity(config.source),
            **config.source.model_dump(mode="json", exclude={"root", "fetch"}),
        },
        "max_images": config.max_images,
    }


def _collect_ids(items: Iterable[Record | Failure], ids: list[str]) -> Iterator[Record | Failure]:
    """Yields the same items and appends the records' ids to `ids`: a source may be too large to keep more of it."""
    for item in items:
        if isinstance(item, Record):
            ids.append(item.id)
        yield item


def _read_records(directory: Path, ids: Sequence[str]) -> Iterator[Record]:
    return (from_row(Record, result.row) for result in store.results_of(directory, ids))


def _origin(config: BuildConfig, settings: dict[str, Any], summary: dict[str, Any], revision: str | None) -> Origin:
    """The run's facts for the dataset card; `revision` is the git revision that made the records."""
    facts = {
        "source": f"{config.source.kind}: {config.source.root.name}",
        "model": f"{Path(config.engine.model).name} {settings['engine'].get('files', '')}".strip(),
        "engine": config.engine.kind,
        "prompt pack": " ".join(settings["prompts"].values()),
        "fingerprint": manifest.fingerprint(settings),
        "code": revision or "released package",
    }
    return Origin(facts, summary["quarantined"], summary["problems"])
