"""The records of a source → what their costs depend on, known before any model runs: the `Part`s of an estimate.

every record ─ known ─▶ Known ─┬─ own_part ────▶ what is asked for each record alone
                               └─ shared_part ─▶ descriptions and captions, which are asked for once
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from imageref_ray.batch.budget import Cost
from imageref_ray.commands.cost_estimator import Part
from imageref_ray.core.records import MARKER, Sample


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a record before any model runs: what its own requests depend on (its images, the characters of
    its texts), and its shared requests, as (a key that equal ones have, the characters that it reads)."""

    own: tuple[float, ...]
    shared: tuple[tuple[int, float], ...] = ()


def known(sample: Sample) -> Known:
    """What is known of a record. Its shared requests describe each image, and caption each in its document."""
    lengths = [len(d.title) + len(MARKER.sub("", d.text)) for d in sample.documents]
    shared: list[tuple[int, float]] = []
    for document, length in zip(sample.documents, lengths, strict=True):
        for image in document.images:
            seen_in = hash((document.title, document.text, image.uri, image.words))
            shared += [(hash(image.uri), 0.0), (seen_in, float(length))]
    return Known((float(len(sample.images)), float(len(sample.instruction) + sum(lengths))), tuple(shared))


def own_part(records: Mapping[str, Known], costs: Mapping[str, Cost], done: Collection[str]) -> Part:
    """What is asked for each record alone. `costs` are those of the measured records, `done` those that are paid."""
    order = sorted(costs)
    x = np.array([records[id].own for id in order], dtype=np.float64)
    rest = [record.own for id, record in sorted(records.items()) if id not in costs and id not in done]
    due = np.array([float(id not in done) for id in order])
    table = np.array(rest, dtype=np.float64).reshape(len(rest), x.shape[1])
    return Part(x, [costs[id] for id in order], due, x * due[:, None], table)


def shared_part(records: Mapping[str, Known], costs: Mapping[str, Cost], done: Collection[str]) -> Part:
    """The requests that records share, each at the first that asks: their number, and the characters they read."""
    order = sorted(costs)
    # Whoever asked first has paid, and that is not known of a record in flight beside others: those who paid go first.
    payers = sorted(costs, key=lambda id: (-costs[id].usage.requests / max(len(records[id].shared), 1), id))
    seen: set[int] = set()
    x = {id: _new(records[id], seen) for id in payers}
    seen = {key for id in done if id in records for key, _ in records[id].shared}
    due_x = {id: (0.0, 0.0) if id in done else _new(records[id], seen) for id in payers}
    rest = [_new(one, seen) for id, one in sorted(records.items()) if id not in costs and id not in done]
    return Part(
        x=np.array([x[id] for id in order]),
        cost=[costs[id] for id in order],
        due=np.array([float(id not in done) for id in order]),
        due_x=np.array([due_x[id] for id in order]),
        rest=np.array(rest, dtype=np.float64).reshape(len(rest), 2),
        intercept=False,
    )


def _new(record: Known, seen: set[int]) -> tuple[float, float]:
    """How many of the record's shared requests nobody has asked before, and what they read; they are `seen` then."""
    new = {key: length for key, length in record.shared if key not in seen}
    seen.update(new)
    return float(len(new)), sum(new.values())
