"""Whether a run with nothing left to do has failed all the same: records and quarantine → the commonest reason.

A wrong prompt pack, a model that cannot follow it or a folder that moved quarantines a thousand records; the exit code
and one sentence say so once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from imageref_ray.batch import store
from imageref_ray.core.records import Failure

REASON = "reason.json"
"""Where a run says why it stopped, or is worth nothing, until it goes on."""

SHOWN = 300
"""Characters of a failure's message in a sentence."""


class RunFailed(RuntimeError):
    """Too few of a run's records succeeded, or its data set was not uploaded; the message says why and what to do."""


def check(directory: Path, least: float) -> None:
    """Raise RunFailed where none of the run's records succeeded, or a smaller share than `least`, or it has none."""
    account = store.account(directory)
    if reason := why_failed(len(account.done), account.failures, least):
        raise RunFailed(
            f"{directory}: {reason}. Fix the cause, then run: imageref retry {directory} "
            f"(to see every failure: imageref inspect {directory})"
        )


def why_failed(good: int, failures: Sequence[Failure], least: float, what: str = "records") -> str:
    """A sentence where none of `what` succeeded or a smaller share than `least`, else an empty one.

    `good` is how many succeeded; of the `failures` those of whole records count, unless there is nothing else.
    """
    whole = [failure for failure in failures if not failure.item]
    total = good + len({failure.record_id for failure in whole})
    if not total:
        return f"it has no {what}" + (f"; most often {_commonest(failures)}" if failures else "")
    if good and good >= least * total:
        return ""
    wanted = f" (min_success: {least:g})" if good else ""
    return f"{good:,} of {total:,} {what} succeeded{wanted}; most often {_commonest(whole)}"


def _commonest(failures: Sequence[Failure]) -> str:
    counts = Counter((failure.stage, failure.error) for failure in failures)
    stage, error = min(counts, key=lambda kind: (-counts[kind], kind))
    example = next(failure.message for failure in failures if (failure.stage, failure.error) == (stage, error))
    shown = example if len(example) <= SHOWN else f"{example[:SHOWN]}…"
    return f"{error} in {stage} ({counts[stage, error]:,} times), for example: {shown.rstrip('.')}"
