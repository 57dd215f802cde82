"""`imageref retry`: the quarantined records of a run, of whatever job, once more."""

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
    VqaConfig,
    check,
    check_places,
)
from imageref_ray.evaluation.evaluate_placement import evaluate_placement
from imageref_ray.evaluation.evaluate_vqa import evaluate_vqa

JOBS: Mapping[str, tuple[Any, Callable[..., dict[str, Any]]]] = {
    "build": (BuildConfig, build),
    "instruct": (InstructConfig, instruct),
    "evaluate placement": (EvaluateConfig, evaluate_placement),
    "evaluate vqa": (VqaConfig, evaluate_vqa),
}
"""What a run's fingerprint calls its job → the job's settings and what does it."""


def retry(
    run: Path, stage: str | None = None, error: str | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Run a run's quarantined records once more, all or those of one stage or error; returns the run's summary.

    Raises ConfigError where none matches, and what the job itself raises.
    """
    job, values = manifest.job_and_config(run)
    if job not in JOBS:
        raise ConfigError(f"{run} is a run of {job}, which has no quarantine; run the same command again to resume it")
    settings, do = JOBS[job]
    config = check(settings, values, str(run / "fingerprint.json")).model_copy(update={"output": run})
    check_places(config)
    whole = [failure for failure in store.failures(run) if not failure.item]
    chosen = [f for f in whole if stage in (None, f.stage) and error in (None, f.error)]
    if not chosen:
        reasons = sorted({f"--stage {failure.stage} --error {failure.error}" for failure in whole})
        told = f"it has {'; '.join(reasons)}" if reasons else "its quarantine is empty"
        raise ConfigError(f"{run}: no quarantined record matches; {told}")
    manifest.reopen(run)
    return do(config, console, frozenset(f.record_id for f in chosen))
