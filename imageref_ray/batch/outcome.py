"""Whether a run that came to its end is worth anything: records and quarantine → why not, the commonest reason first.

A run that has nothing left to do may still have failed: a wrong prompt pack, a model that cannot follow it, a folder
that moved. Its quarantine says so a thousand times; the exit code and one sentence say it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from imageref_ray.batch import store
from imageref_ray.core.records import Failure

SHOWN = 300
"""Characters of a failure's message in a sentence."""


class RunFailed(RuntimeError):
    """A run ended with too little to show; the message says how little, why most of it failed, and what to do."""


def check(directory: Path, least: float) -> None:
    """Raise RunFailed where none of the run's records succeeded, or a smaller share than `least`."""
    held = store.account(directory)
    if reason := why_failed(len(held.done), held.failures, least):
        raise RunFailed(
            f"{directory}: {reason}. Fix the cause, then: imageref retry {directory} "
            f"(every failure: imageref inspect {directory})"
        )


def why_failed(good: int, failures: Sequence[Failure], least: float, what: str = "records") -> str:
    """A sentence where none of `what` succeeded or a smaller share than `least`, else nothing.

    `good` is how many succeeded; of the `failures` those of whole records count.
    """
    whole = [failure for failure in failures if not failure.item]
    total = good + len({failure.record_id for failure in whole})
    if not total or (good and good >= least * total):
        return ""
    wanted = f" (min_success: {least:g})" if good else ""
    return f"{good:,} of {total:,} {what} succeeded{wanted}; most often {_commonest(whole)}"


def _commonest(failures: Sequence[Failure]) -> str:
    counts = Counter((failure.stage, failure.error) for failure in failures)
    stage, error = min(counts, key=lambda kind: (-counts[kind], kind))
    example = next(failure.message for failure in failures if (failure.stage, failure.error) == (stage, error))
    shown = example if len(example) <= SHOWN else f"{example[:SHOWN]}…"
    return f"{error} in {stage} ({counts[stage, error]:,} times), for example: {shown.rstrip('.')}"
