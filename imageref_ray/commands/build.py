"""`imageref build`: documents with pictures → training set, by the ImageRef-VL method.

source ─▶ passes.py: verify, respond, caption, place ─▶ records ─▶ export: training set
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
from imageref_ray.commands.annotation.stage_inputs import Recipe, recipe
from imageref_ray.commands.plan import compare
from imageref_ray.core.config import BuildConfig
from imageref_ray.core.records import Failure, Record, from_row
from imageref_ray.dataset.export import Origin, Target, export, make_target

DATASET = "dataset"
"""Where in a run the training set is."""


def build(config: BuildConfig, console: Console | None = None, again: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Build, or finish building, the training set in `config.output`; returns the run's summary.

    Records in the quarantine stay there, except those whose ids are in `again`. A finished run under other settings of
    `export` writes the new files from its records, without any engine. Keys of the summary: records, quarantined,
    problems, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens, tokens_per_second, seconds, files.
    Raises as `run_job`.
    """
    made = recipe(config)
    to = make_target(config.source.root, made.pack, config.export)
    found, ids = records(config), list[str]()
    settings = fingerprint_settings(config, made)
    read = partial(_records, config.output, ids)

    def finish(run: Summary) -> Summary:
        origin = _origin(config, settings, run, manifest.git_revision())
        summary = {**run, "files": export(config.output / DATASET, read, to, origin)}
        off = compare(config, ids)
        return summary if off is None else {**summary, "plan": off}

    def repeat(done: Summary, console: Console) -> Summary:
        ids.extend(record.id for record in found if isinstance(record, Record))
        return _export_again(config, settings, read, to, console)

    job = Job(
        config,
        settings,
        run=lambda: run_passes(config, made, _noting(found, ids), again),
        finish=finish,
        show=lambda summary, console: console.print(closing_table(f"build: {config.output}", summary)),
        repeat=repeat,
    )
    return run_job(job, console)


def _export_again(
    config: BuildConfig, settings: dict[str, Any], read: Callable[[], Iterator[Record]], to: Target, console: Console
) -> dict[str, Any]:
    """A finished run's summary; where its settings of `export` were others or a file is gone, after writing anew.

    What the earlier settings wrote and these do not is removed: it may hold what a split now keeps for tests.
    """
    held = manifest.finished(config.output)
    done, wanted, folder = held["summary"], config.export.model_dump(mode="json"), config.output / DATASET
    before = {Path(path).name for path in done["files"].values()}
    changed = sorted(f"export.{key}" for key, value in wanted.items() if held["config"]["export"].get(key) != value)
    gone = sorted(name for name in before if not (folder / name).is_file())
    if not changed and not gone:
        return nothing_left(config, "records", done, console)
    files = export(folder, read, to, _origin(config, settings, done, held["git"]))
    written = {Path(path).name for path in files.values()}
    for name in (stale := sorted(before - written)):
        (folder / name).unlink(missing_ok=True)
    summary = {**done, "files": files}
    manifest.exported(config.output, wanted, summary)
    why = f"{', '.join(changed)} changed" if changed else f"{', '.join(gone)} was gone"
    line = f"{config.output} is done: {done['records']} records; {why}: wrote {', '.join(sorted(written))} from them, "
    line += "without any engine" + (f"; removed {', '.join(stale)}" if stale else "")
    console.print(line, highlight=False, soft_wrap=True)
    return summary


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


def _noting(found: Iterable[Record | Failure], ids: list[str]) -> Iterator[Record | Failure]:
    """The same, the records' ids put into `ids` as they pass: all that is kept of a source that may be large."""
    for one in found:
        if isinstance(one, Record):
            ids.append(one.id)
        yield one


def _records(directory: Path, ids: Sequence[str]) -> Iterator[Record]:
    return (from_row(Record, result.row) for result in store.results_of(directory, ids))


def _origin(config: BuildConfig, settings: dict[str, Any], summary: dict[str, Any], code: str | None) -> Origin:
    """What the dataset card says of the run; `code` is the revision that made the records."""
    facts = {
        "source": f"{config.source.kind}: {config.source.root.name}",
        "model": f"{Path(config.engine.model).name} {settings['engine'].get('files', '')}".strip(),
        "engine": config.engine.kind,
        "prompt pack": " ".join(settings["prompts"].values()),
        "fingerprint": manifest.fingerprint(settings),
        "code": code or "released package",
    }
    return Origin(facts, summary["quarantined"], summary["problems"])
