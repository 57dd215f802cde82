"""`imageref plan`: what a build will cost, estimated from a few of its records that are run for real.

    source ─▶ a random few ─▶ the build's passes ─▶ each record's cost ─▶ cost_estimator.py ─▶ totals with intervals

They are run in `<output>/plan`. The estimate is written there, to `plan.json`; the finished build is compared
with it.
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
from imageref_ray.batch.progress import unreported
from imageref_ray.commands import cost_estimator
from imageref_ray.commands.annotation.input_files import open_inputs
from imageref_ray.commands.annotation.passes import passes, records, run_passes
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.cost_estimator import Estimate, Plan
from imageref_ray.core.config import STAGES, BuildConfig, ConfigError, EngineConfig
from imageref_ray.core.records import Failure, Record, Usage
from imageref_ray.core.subset import choose

FOLDER, FILE = "plan", "plan.json"
LABELS = {
    "requests": "requests",
    "prompt_tokens": "prompt tokens",
    "image_tokens": "… of images",
    "cached_tokens": "… from the cache",
    "generated_tokens": "generated tokens",
    "gpu_hours": "GPU-hours",
    "money": "money",
}


def plan(config: BuildConfig, count: int = 24, seed: int = 0, console: Console | None = None) -> Plan:
    """Run `count` of the build's records and estimate what all of them will cost.

    Raises ConfigError for what the user can fix, EngineError when the engine fails, RunFailed where too few of the
    records succeeded for an estimate.
    """
    console = console or Console()
    if not config.stages:
        raise ConfigError("stages is empty, so no model is asked and nothing is paid; run imageref build")
    recipe, inputs = make_recipe(config), open_inputs(config.inputs)
    covariates: dict[str, tuple[float, ...]] = {}
    found = _collect_covariates(records(config, inputs), covariates)
    trial_records = choose(found, count, seed, lambda record: record.id)
    if len(trial_records) < min(cost_estimator.MIN_MEASURED, len(covariates)):
        raise ConfigError(f"--records {count} is too few for an interval; give at least {cost_estimator.MIN_MEASURED}")
    trial = trial_config(config)
    directory = trial.output
    shutil.rmtree(directory, ignore_errors=True)
    run_passes(trial, recipe, trial_records, inputs)
    account = store.account(directory)
    if reason := outcome.why_failed(len(account.done), account.failures, config.min_success):
        raise RunFailed(f"no estimate: {reason}. Fix the cause, then plan again (log and quarantine: {directory})")
    measured = costs(trial, [record.id for record in trial_records])
    estimates = cost_estimator.estimate(covariates, measured, config.prices, gpus=1, seed=seed)
    manifest.write_json(directory / FILE, dataclasses.asdict(estimates))
    spent = {name: figure.value for name, figure in estimates.figures.items()}
    unknown = unreported(spent, (engine for _, engine, _ in passes(config)))
    console.print(_table(estimates, config.prices.currency, unknown.get("unreported", ())))
    return estimates


def _collect_covariates(
    items: Iterable[Record | Failure], covariates: dict[str, tuple[float, ...]]
) -> Iterator[Record]:
    """Yields the records and puts each one's covariates into `covariates`, by id."""
    for item in items:
        if isinstance(item, Record):
            covariates[item.id] = cost_estimator.covariates(item.sample)
            yield item


def trial_config(config: BuildConfig) -> BuildConfig:
    """The build's settings for a plan's records: a directory of its own, no budget, and one engine per pass.

    The budget is the build's, not the plan's. A few records spread over a pool of engines would be measured as slow.
    """
    with_engine = {str(name): stage for name in STAGES if (stage := getattr(config, name)).engine}
    stages = {name: stage.model_copy(update={"engine": _single(stage.engine)}) for name, stage in with_engine.items()}
    changes = {"output": config.output / FOLDER, "max_budget": None, "engine": _single(config.engine)}
    return config.model_copy(update={**changes, **stages})


def _single(engine: EngineConfig) -> EngineConfig:
    return engine.model_copy(update={"actors": (1, 1)})


def costs(config: BuildConfig, ids: Iterable[str]) -> dict[str, Cost]:
    """What each of these records cost in all passes of the build, failed tries included; seconds are GPU-seconds.

    The time of a pass's engines is divided among its records by the tokens the engine had to compute for them.
    """
    by_id = {id: Cost() for id in ids}
    for directory, engine, _ in passes(config):
        spent: dict[str, Usage] = {}
        for id, usage in store.costs(directory):
            spent[id] = spent.get(id, Usage()) + usage
        computed = {
            id: usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens for id, usage in spent.items()
        }
        per_token = gpu_seconds(directory, engine) / max(sum(computed.values()), 1)
        for id in by_id.keys() & spent.keys():
            by_id[id] = Cost(by_id[id].usage + spent[id], by_id[id].seconds + per_token * computed[id])
    return by_id


def compare(config: BuildConfig, ids: Sequence[str]) -> dict[str, Any] | None:
    """How far the plan in the run directory was off, by figure; None without a plan for this many records."""
    path = config.output / FOLDER / FILE
    if not path.is_file():
        return None
    planned = _parse_plan(json.loads(path.read_text(encoding="utf-8")))
    if planned.records != len(ids):
        return None
    actual = cost_estimator.totals(costs(config, ids), config.prices, gpus=1)
    return {name: dataclasses.asdict(deviation) for name, deviation in cost_estimator.compare(planned, actual).items()}


def _table(plan: Plan, currency: str, unknown: Sequence[str]) -> Table:
    """The plan as a table for the terminal, – for figures that are `unknown`."""
    table = Table(
        title=f"plan for {plan.records:,} records, from {plan.measured} of them", title_justify="left", box=None
    )
    table.add_column("", style="bold")
    table.add_column("estimate", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, label in LABELS.items():
        figure = plan.figures[name]
        if name in ("gpu_hours", "money") and not figure.value:
            continue
        if name in unknown:
            table.add_row(label, "–", "–")
            continue
        unit = f" {currency}" if name == "money" else ""
        table.add_row(
            label,
            f"{_format(name, figure.value)}{unit}",
            f"{_format(name, figure.low)} to {_format(name, figure.high)}",
        )
    return table


def _format(name: str, value: float) -> str:
    return f"{value:,.2f}" if name in ("gpu_hours", "money") else f"{value:,.0f}"


def _parse_plan(values: Mapping[str, Any]) -> Plan:
    figures = {name: Estimate(**figure) for name, figure in values["figures"].items()}
    return Plan(values["records"], values["measured"], values["covariates"], figures)
