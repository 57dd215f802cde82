"""`imageref instruct`: images → questions with draft answers → corrected against the image → training set (VIGC).

images ─▶ verify ─▶ ask ─▶ correct      (conversation, detail, reasoning) ─▶ instructions ─▶ vig, vic, vqg rows
                     └──▶ candidates   (okvqa, a_okvqa)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imageref_ray import engines
from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.job import Job, Summary, nothing_left, pass_of, run_job
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.progress import closing_table
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.commands.annotation.stage_inputs import sampling
from imageref_ray.core.config import ConfigError, ImagesConfig, InstructConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, Image, Instruction, from_row, to_row
from imageref_ray.dataset.export.instruction_rows import RATIOS, as_questions, rows
from imageref_ray.dataset.mixture import repeat_times
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Generate
from imageref_ray.sources import image_sets
from imageref_ray.stages.ask import SHORT, ask, candidates
from imageref_ray.stages.correct import correct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack, load_instruct


def instruct(
    config: InstructConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Generate the instructions in `config.output`, or resume; returns the run's summary, with `instructions`.

    Raises as `run_job`, and RunFailed also where too few of the instructions are usable.
    """
    engines.check(config.engine)
    pack = load_instruct(config.prompts)
    images, failures = _read_images(config.images)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        rows = ({"id": image.id, "image": to_row(image)} for image in images)
        return run_pass(_make_pass(config, pack), chain(failures, rows), again)

    def finish(summary: Summary) -> Summary:
        counts = count_instructions(instructions(config.output))
        return {**summary, "instructions": counts, "files": _export(config, pack, [image.id for image in images])}

    def show(summary: Summary, console: Console) -> None:
        console.print(closing_table(f"instruct: {config.output}", summary))
        console.print(_counts_table(summary["instructions"]))

    settings = fingerprint_settings(config, pack, images)
    summary = run_job(Job(config, settings, run, finish, show, partial(nothing_left, config, "images")), console)
    _check_usable(config)
    return summary


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


def prepare(row: Row, max_bytes: int, max_pixels: int) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the row with its image verified, or the record's failure."""
    verified = verify(from_row(Image, row["image"]), max_bytes, max_pixels)
    if isinstance(verified, Problem):
        return row, (Failure(row["id"], "verify", verified.error, verified.message),)
    return {**row, "image": to_row(verified)}, ()


async def annotate(row: Row, generate: Generate, config: InstructConfig, pack: InstructPack) -> Row:
    """The instructions of all tasks about one image: `{"id", "instructions": [row, …]}`."""
    image = from_row(Image, row["image"])
    items: list[Instruction] = []
    for task in config.tasks:
        with stage("generate"):
            drafts = await ask(image, generate, pack, task, sampling(config.generate), config.questions, config.seed)
        for item in drafts:
            if TASKS[task] == "knowledge":
                with stage("candidates"):
                    item = await candidates(item, generate, pack, SHORT, config.candidates)
            elif config.correct:
                with stage("correct"):
                    item = await correct(item, generate, pack, sampling(config.answer), config.correct)
            items.append(item)
    return {"id": row["id"], "instructions": [to_row(item) for item in items]}


def fingerprint_settings(config: InstructConfig, pack: InstructPack, images: Sequence[Image]) -> dict[str, Any]:
    """Every setting that changes rows; not concurrency, timeouts, output or how rows become training samples."""
    keys = {"tasks", "questions", "generate", "answer", "correct", "candidates", "seed"}
    return {
        "job": "instruct",
        "engine": manifest.engine_settings(config.engine),
        "prompts": {"name": config.prompts, "content": manifest.digest(pack.model_dump())},
        "images": manifest.digest([image.id for image in images]),
        **config.model_dump(mode="json", include=keys),
    }


def _read_images(config: ImagesConfig) -> tuple[list[Image], list[Failure]]:
    """The images to ask about, and a failure for each entry that cannot be read."""
    exclude = image_sets.read_exclusions(config.exclude) if config.exclude else frozenset()
    items = list(image_sets.read(config.kind, config.root, exclude))
    images = [item for item in items if isinstance(item, Image)][: config.limit]
    if not images:
        raise ConfigError(f"images: no usable image is left in {config.root}; give other images or change exclude")
    return images, [item for item in items if isinstance(item, Failure)]


def _make_pass(config: InstructConfig, pack: InstructPack) -> Pass:
    images = config.images
    return pass_of(
        config,
        "instruct",
        partial(annotate, config=config, pack=pack),
        prepare=partial(prepare, max_bytes=images.max_image_bytes, max_pixels=images.max_image_pixels),
        weight=lambda row: 1,  # all prompts have the same length: any image shows whether they fit
    )


def _export(config: InstructConfig, pack: InstructPack, ids: Sequence[str]) -> dict[str, str]:
    """Write the training set: one annotation file per task and use, and the mixture that lists them with their ratios.

    Rows are in the order of the images' `ids`, whichever was finished first. Returns kind → path.
    """
    folder = config.output / "dataset"
    folder.mkdir(parents=True, exist_ok=True)
    root = config.images.root if config.images.kind != "manifest" else config.images.root.parent
    files, lengths = {"instructions": folder / "instructions.jsonl"}, {}
    write_jsonl(files["instructions"], map(to_row, instructions(config.output, ids)))
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
            "root": str(root),
            "annotation": str(files[name]),
            "ratio": ratios[name],
            "repeat_time": round(times[name], 6),
            "length": length,
        }
        for name, length in lengths.items()
    }
    files["mixture"].write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return {kind: str(path) for kind, path in files.items()}
