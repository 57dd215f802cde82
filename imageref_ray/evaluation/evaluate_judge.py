"""Test set + answers + a judge → ratings, win rates and agreement: `imageref evaluate judge`.

    questions, answers ─▶ one pass on the judge's engine ─▶ judgements ─▶ values of each answer ─▶ metrics.json
    people's ratings, other judges' runs ─────────────────────────────────────────────────────────┘

Also written: `judgements.jsonl` ({"id", "prompt", "response", …}, one line a judgement) and `events.jsonl` ({"id",
"mode", "values", …}, one line an answer; `mode` is the system's name).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.console import Console

from imageref_ray.batch import manifest, outcome, store
from imageref_ray.batch.budget import gpu_seconds, money
from imageref_ray.batch.job import Job, Summary, pass_of, run_job
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.worker import Pass, Row, stage
from imageref_ray.core.config import JudgeConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, Usage, from_row, to_row
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Generate
from imageref_ray.evaluation import events, tables
from imageref_ray.evaluation.evaluate_placement import LIMITS
from imageref_ray.evaluation.events import Event
from imageref_ray.evaluation.judge_inputs import Inputs, Values, read_inputs, read_raters, record_id
from imageref_ray.evaluation.judge_results import agreements, judge_events, judgement_lines, merge, summarise
from imageref_ray.stages.judge import Item, Judgement, judge, references
from imageref_ray.stages.prompts.rubric import Rubric, load_rubric


def evaluate_judge(
    config: JudgeConfig, console: Console | None = None, again: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Metrics by system (`systems`, see `judge_metrics`), `ranking`, `agreement`, `cost`, the pass's numbers (`run`).

    A missing answer counts as an empty one; an answer whose judgement failed or has no rating is left out and counted.
    Resumes an interrupted run; of a finished run the metrics are computed anew from its judgements. Answers in the
    quarantine stay there, except those whose ids are in `again`. Raises as `run_job`.
    """
    rubric = load_rubric(config.rubric)
    inputs = read_inputs(config, rubric)
    raters = read_raters(config, inputs)

    def run() -> Summary:
        from imageref_ray.batch.ray_data import run_pass

        rows = (to_row(inputs.item(system, id)) for system in inputs.systems for id in inputs.questions)
        return run_pass(_make_pass(config, rubric), rows, again)

    def finish(summary: Summary) -> Summary:
        outcome.check(config.output, 0)  # without any judgement there is nothing to measure
        metrics = {**_measure(config, inputs, raters), "cost": _cost(config, summary), "run": summary}
        manifest.write_json(config.output / "metrics.json", metrics)
        return metrics

    def show(summary: Summary, console: Console) -> None:
        tables.show(console, tables.judge(f"evaluate judge: {config.output}", summary), summary)

    def repeat(done: Summary, console: Console) -> Summary:
        summary = finish(done["run"])
        manifest.revise(config.output, config.model_dump(mode="json", include={"human", "judges", "seed"}), summary)
        show(summary, console)
        return summary

    return run_job(Job(config, _settings(config, rubric), run, finish, show, repeat), console)


def _make_pass(config: JudgeConfig, rubric: Rubric) -> Pass:
    return pass_of(
        config,
        "evaluate judge",
        partial(judge_answer, rubric=rubric, max_tokens=config.max_tokens),
        prepare=partial(prepare, rubric=rubric),
        weight=weight,
    )


def weight(row: Row) -> float:
    """A rough length of an item's longest prompt in tokens: four characters per token."""
    return sum(len(row[name]) for name in ("question", "reference", "answer", "baseline")) / 4


def prepare(row: Row, *, rubric: Rubric) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the row with the images verified that are to be judged, or the record's failure."""
    item = from_row(Item, row)
    images = list(item.images)
    for k in sorted({ref.k for ref in references(item.answer, rubric)}) if images else ():
        if 1 <= k <= len(images):
            verified = verify(images[k - 1], LIMITS["bytes"], LIMITS["pixels"])
            if isinstance(verified, Problem):
                return row, (Failure(item.id, "verify", verified.error, verified.message),)
            images[k - 1] = verified
    return to_row(dataclasses.replace(item, images=tuple(images))), ()


async def judge_answer(row: Row, generate: Generate, *, rubric: Rubric, max_tokens: int) -> Row:
    """Judge one item: `{"id", "judgements": [Judgement, …]}`."""
    with stage("judge"):
        judgements = await judge(from_row(Item, row), generate, rubric, max_tokens)
    return {"id": row["id"], "judgements": [to_row(judgement) for judgement in judgements]}


def _measure(config: JudgeConfig, inputs: Inputs, raters: Mapping[str, Values]) -> dict[str, Any]:
    """Write the judgements and the values of every answer; returns the metrics of all systems. Raises RunFailed."""
    rows = {result.id: result.row["judgements"] for result in store.results(config.output)}
    said = {
        (system, id): [from_row(Judgement, row) for row in rows[record_id(system, id)]]
        for system in inputs.systems
        for id in inputs.questions
        if record_id(system, id) in rows
    }
    judged = merge(inputs, said)
    write_jsonl(config.output / "judgements.jsonl", judgement_lines(inputs.rubric, said))
    found = list(judge_events(inputs, said, judged, events.problems(store.failures(config.output))))
    events.write(config.output, found)
    _check_rated(config, found)
    values = {key: one.values for key, one in judged.items()}
    return {
        **summarise(inputs, said, judged, config.seed),
        "unknown_ratings": {name: len(values.keys() - inputs.keys) for name, values in raters.items()},
        "agreement": agreements(inputs.rubric, {"judge": values, **raters}, config.seed),
    }


def _check_rated(config: JudgeConfig, found: Sequence[Event]) -> None:
    """Raise RunFailed where no answer has a rating: the judge cannot judge, or there is nothing that it could."""
    if not any(event.values for event in found):
        ((problem, count),) = Counter(event.problem for event in found).most_common(1)
        raise RunFailed(
            f"{config.output}: none of {len(found):,} answers has a rating; most often: {problem} ({count:,} times). "
            "Read judgements.jsonl there, then take another judge, rubric or answers, and another output"
        )


def _cost(config: JudgeConfig, summary: Summary) -> dict[str, Any]:
    """What the run cost: requests, tokens, and money, which is 0 where `prices` are."""
    usage, gpu_hours = from_row(Usage, summary), gpu_seconds(config.output, config.engine) / 3600
    tokens = {"prompt_tokens": usage.prompt_tokens, "generated_tokens": usage.generated_tokens}
    spent = {"money": money(usage, gpu_hours, config.prices), "currency": config.prices.currency}
    return {"requests": usage.requests, **tokens, **spent}


def _settings(config: JudgeConfig, rubric: Rubric) -> dict[str, Any]:
    """Every setting that changes the judgements: the run's fingerprint."""
    return {
        "job": "evaluate judge",
        **config.model_dump(mode="json", include={"baseline", "max_tokens", "limit"}),
        "rubric": {"name": config.rubric, "content": manifest.digest(rubric.model_dump())},
        "data": manifest.content_identity(config.data),
        "answers": {name: manifest.content_identity(path) for name, path in config.answers.items()},
        "engine": manifest.engine_settings(config.engine),
    }
