"""`imageref plan`: what a build will cost, from a few of its records that are run for real.

    source ─▶ a random few ─▶ the build's own passes ─▶ what each cost ─▶ estimate.py ─▶ totals with intervals

The few are run in `<output>/plan`, where `plan.json` is left; the build compares itself with it when it is done.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.budget import Cost, gpu_seconds
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.commands import cost_estimator
from imageref_ray.commands.annotation.passes import STAGES, passes, records, run_passes
from imageref_ray.commands.annotation.stage_inputs import recipe
from imageref_ray.commands.cost_estimator import Estimate, Plan
from imageref_ray.core.config import BuildConfig, ConfigError, EngineConfig
from imageref_ray.core.records import Failure, Record, Usage
from imageref_ray.core.subset import choose

FOLDER, FILE = "plan", "plan.json"
WORDS = {
    "requests": "requests",
    "prompt_tokens": "prompt tokens",
    "image_tokens": "… of images",
    "cached_tokens": "… from the cache",
    "generated_tokens": "generated tokens",
    "gpu_hours": "GPU-hours",
    "money": "money",
}


def plan(config: BuildConfig, count: int = 24, seed: int = 0, console: Console | None = None) -> Plan:
    """Run `count` of the build's samples and predict what all of them will cost.

    Raises ConfigError for what the user can fix, EngineError when the engine fails, RunFailed where too few of these
    samples succeeded to tell anything.
    """
    console = console or Console()
    made = recipe(config)
    known: dict[str, tuple[float, ...]] = {}
    chosen = choose(_noting(records(config), known), count, seed, lambda record: record.id)
    if len(chosen) < min(cost_estimator.LEAST, len(known)):
        raise ConfigError(f"--records {count} is too few to tell a spread; give at least {cost_estimator.LEAST}")
    small = trial(config)
    directory = small.output
    shutil.rmtree(directory, ignore_errors=True)
    run_passes(small, made, chosen)
    held = store.account(directory)
    if reason := outcome.why_failed(len(held.done), held.failures, config.min_success):
        raise RunFailed(f"no estimate: {reason}. Fix the cause and plan again (log and quarantine: {directory})")
    found = cost_estimator.plan(known, costs(small, [record.id for record in chosen]), config.prices, gpus=1, seed=seed)
    manifest.write_json(directory / FILE, dataclasses.asdict(found))
    console.print(table(found, config.prices.currency))
    return found


def _noting(found: Iterable[Record | Failure], known: dict[str, tuple[float, ...]]) -> Iterator[Record]:
    """The records, with what is known of each beforehand put into `known` (by id) as they pass."""
    for one in found:
        if isinstance(one, Record):
            known[one.id] = cost_estimator.covariates(one.sample)
            yield one


def trial(config: BuildConfig) -> BuildConfig:
    """The build's settings for a plan's few records: a folder of its own, no budget (the build's is no plan's), and one
    engine a pass, since a pool over which a few records are spread thin would be measured as slow."""
    own = {name: stage for name in STAGES if (stage := getattr(config, name)).engine}
    stages = {name: stage.model_copy(update={"engine": _single(stage.engine)}) for name, stage in own.items()}
    mine = {"output": config.output / FOLDER, "max_budget": None, "engine": _single(config.engine)}
    return config.model_copy(update={**mine, **stages})


def _single(engine: EngineConfig) -> EngineConfig:
    return engine.model_copy(update={"actors": (1, 1)})


def costs(config: BuildConfig, measured: Iterable[str]) -> dict[str, Cost]:
    """What each of these records (by id) cost in all passes of the build, failed ones too; seconds are GPU-seconds.

    The time of a pass's engines is divided among its records by the tokens the engine had to compute for them.
    """
    found = {id: Cost() for id in measured}
    for directory, engine, _ in passes(config):
        spent: dict[str, Usage] = {}
        for id, usage in store.costs(directory):
            spent[id] = spent.get(id, Usage()) + usage
        computed = {
            id: usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens for id, usage in spent.items()
        }
        per_token = gpu_seconds(directory, engine) / max(sum(computed.values()), 1)
        for id in found.keys() & spent.keys():
            found[id] = Cost(found[id].usage + spent[id], found[id].seconds + per_token * computed[id])
    return found


def compare(config: BuildConfig, built: Sequence[str]) -> dict[str, Any] | None:
    """How far the plan in the run's directory was off, by figure; None without a plan for this many records."""
    path = config.output / FOLDER / FILE
    if not path.is_file():
        return None
    planned = _read(json.loads(path.read_text(encoding="utf-8")))
    if planned.records != len(built):
        return None
    truth = cost_estimator.totals(costs(config, built), config.prices, gpus=1)
    return {name: dataclasses.asdict(deviation) for name, deviation in cost_estimator.compare(planned, truth).items()}


def table(found: Plan, currency: str) -> Table:
    """The plan for people."""
    made = Table(
        title=f"plan for {found.records:,} records, from {found.measured} of them", title_justify="left", box=None
    )
    made.add_column("", style="bold")
    made.add_column("estimate", justify="right")
    made.add_column("95 % interval", justify="right")
    for name, words in WORDS.items():
        figure = found.figures[name]
        if name in ("gpu_hours", "money") and not figure.value:
            continue
        unit = f" {currency}" if name == "money" else ""
        made.add_row(
            words,
            f"{_number(name, figure.value)}{unit}",
            f"{_number(name, figure.low)} to {_number(name, figure.high)}",
        )
    return made


def _number(name: str, value: float) -> str:
    return f"{value:,.2f}" if name in ("gpu_hours", "money") else f"{value:,.0f}"


def _read(values: Mapping[str, Any]) -> Plan:
    figures = {name: Estimate(**figure) for name, figure in values["figures"].items()}
    return Plan(values["records"], values["measured"], values["covariates"], figures)
