"""`imageref demo`: corpus → build → train → evaluate base and student → instruct → report, every part the real job.

Killed anywhere and called again, it goes on: each part knows what it has done.
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
from imageref_ray.evaluation.evaluate_placement import evaluate_placement
from imageref_ray.evaluation.placement_metrics import METRICS
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
CORRECTED = ("after", "verify")
"""Modes of correction that are compared; the third, `continue`, is the answer in one pass, which every run holds."""


def demo(config: DemoConfig) -> dict[str, Any]:
    """Run all parts; returns what report.json holds. Raises ConfigError for what the user can mend."""
    to_build, to_train = _build_config(config), _train_config(config)
    to_instruct = {mode: _instruct_config(config, mode) for mode in CORRECTED}
    part, silent = _parts(config.output), Console(quiet=True)  # the report compares both evaluations in one table
    with part("corpus", f"{config.train_events} training and {config.test_events} test events"):
        counts = {split: _corpus(config, split) for split in ("train", "test")}
    with part("build", "the embedded checkpoint writes responses, captions and placements") as console:
        built = build(to_build, console)
        if not built["records"]:
            raise ConfigError(f"no record was built; {to_build.output / 'quarantine'} says why, for each of them")
        agreed = _agreement(config, to_build)
    with part("train", f"the student learns the end-to-end task in {to_train.steps} steps"):
        trained = train(to_train)
    with part("evaluate base", "the untuned checkpoint answers the test events"):
        measured = {"base": evaluate_placement(_evaluate_config(config, "base", config.engine.model), silent)}
    with part("evaluate tuned", "the student answers the same events"):
        measured["tuned"] = evaluate_placement(_evaluate_config(config, "tuned", trained["model"]), silent)
    with part("instruct", "questions about the test pictures, answers corrected against them") as console:
        instructed = {mode: instruct(one, console) for mode, one in to_instruct.items()}
        corrected = {mode: _by_id(instructions(one.output)) for mode, one in to_instruct.items()}
    with part("report", "numbers and pictures") as console:
        report = _report(config, counts, built, agreed, measured, instructed, corrected)
        console.print(_table(report))
        console.print(_false_units(report))
        console.print(f"report: {config.output / 'report.html'}", highlight=False, soft_wrap=True)
    return report


def _by_id(found: Iterable[Instruction]) -> list[Instruction]:
    """In an order that does not hang on which was finished first: the report shows the first of them."""
    return sorted(found, key=lambda item: item.id)


def _parts(output: Path) -> Callable[[str, str], AbstractContextManager[Console]]:
    """Announces each part and keeps its seconds in times.json; a part that was done before keeps its old time."""
    console, numbers = Console(), itertools.count(1)

    @contextmanager
    def part(name: str, what: str) -> Iterator[Console]:
        console.print(f"[bold]{next(numbers)}/7 {name}[/bold]: {what}", highlight=False, soft_wrap=True)
        began = time.monotonic()
        yield console
        held = _times(output)
        held[name] = max(round(time.monotonic() - began, 1), held.get(name, 0.0))
        manifest.write_json(output / "times.json", held)

    return part


def _times(output: Path) -> dict[str, float]:
    path = output / "times.json"
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _corpus(config: DemoConfig, split: str) -> dict[str, int]:
    """Write one split unless it is there; a folder made for other numbers is refused."""
    folder = config.output / "corpus" / split
    wanted = {"seed": corpus.SEEDS[split], "events": getattr(config, f"{split}_events")}
    done = folder / "corpus.json"
    if done.is_file():
        held: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if {key: held[key] for key in wanted} != wanted:
            raise ConfigError(
                f"{config.output} holds a demo with {held['events']} {split} events, not {wanted['events']}; "
                f"give another output or delete {config.output}"
            )
        return held["counts"]  # type: ignore[no-any-return]
    counts = corpus.write(folder, wanted["events"], wanted["seed"])
    manifest.write_json(done, {**wanted, "counts": counts})
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


def _evaluate_config(config: DemoConfig, name: str, model: str) -> EvaluateConfig:
    test = config.output / "corpus" / "test"
    return EvaluateConfig(
        data=test / f"annotation.{config.variant}.jsonl",
        root=test,
        labels=test / "label.csv",
        output=config.output / "evaluate" / name,
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
    made = (make_event(corpus.SEEDS[split], n) for n in range(getattr(config, f"{split}_events")))
    return {event.id: event for event in made}


def _agreement(config: DemoConfig, built: BuildConfig) -> judge_build.Agreement:
    records = (from_row(Record, result.row) for result in store.results(built.output))
    return judge_build.agreement(records, _events(config, "train"))


def _report(
    config: DemoConfig,
    counts: Mapping[str, Any],
    built: Mapping[str, Any],
    agreed: judge_build.Agreement,
    measured: Mapping[str, Any],
    instructed: Mapping[str, Any],
    corrected: Mapping[str, Sequence[Instruction]],
) -> dict[str, Any]:
    """Write report.json and report.html; returns the former's content."""
    times = _times(config.output)
    metrics = progress.read_lines(config.output / "train" / "metrics.jsonl")
    agreement = {name: round(getattr(agreed, name), 4) for name in ("precision", "recall", "captions")}
    events = _events(config, "test")
    pictures = judge_answers.pictures_by_id(events.values())
    value = {
        "corpus": {f"{split}_{name}": n for split, found in counts.items() for name, n in found.items()},
        "build": {key: built[key] for key in BUILD_KEYS} | {"agreement": agreement},
        "train": {
            "steps": metrics[-1]["step"],
            "first_loss": metrics[0]["loss"],
            "last_loss": metrics[-1]["loss"],
            "seconds": times["train"],
        },
        "evaluate": {name: found["guided"] | {"free": found["free"]} for name, found in measured.items()},
        "instruct": {
            mode: judge_answers.measure(items, pictures)
            | {"cached_share": round(instructed[mode]["cached_tokens"] / instructed[mode]["prompt_tokens"], 4)}
            for mode, items in corrected.items()
        },
        "seconds": round(sum(times.values()), 1),
    }
    manifest.write_json(config.output / "report.json", value)
    write_report(
        config.output / "report.html",
        {
            **value,  # type: ignore[typeddict-item]
            "title": "The right pictures in the right places",
            "lead": f"A {_size(config.engine.model)} InternVL learns from {counts['train']['events']} events that it "
            "annotated itself, skill by skill, to do the whole task in one go.",
            "loss": [(line["step"], line["loss"]) for line in metrics],
            "stages": list(times.items()),
            "events": report_data.events(config, list(events.values())[: config.shown_events]),
            "corrections": report_data.corrections(corrected, pictures, config.shown_pictures),
        },
    )
    return value


def _size(model: str) -> str:
    """The checkpoint's size in words, from its weights file."""
    files = list(Path(resolve_model(model)).glob("*.safetensors"))
    return f"{sum(path.stat().st_size for path in files) / 1e6:.0f} MB" if files else "pretrained"


def _table(report: Mapping[str, Any]) -> Table:
    """The one table at the end: placement metrics before and after."""
    table = Table(title="Pictures in the right places (guided decoding)", title_justify="left")
    for name in ("", *METRICS):
        table.add_column(name, justify="right")
    for name, found in report["evaluate"].items():
        table.add_row(name, *(f"{found[metric]:.3f}" for metric in METRICS))
    return table


def _false_units(report: Mapping[str, Any]) -> Table:
    """How many units of the answers are false, as drafted and as corrected."""
    table = Table(title="False units in answers about pictures", title_justify="left")
    for name in ("", *judge_answers.VERSIONS.values(), "corrected − draft, points (95 %)"):
        table.add_column(name, justify="right")
    for mode, found in report["instruct"].items():
        low, high = found["corrected"]["interval"]
        shares = (f"{found[name]['share']:.1%}" for name in judge_answers.VERSIONS.values())
        points = f"{100 * found['corrected']['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        table.add_row(mode, *shares, points)
    return table
