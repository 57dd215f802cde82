"""`imageref demo`: corpus → build → train → evaluate base and student → instruct → report; every part is the real job.

Run again after a crash, it resumes: each part skips what it has already done.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imageref_ray.batch import manifest, store
from imageref_ray.commands.build import build
from imageref_ray.commands.comparison.page import write_page
from imageref_ray.commands.comparison.tables import conclusion
from imageref_ray.commands.demo import report_data
from imageref_ray.commands.demo.report import write_report
from imageref_ray.commands.instruct import instruct, instructions
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import (
    BuildConfig,
    ConfigError,
    DemoConfig,
    EvaluateConfig,
    InstructConfig,
    MixtureEntry,
    SourceConfig,
    TrainConfig,
    check,
)
from imageref_ray.core.records import Instruction, Record, from_row
from imageref_ray.evaluation.compare_runs import Comparison, compare_runs
from imageref_ray.evaluation.evaluate_placement import evaluate_placement
from imageref_ray.evaluation.placement_metrics import METRICS
from imageref_ray.evaluation.tables import number
from imageref_ray.picturenews import corpus, judge_answers, judge_build
from imageref_ray.picturenews.events import Event, make_event
from imageref_ray.training import progress
from imageref_ray.training.train import train

BUILD_KEYS = (
    "records",
    "quarantined",
    "requests",
    "prompt_tokens",
    "image_tokens",
    "cached_tokens",
    "generated_tokens",
    "seconds",
)
CORRECTION_MODES = ("after", "verify")
"""Modes of correction that are compared; the third, `continue`, is the answer in one pass, which every run contains."""


def demo(config: DemoConfig) -> dict[str, Any]:
    """Run all parts; returns the content of report.json. Raises ConfigError for what the user can fix."""
    build_config, train_config = _build_config(config), _train_config(config)
    instruct_configs = {mode: _instruct_config(config, mode) for mode in CORRECTION_MODES}
    part, silent = _timed_parts(config.output), Console(quiet=True)  # one table at the end has both evaluations
    with part("corpus", f"{config.train_events} training and {config.test_events} test events"):
        counts = {split: _write_corpus(config, split) for split in ("train", "test")}
    with part("build", "the embedded checkpoint writes responses, captions and placements") as console:
        build_summary = build(build_config, console)
        if not build_summary["records"]:
            raise ConfigError(f"every record failed; see why: imageref inspect {build_config.output}")
        agreement = _agreement(config, build_config)
    with part("train", f"the student learns the end-to-end task in {train_config.steps} steps"):
        student = train(train_config)["model"]
    with part("evaluate base", "the untuned checkpoint answers the test events"):
        metrics = {"base": evaluate_placement(_evaluate_config(config, "base", config.engine.model), silent)}
    with part("evaluate tuned", "the student answers the same events"):
        metrics["tuned"] = evaluate_placement(_evaluate_config(config, "tuned", student), silent)
    with part("instruct", "questions about the test images, answers corrected against them") as console:
        instruct_summaries = {mode: instruct(job, console) for mode, job in instruct_configs.items()}
        corrected = {mode: _sort_by_id(instructions(job.output)) for mode, job in instruct_configs.items()}
    with part("report", "numbers and images") as console:
        comparisons = compare_runs([_evaluation(config, name) for name in metrics])
        report = _write_report(
            config, counts, build_summary, agreement, metrics, comparisons, instruct_summaries, corrected
        )
        console.print(_metrics_table(comparisons))
        for one in comparisons:
            console.print(conclusion(one, one.pairs[0]), highlight=False, soft_wrap=True)
        console.print(_false_units_table(report))
        page = write_page(comparisons, config.output / "evaluate" / "compare.html")
        console.print(page, highlight=False, soft_wrap=True)
        console.print(f"report: {config.output / 'report.html'}", highlight=False, soft_wrap=True)
    return report


def _sort_by_id(items: Iterable[Instruction]) -> list[Instruction]:
    """In an order that does not depend on which was finished first: the report shows the first of them."""
    return sorted(items, key=lambda item: item.id)


def _timed_parts(output: Path) -> Callable[[str, str], AbstractContextManager[Console]]:
    """Returns a context manager that prints a part's title and writes its seconds to times.json.

    A part that was done by an earlier call keeps its earlier, longer time.
    """
    console, numbers = Console(), itertools.count(1)

    @contextmanager
    def part(name: str, description: str) -> Iterator[Console]:
        console.print(f"[bold]{next(numbers)}/7 {name}[/bold]: {description}", highlight=False, soft_wrap=True)
        started = time.monotonic()
        yield console
        times = _read_times(output)
        times[name] = max(round(time.monotonic() - started, 1), times.get(name, 0.0))
        manifest.write_json(output / "times.json", times)

    return part


def _read_times(output: Path) -> dict[str, float]:
    path = output / "times.json"
    times: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return times


def _write_corpus(config: DemoConfig, split: str) -> dict[str, int]:
    """Write one split unless it exists; returns its counts. Raises ConfigError where it has other numbers of events."""
    folder = config.output / "corpus" / split
    settings = {"seed": corpus.SEEDS[split], "events": getattr(config, f"{split}_events")}
    path = folder / "corpus.json"
    if path.is_file():
        existing: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {key: existing[key] for key in settings} != settings:
            raise ConfigError(
                f"{config.output} holds a demo with {existing['events']} {split} events, not {settings['events']}; "
                f"give another output or delete {config.output}"
            )
        return existing["counts"]  # type: ignore[no-any-return]
    counts = corpus.write(folder, settings["events"], settings["seed"])
    manifest.write_json(path, {**settings, "counts": counts})
    return counts


def _build_config(config: DemoConfig) -> BuildConfig:
    return BuildConfig(
        source=SourceConfig(root=config.output / "corpus" / "train"),
        output=config.output / "build",
        engine=config.engine,
        prompts=config.prompts,
    )


def _train_config(config: DemoConfig) -> TrainConfig:
    annotation = config.output / "build" / "dataset" / f"annotation.{config.variant}.jsonl"
    entry = MixtureEntry(root=config.output / "corpus" / "train", annotation=annotation)
    fixed = {
        "model": config.engine.model,
        "output": config.output / "train",
        "mixture": {"picturenews": entry.model_dump()},
    }
    return check(TrainConfig, {**config.train, **fixed}, "train")


def _evaluation(config: DemoConfig, name: str) -> Path:
    """The run directory of the evaluation of `base` or `tuned`."""
    return config.output / "evaluate" / name


def _evaluate_config(config: DemoConfig, name: str, model: str) -> EvaluateConfig:
    test = config.output / "corpus" / "test"
    return EvaluateConfig(
        data=test / f"annotation.{config.variant}.jsonl",
        root=test,
        labels=test / "label.csv",
        output=_evaluation(config, name),
        engine=config.engine.model_copy(update={"model": model}),
        variant=config.variant,
        max_tokens=512,
    )


def _instruct_config(config: DemoConfig, mode: str) -> InstructConfig:
    fixed = {
        "images": {**config.instruct.get("images", {}), "root": config.output / "corpus" / "test" / "image"},
        "output": config.output / "instruct" / mode,
        "prompts": config.prompts,
        "engine": config.engine.model_dump(),
        "correct": {**config.instruct.get("correct", {}), "reread": mode},
    }
    return check(InstructConfig, {**config.instruct, **fixed}, "instruct")


def _events(config: DemoConfig, split: str) -> dict[str, Event]:
    events = (make_event(corpus.SEEDS[split], n) for n in range(getattr(config, f"{split}_events")))
    return {event.id: event for event in events}


def _agreement(config: DemoConfig, build_config: BuildConfig) -> judge_build.Agreement:
    """The built placements and captions against the corpus's truth."""
    records = (from_row(Record, result.row) for result in store.results(build_config.output))
    return judge_build.agreement(records, _events(config, "train"))


