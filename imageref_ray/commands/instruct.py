"""`imageref instruct`: images → questions with draft answers → corrected against the image → training set (VIGC).

images, questions asked before ─▶ instruct_work.py: verify, ask, answer ─▶ instructions ─▶ vig, vic, vqg rows
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imageref_ray import engines
from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.budget import bill
from imageref_ray.batch.job import Job, Summary, nothing_left, pass_of, run_job
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.progress import closing_table, unreported
from imageref_ray.batch.worker import Pass
from imageref_ray.commands.instruct_work import annotate, prepare, to_work
from imageref_ray.core.config import ConfigError, ImagesConfig, InstructConfig
from imageref_ray.core.durable import make_folder
from imageref_ray.core.records import Failure, Image, Instruction, Usage, from_row, to_row
from imageref_ray.dataset.export.instruction_rows import RATIOS, as_questions, rows
from imageref_ray.dataset.mixture import repeat_times
from imageref_ray.dataset.mixture_paths import relative
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.sources import image_sets, question_files
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack, load_instruct, wording

IMAGES = "images"
"""The folder of downloaded images in the run directory."""

Questions = Mapping[str, Sequence[Instruction]]
"""Image id → the questions about it that were asked before."""


def instruct(
    config: InstructConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Generate the instructions in `config.output`, or resume; returns the run's summary, with `instructions`.

    Raises as `run_job`, and RunFailed also where too few of the instructions are usable.
    """
    engines.check(config.engine)
    pack = load_instruct(config.prompts)
    images, questions, failures = _inputs(config, pack)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        work = (to_work(image, questions[image.id] if questions else None) for image in images)
        return run_pass(_make_pass(config, pack), chain(failures, work), again)

    def finish(summary: Summary) -> Summary:
        counts = count_instructions(instructions(config.output))
        summary |= unreported(summary, [config.engine])
        summary |= bill(config.prices, from_row(Usage, summary), [(config.output, config.engine)])
        return {**summary, "instructions": counts, "files": _export(config, pack, [image.id for image in images])}

    def show(summary: Summary, console: Console) -> None:
        console.print(closing_table(f"instruct: {config.output}", summary))
        console.print(_counts_table(summary["instructions"]))

    settings = fingerprint_settings(config, pack, images, questions)
    repeat = partial(nothing_left, config, "images")
    return run_job(Job(config, settings, run, finish, show, repeat, partial(_check_usable, config)), console)


def _check_usable(config: InstructConfig) -> None:
    """Raise RunFailed where too few of the engine's replies were instructions."""
    total, unusable = 0, list[Failure]()
    for item in instructions(config.output):
        total += 1
        if item.problem:
            unusable.append(Failure(item.id, "generate", "Unusable", item.problem))
    if reason := outcome.why_failed(total - len(unusable), unusable, config.min_success, "instructions"):
        raise RunFailed(f"{config.output}: {reason}. Change the prompt pack or the model and give another output")


def instructions(directory: Path, ids: Iterable[str] | None = None) -> Iterator[Instruction]:
    """Every instruction of a run, unusable ones included, image by image: in the order of `ids`, else as committed."""
    for result in store.results(directory) if ids is None else store.results_of(directory, ids):
        yield from (from_row(Instruction, row) for row in result.row["instructions"])


def count_instructions(items: Iterable[Instruction]) -> dict[str, Any]:
    """Instructions by task, units of their answers by action, and the units' mean probabilities."""
    tasks: Counter[str] = Counter()
    units: Counter[str] = Counter()
    probabilities: dict[str, list[float]] = {"before": [], "after": []}
    for item in items:
        tasks[f"{item.task}: unusable" if item.problem else item.task] += 1
        for unit in item.units:
            units[unit.action] += 1
            for when, value in (("before", unit.before), ("after", unit.after)):
                if value is not None:
                    probabilities[when].append(value)
    means = {when: round(math.fsum(values) / len(values), 4) for when, values in probabilities.items() if values}
    return {"by_task": dict(sorted(tasks.items())), "units": dict(sorted(units.items())), "probability": means}


