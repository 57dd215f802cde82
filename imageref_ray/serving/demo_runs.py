"""Runs for the demo page: the folder that the setting `runs` names → its runs, and their samples as cards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from imageref_ray.batch import manifest, store
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, to_row
from imageref_ray.dataset.cards.card import in_order, make_card
from imageref_ray.serving.errors import WireError

DEPTH = 4
"""Folders below `runs` in which runs are looked for."""


def runs(folder: Path | None) -> list[dict[str, Any]]:
    """`name` (the path below the folder), `job`, and whether it is `finished`, of each run that has records."""
    if folder is None:
        return []
    listed = []
    for directory in _directories(folder):
        try:
            job, _ = manifest.job_and_config(directory)
        except ConfigError:
            job = "damaged"
        name, done = directory.relative_to(folder).as_posix(), (directory / "manifest.json").is_file()
        listed.append({"name": name, "job": job, "finished": done})
    return listed


def samples(folder: Path | None, name: str, offset: int, count: int) -> dict[str, Any]:
    """`records` (how many), `failures` by kind, and the cards of records `offset` to `offset + count`, by id.

    Raises WireError for a folder that is no run of these (404), or is damaged (500).
    """
    found = {path.relative_to(folder).as_posix(): path for path in _directories(folder)} if folder else {}
    if name not in found:
        raise WireError(f"there is no run `{name[:200]}`", status=404)
    directory = found[name]
    try:
        account = store.account(directory)
        ids = sorted(account.done, key=in_order)
        results = list(store.results_of(directory, ids[offset : offset + count]))
    except (OSError, ValueError, pa.ArrowException):
        raise WireError(f"the run `{name[:200]}` cannot be read; see it with imageref inspect", status=500) from None
    failures: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in account.failures:
        failures[failure.record_id].append(failure)
    cards = [make_card(result, failures[result.id], directory) for result in results]
    return {
        "name": name,
        "records": len(ids),
        "failures": _kinds(account.failures),
        "samples": [_plain(card) for card in cards],
    }


def _directories(folder: Path) -> list[Path]:
    """The run directories in the folder, which may be one itself."""
    marks = (path for depth in range(DEPTH + 1) for path in folder.glob(f"{'*/' * depth}{store.RECORDS}"))
    return sorted(path.parent for path in marks if (path.parent / "fingerprint.json").is_file())


def _kinds(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    """How often each error came in each stage, with one message; the most frequent first."""
    counts = Counter((failure.error, failure.stage) for failure in failures)
    examples = {(failure.error, failure.stage): failure.message for failure in failures}
    return [
        {"error": error, "stage": stage, "count": count, "example": examples[error, stage]}
        for (error, stage), count in counts.most_common()
    ]


def _plain(card: dict[str, Any]) -> dict[str, Any]:
    """The card with its records as JSON holds them."""
    return {**card, "usage": to_row(card["usage"]), "failures": [to_row(failure) for failure in card["failures"]]}
