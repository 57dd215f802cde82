"""`imageref plan`: what a build will cost, estimated from a few of its records that are run for real.

    source ─▶ a random few ─▶ the build's passes ─▶ each record's cost ─▶ cost_estimator.py ─▶ totals with intervals
       └────▶ some more, whose images are opened ─▶ how many of the others' cannot be used ─┘

They are run in `<output>/plan`, a run directory that `imageref inspect` shows. The estimate is written there, to
`plan.json`, with those of each pass and the sizes of all records; the finished build is compared with it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.budget import Cost, gpu_seconds
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.progress import unreported
from imageref_ray.commands import cost_estimator
from imageref_ray.commands.annotation.input_files import Inputs, open_inputs
from imageref_ray.commands.annotation.passes import passes, records, run_passes
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.cost_estimator import Estimate, Part, Plan
from imageref_ray.commands.picture_losses import Loss
from imageref_ray.commands.plan_population import LOOKED_INTO, Known, Population, own_part, shared_part
from imageref_ray.core.config import STAGES, BuildConfig, ConfigError, EngineConfig
from imageref_ray.core.records import Record, Usage, from_row
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
    """Run `count` of the records that the build has left to do and estimate what all of these will cost.

    Raises ConfigError for what the user can fix, EngineError when the engine fails, RunFailed where too few of the
    records succeeded for an estimate.
    """
    console = console or Console()
    if not config.stages:
        raise ConfigError("stages is empty, so no model is asked and nothing is paid; run imageref build")
    recipe, inputs, trial = make_recipe(config), open_inputs(config.inputs), trial_config(config)
    found, done = Population(), paid(config)
    trial_records = _trial_records(found, config, inputs, count, seed, done)
    settings = {"job": "plan", "records": len(trial_records), "seed": seed}
    manifest.begin(trial.output, settings, trial.model_dump(mode="json"))
    run_passes(trial, dataclasses.replace(recipe, count_shared=True), trial_records, inputs)
    account = store.account(trial.output)
    if reason := outcome.why_failed(len(account.done), account.failures, config.min_success):
        raise RunFailed(f"no estimate: {reason}. Fix the cause, then plan again (log and quarantine: {trial.output})")
    left_to_pay = parts_left(config, trial, found.known, [record.id for record in trial_records])
    of_all = [part for _, parts in left_to_pay for part in parts]
    estimates = dataclasses.replace(
        cost_estimator.estimate(of_all, config.prices, gpus=1, seed=seed, losses=found.losses()),
        total=found.total,
        done=len(done & found.known.keys()),
        left_out=found.left_out,
        before=cost_estimator.totals(costs(config, found.known), config.prices, gpus=1),
    )
    spent = {name: figure.value for name, figure in estimates.figures.items()}
    unknown = unreported(spent, (engine for _, engine, _ in passes(config)))
    content = {
        **dataclasses.asdict(estimates),
        **unknown,
        "passes": _by_pass(left_to_pay, config, seed, found.losses()),
        "sizes": sizes(found.known.values()),
        "unreadable": dict(sorted(found.unreadable.items())),
    }
    manifest.write_json(trial.output / FILE, content)
    console.print(_table(estimates, config.prices.currency, unknown.get("unreported", ())))
    return estimates


def _trial_records(
    found: Population, config: BuildConfig, inputs: Inputs, count: int, seed: int, done: Collection[str]
) -> list[Record]:
    """The records to run for the plan, in an empty folder for it. Raises ConfigError where they are too few."""
    usable = found.usable(records(config, inputs), config)
    new = (one for one in usable if one.id not in done)
    chosen = choose(new, max(count, LOOKED_INTO), seed, lambda record: record.id)
    if not chosen and found.total:
        raise ConfigError(f"{config.output} has an outcome for every record, so nothing is left to plan")
    least = cost_estimator.MIN_MEASURED
    if count < min(least, len(chosen)):
        raise ConfigError(f"--records {count} is too few for an interval; give at least {least}")
    folder = config.output / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    trial_records = found.look_into(chosen, count, config, folder / "images") or chosen[:count]
    if len(trial_records) < min(least, len(found.known.keys() - done)):
        raise ConfigError(
            f"only {len(trial_records)} of {len(chosen)} records of {config.source.root} that were looked into have an "
            "image that can be used, too few for an interval; see imageref preview, fix source, then plan again"
        )
    return trial_records


def _by_pass(
    left: Sequence[tuple[Sequence[str], list[Part]]], config: BuildConfig, seed: int, losses: Mapping[str, Loss]
) -> list[dict[str, Any]]:
    """Each pass's `stages` and estimated `figures`, where there are several passes: else they are the whole's."""
    if len(left) < 2:
        return []
    estimate = partial(cost_estimator.estimate, prices=config.prices, gpus=1, seed=seed, losses=losses)
    return [{"stages": stages, "figures": dataclasses.asdict(estimate(parts))["figures"]} for stages, parts in left]


def sizes(records: Iterable[Known]) -> dict[str, list[tuple[float, int]]]:
    """How many records have so many images, and so many characters (in two figures): [number, records] in order."""
    images, characters = Counter[float](), Counter[float]()
    for number, length in (record.own for record in records):
        images[number] += 1
        characters[float(f"{length:.1e}")] += 1
    return {"images": sorted(images.items()), "characters": sorted(characters.items())}


def paid(config: BuildConfig) -> set[str]:
    """Ids of the records that a build which has begun already has an outcome for."""
    account = store.account(config.output)
    return {*account.done, *store.tries(account.failures)}


def parts_left(
    config: BuildConfig, trial: BuildConfig, population: Mapping[str, Known], measured: Sequence[str]
) -> list[tuple[Sequence[str], list[Part]]]:
    """The stages of each pass and the parts of what is left to pay: a build may have been interrupted in any pass."""
    left: list[tuple[Sequence[str], list[Part]]] = []
    for (directory, _, stages), (there, engine, _) in zip(passes(config), passes(trial), strict=True):
        account = store.account(directory)
        done = {*account.done, *store.tries(account.failures)}
        own, shared = costs_of_pass(there, engine, measured)
        parts = [own_part(population, own, done)]
        parts += [shared_part(population, shared, done)] if "caption" in stages else []
        left.append((stages, parts))
    return left


def trial_config(config: BuildConfig) -> BuildConfig:
    """The build's settings for a plan's records: a directory of its own, no budget, and one engine per pass.

    The budget is the build's, not the plan's. A few records spread over a pool of engines would be measured as slow.
    Replies in a `cache` file would be measured as free, whatever they were for the others.
    """
    with_engine = {str(name): stage for name in STAGES if (stage := getattr(config, name)).engine}
    stages = {name: stage.model_copy(update={"engine": _single(stage.engine)}) for name, stage in with_engine.items()}
    changes = {"output": config.output / FOLDER, "max_budget": None, "cache": None, "engine": _single(config.engine)}
    return config.model_copy(update={**changes, **stages})


def _single(engine: EngineConfig) -> EngineConfig:
    return engine.model_copy(update={"actors": (1, 1)})


def costs(config: BuildConfig, ids: Iterable[str]) -> dict[str, Cost]:
    """What each of these records cost in all passes of the build, failed tries included; seconds are GPU-seconds."""
    by_id = {id: Cost() for id in ids}
    for directory, engine, _ in passes(config):
        for part in costs_of_pass(directory, engine, [*by_id]):
            for id, cost in part.items():
                by_id[id] = Cost(by_id[id].usage + cost.usage, by_id[id].seconds + cost.seconds)
    return by_id


def costs_of_pass(directory: Path, engine: EngineConfig, ids: Sequence[str]) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """What each of these records cost in a pass: its own requests, and those that records share (0 where a pass has not
    counted them apart).

    The time of the pass's engines is divided among its records by the tokens the engine had to compute for them.
    """
    shared = {
        result.id: from_row(Usage, result.row["shared"])
        for result in store.results(directory)
        if "shared" in result.row
    }
    spent: dict[str, Usage] = {}
    for id, usage in store.costs(directory):
        spent[id] = spent.get(id, Usage()) + usage
    per_token = gpu_seconds(directory, engine) / max(sum(map(_computed, spent.values())), 1)
    nothing = Usage()
    own = {id: _less(spent.get(id, nothing), shared.get(id, nothing)) for id in ids}
    return (
        {id: Cost(usage, per_token * _computed(usage)) for id, usage in own.items()},
        {id: Cost(usage, per_token * _computed(usage)) for id in ids for usage in (shared.get(id, nothing),)},
    )


def _computed(usage: Usage) -> int:
    return usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens


def _less(usage: Usage, part: Usage) -> Usage:
    return Usage(*(getattr(usage, name) - getattr(part, name) for name in cost_estimator.TOKENS))


def compare(config: BuildConfig, ids: Sequence[str]) -> dict[str, Any] | None:
    """How far the plan in the run directory was off, by figure; None without a plan for this many records."""
    path = config.output / FOLDER / FILE
    if not path.is_file():
        return None
    planned = _parse_plan(json.loads(path.read_text(encoding="utf-8")))
    if planned.total != len(ids):
        return None
    actual = cost_estimator.totals(costs(config, ids), config.prices, gpus=1)
    since = {name: value - planned.before.get(name, 0.0) for name, value in actual.items()}
    return {name: dataclasses.asdict(deviation) for name, deviation in cost_estimator.compare(planned, since).items()}


def _table(plan: Plan, currency: str, unknown: Sequence[str]) -> Table:
    """The plan as a table for the terminal, – for figures that are `unknown`."""
    notes = [f"{plan.done:,} are done"] if plan.done else []
    notes += [f"{plan.left_out:,} have no usable image or more than max_images"] if plan.left_out else []
    title = f"plan for {plan.records:,} records, from {plan.measured} of them"
    title += f" (of {plan.total:,}; {', '.join(notes)})" if notes else ""
    table = Table(title=title, title_justify="left", box=None)
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
    own = {field.name: values[field.name] for field in dataclasses.fields(Plan)}
    return Plan(**{**own, "figures": figures})