def _write_report(
    config: DemoConfig,
    counts: Mapping[str, Any],
    build_summary: Mapping[str, Any],
    agreement: judge_build.Agreement,
    metrics: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    instruct_summaries: Mapping[str, Any],
    corrected: Mapping[str, Sequence[Instruction]],
) -> dict[str, Any]:
    """Write report.json and report.html; returns the content of report.json."""
    times = _read_times(config.output)
    steps = progress.read_lines(config.output / "train" / "metrics.jsonl")
    shares = {name: round(getattr(agreement, name), 4) for name in ("precision", "recall", "captions")}
    events = _events(config, "test")
    pictures = judge_answers.pictures_by_id(events.values())
    report = {
        "corpus": {f"{split}_{name}": n for split, by_name in counts.items() for name, n in by_name.items()},
        "build": {key: build_summary[key] for key in BUILD_KEYS} | {"agreement": shares},
        "train": _train_numbers(steps, times["train"]),
        "evaluate": {name: modes["guided"] | {"free": modes["free"]} for name, modes in metrics.items()},
        "comparison": {one.mode: one.as_json() for one in comparisons},
        "instruct": {
            mode: judge_answers.measure(items, pictures) | {"cached_share": _cached_share(instruct_summaries[mode])}
            for mode, items in corrected.items()
        },
        "seconds": round(sum(times.values()), 1),
    }
    manifest.write_json(config.output / "report.json", report)
    write_report(
        config.output / "report.html",
        {
            **report,  # type: ignore[typeddict-item]
            "title": "The right images in the right places",
            "lead": f"A {_size(config.engine.model)} InternVL learns from {counts['train']['events']} events that it "
            "annotated itself, skill by skill, to do the whole task in one step.",
            "comparisons": comparisons,
            "loss": [(line["step"], line["loss"]) for line in steps],
            "stages": list(times.items()),
            "events": report_data.events(config, list(events.values())[: config.shown_events]),
            "corrections": report_data.corrections(corrected, pictures, config.shown_pictures),
        },
    )
    return report


