"""The one protocol of a job: fingerprint → begin → passes → results → manifest → table → outcome.

Job ─▶ begin ─┬─ new or interrupted ─▶ run ─▶ finish ─▶ manifest.json ─┐
              └─ done before ────────▶ repeat ─────────────────────────┴─▶ outcome: enough succeeded, or RunFailed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray.batch import manifest, outcome
from imageref_ray.batch.budget import Budget, Cost
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.worker import Pass, Prepare, Row, Work
from imageref_ray.core.config import CheckpointConfig, EngineConfig, PassConfig
from imageref_ray.core.tiles import notice

Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What one kind of job puts into the protocol.

    `settings` are the run's fingerprint. `run` does the work that is left and returns `ray_data.summary`; `finish`
    writes what is made of the results and returns the job's summary; `show` prints it; `repeat` is called instead of
    all three with the summary of a run that was done before, and returns the one that holds now. `check` raises
    RunFailed where the results of a job that is done are worth nothing, in what the job alone knows.
    """

    config: PassConfig
    settings: Mapping[str, Any]
    run: Callable[[], Summary]
    finish: Callable[[Summary], Summary]
    show: Callable[[Summary, Console], None]
    repeat: Callable[[Summary, Console], Summary]
    check: Callable[[], None] = lambda: None


def run_job(job: Job, console: Console | None = None) -> Summary:
    """Do, or finish, a job in its run directory; returns its summary.

    Raises ConfigError for what the user can fix, EngineError when the engine fails, Stopped when the job is told to
    end, RunFailed where it is done and too few of its records succeeded. After any of them the same call resumes.
    """
    console, config = console or Console(), job.config
    values = config.model_dump(mode="json")
    if isinstance(config.engine, CheckpointConfig) and (
        different := notice(config.engine.model, config.engine.max_tiles)
    ):
        console.print(different, highlight=False, soft_wrap=True)
    reason = config.output / outcome.REASON
    try:
        done = manifest.begin(config.output, job.settings, values)
        if done is not None:
            summary = job.repeat(done, console)
        else:
            summary = job.finish(job.run())
            manifest.finish(config.output, values, job.settings, summary)
            job.show(summary, console)
        outcome.check(config.output, config.min_success)
        job.check()
    except RunFailed as failed:
        manifest.write_json(reason, {"kind": "failed", "message": str(failed)})
        raise
    reason.unlink(missing_ok=True)
    return summary


def nothing_left(config: PassConfig, records: str, summary: Summary, console: Console) -> Summary:
    """The `repeat` of a job that has nothing to do anew: one line that says so. `records` names what it counts."""
    line = f"{config.output} is done: {summary['records']} {records}, nothing left to do"
    console.print(line, highlight=False, soft_wrap=True)
    return summary


def show_again(show: Callable[[Summary, Console], None], summary: Summary, console: Console) -> Summary:
    """The `repeat` of a job whose results are what it shows."""
    show(summary, console)
    return summary


def pass_of(
    config: PassConfig,
    name: str,
    work: Work,
    *,
    prepare: Prepare | None = None,
    weight: Callable[[Row], float],
    engine: EngineConfig | None = None,
    directory: Path | None = None,
    before: Cost | None = None,
    replies: Path | None = None,
) -> Pass:
    """A pass with what the config says of every pass; `engine` and `directory` where they are not the job's own.

    `before` is what the job's earlier passes cost, which counts against its budget.
    """
    engine, directory, limit = engine or config.engine, directory or config.output, config.max_budget
    return Pass(
        name=name,
        directory=directory,
        work=work,
        engine=engine,
        prepare=prepare,
        commit_records=config.commit_records,
        commit_seconds=config.commit_seconds,
        weight=weight if config.preflight else None,
        budget=Budget(limit, config.prices, before or Cost(), engine.gpus) if limit else None,
        replies=replies,
        patience_s=60 * config.stall_minutes,
    )
