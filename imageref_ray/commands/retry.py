"""`imageref retry`: run the quarantined records of a run again, whatever its job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from imageref_ray.batch import manifest, store
from imageref_ray.commands.build import build
from imageref_ray.commands.instruct import instruct
from imageref_ray.core.config import (
    BuildConfig,
    ConfigError,
    EvaluateConfig,
    InstructConfig,
    JudgeConfig,
    VqaConfig,
    check,
    check_places,
)
from imageref_ray.evaluation.evaluate_judge import evaluate_judge
from imageref_ray.evaluation.evaluate_placement import evaluate_placement
from imageref_ray.evaluation.evaluate_vqa import evaluate_vqa

JOBS: Mapping[str, tuple[Any, Callable[..., dict[str, Any]]]] = {
    "build": (BuildConfig, build),
    "instruct": (InstructConfig, instruct),
    "evaluate placement": (EvaluateConfig, evaluate_placement),
    "evaluate vqa": (VqaConfig, evaluate_vqa),
    "evaluate judge": (JudgeConfig, evaluate_judge),
}
"""Job name in a run's fingerprint → the class of its settings and the function that runs it."""


def retry(
    run: Path, stage: str | None = None, error: str | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Run a run's quarantined records again, all or those of one stage or error; returns the run's summary.

    Raises ConfigError where none matches, and what the job itself raises.
    """
    job, values = manifest.job_and_config(run)
    if job not in JOBS:
        raise ConfigError(f"{run} is a run of {job}, which has no quarantine; run the same command again to resume it")
    config_class, run_job = JOBS[job]
    config = check(config_class, values, str(run / "fingerprint.json")).model_copy(update={"output": run})
    check_places(config)
    quarantined = [failure for failure in store.failures(run) if not failure.item]
    matching = [f for f in quarantined if stage in (None, f.stage) and error in (None, f.error)]
    if not matching:
        options = sorted({f"--stage {failure.stage} --error {failure.error}" for failure in quarantined})
        hint = f"it has {'; '.join(options)}" if options else "its quarantine is empty"
        raise ConfigError(f"{run}: no quarantined record matches; {hint}")
    manifest.reopen(run)
    return run_job(config, console, frozenset(failure.record_id for failure in matching))