def _train_numbers(steps: Sequence[Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    first, last = steps[0], steps[-1]
    return {"steps": last["step"], "first_loss": first["loss"], "last_loss": last["loss"], "seconds": seconds}


def _cached_share(summary: Mapping[str, Any]) -> float:
    """The share of a run's prompt tokens that came from the prefix cache."""
    share: float = summary["cached_tokens"] / summary["prompt_tokens"]
    return round(share, 4)


def _size(model: str) -> str:
    """The size of the checkpoint's weight files, or "pretrained" where they are not on this machine."""
    files = list(Path(resolve_model(model)).glob("*.safetensors"))
    return f"{sum(path.stat().st_size for path in files) / 1e6:.0f} MB" if files else "pretrained"


def _metrics_table(comparisons: Iterable[Comparison]) -> Table:
    """Placement metrics before and after training, of guided and of free decoding."""
    table = Table(title="Images in the right places", title_justify="left")
    for name in ("", *METRICS):
        table.add_column(name, justify="right")
    for comparison in comparisons:
        for system in comparison.systems:
            values = (number(system.estimates[metric].value, 3) for metric in METRICS)
            table.add_row(f"{comparison.mode}, {system.name}", *values)
    return table


def _false_units_table(report: Mapping[str, Any]) -> Table:
    """The share of false units in the answers, as drafted and as corrected."""
    table = Table(title="False units in answers about images", title_justify="left")
    for name in ("", *judge_answers.VERSIONS.values(), "corrected − draft, points (95 %)"):
        table.add_column(name, justify="right")
    for mode, versions in report["instruct"].items():
        low, high = versions["corrected"]["interval"]
        shares = (f"{versions[name]['share']:.1%}" for name in judge_answers.VERSIONS.values())
        points = f"{100 * versions['corrected']['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        table.add_row(mode, *shares, points)
    return table