def _counts_table(counts: dict[str, Any]) -> Table:
    """What `count_instructions` returned, as a table for the terminal."""
    table = Table(title="instructions", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for task, count in counts["by_task"].items():
        table.add_row(task, f"{count:,}")
    table.add_section()
    all_units = sum(counts["units"].values())
    for action, count in counts["units"].items():
        table.add_row(f"units {action}", f"{count:,} ({count / all_units:.1%})")
    for when, mean in counts["probability"].items():
        table.add_row(f"mean probability {when}", f"{mean:.3f}")
    return table


def fingerprint_settings(
    config: InstructConfig,
    pack: InstructPack,
    images: Sequence[Image],
    questions: Questions | None = None,
) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, timeouts, output or how rows become training samples."""
    keys = {"stages", "tasks", "questions", "generate", "answer", "correct", "short", "candidates", "seed"}
    asked = {name: [to_row(item) for item in items] for name, items in (questions or {}).items()}
    return {
        "job": "instruct",
        "engine": manifest.engine_settings(config.engine),
        "prompts": {"name": config.prompts, "content": manifest.digest(pack.model_dump())},
        "images": manifest.digest([image.id for image in images]),
        **({"question_file": manifest.digest(asked)} if asked else {}),
        **config.model_dump(mode="json", include=keys),
    }


def _inputs(config: InstructConfig, pack: InstructPack) -> tuple[list[Image], Questions | None, list[Failure]]:
    """The images, the questions about them where they were asked before, and a failure for what cannot be read.

    With questions, images without one are left out.
    """
    images, failures = _read_images(config.images, config.images.limit if config.question_file is None else None)
    if config.question_file is None:
        return images, None, failures
    questions, unusable = question_files.read(config.question_file, images, config.tasks, partial(wording, pack))
    images = [image for image in images if image.id in questions][: config.images.limit]
    if not images:
        first = f" ({unusable[0].message})" if unusable else ""
        raise ConfigError(f"{config.question_file}: no question can be answered{first}; fix the file or images.root")
    return images, questions, [*failures, *unusable]


def _read_images(config: ImagesConfig, limit: int | None) -> tuple[list[Image], list[Failure]]:
    """The first `limit` images to ask about, and a failure for each entry before the last that cannot be read."""
    exclude = frozenset[str]().union(*map(image_sets.read_exclusions, config.exclude))
    images, failures = list[Image](), list[Failure]()
    for item in image_sets.read(config.kind, config.root, exclude, config.fetch):
        if isinstance(item, Failure):
            failures.append(item)
        else:
            images.append(item)
            if len(images) == limit:
                break
    if not images:
        raise ConfigError(f"images: no usable image is left in {config.root}; give other images or change exclude")
    return images, failures


def _make_pass(config: InstructConfig, pack: InstructPack) -> Pass:
    return pass_of(
        config,
        "instruct",
        partial(annotate, config=config, pack=pack),
        prepare=partial(prepare, images=config.images, folder=config.output / IMAGES),
        weight=lambda row: 1,  # all prompts have the same length: any image shows whether they fit
    )


def _export(config: InstructConfig, pack: InstructPack, ids: Sequence[str]) -> dict[str, str]:
    """Write the instructions and, where they are answered, the training set. Returns kind → path.

    All are in the order of the images' `ids`, whichever was finished first.
    """
    folder = config.output / "dataset"
    make_folder(folder)
    files = {"instructions": folder / "instructions.jsonl"}
    write_jsonl(files["instructions"], map(to_row, instructions(config.output, ids)))
    if "answer" in config.stages:
        files |= _export_rows(config, pack, ids, folder)
    return {kind: str(path) for kind, path in files.items()}


def _export_rows(config: InstructConfig, pack: InstructPack, ids: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write one annotation file per task and use, and the mixture that lists them with their ratios."""
    root, files, lengths = _images_root(config), dict[str, Path](), dict[str, int]()
    for task in config.tasks:
        corrected = config.correct is not None or TASKS[task] == "knowledge"
        for use in config.uses:
            items = (item for item in instructions(config.output, ids) if item.task == task)
            questions = (question for question in as_questions(items, corrected) if not isinstance(question, Failure))
            training_rows = rows(
                questions,
                [use],
                pack,
                root,
                seed=config.seed,
                draws=config.draws,
                topk=config.topk,
                score_thr=config.score_thr,
            )
            usable = [row for row in training_rows if not isinstance(row, Failure)]
            if usable:
                name = f"{task}.{use}"
                files[name] = folder / f"{name}.jsonl"
                write_jsonl(files[name], usable)
                lengths[name] = len(usable)
    files["mixture"] = folder / "mixture.json"
    ratios = {name: RATIOS[name.split(".")[0]] for name in lengths}
    times = repeat_times(lengths, ratios) if lengths else {}  # for trainers that do not read ratios
    entries = {
        name: {
            "root": relative(root, folder),
            "annotation": files[name].name,
            "ratio": ratios[name],
            "repeat_time": round(times[name], 6),
            "length": length,
        }
        for name, length in lengths.items()
    }
    manifest.write_json(files["mixture"], entries)
    return files


def _images_root(config: InstructConfig) -> Path:
    """The folder that image paths in training rows are relative to, where they are in it."""
    if isinstance(config.images.root, str):
        return (config.output / IMAGES).absolute()
    return config.images.root.parent if config.images.kind == "manifest" else config.images.root
