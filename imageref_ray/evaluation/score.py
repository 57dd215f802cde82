"""Label CSV and insertion JSONL in, metrics out: `imageref score`, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import Insertion, Placed, Relevance, read_insertions, read_labels
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.stages import parsing


def score(labels: Path, predictions: Path, paper: bool = False, seed: int = 0) -> dict[str, Any]:
    """Metrics of predictions over all labelled events (see `placement_metrics.summarise`); both files number the same
    slots.

    `unparsed` is the share of labelled events whose answer is not a predictions object. Predictions for events
    without labels are ignored. Raises ConfigError for a file that cannot be read, or files that do not match.
    """
    relevance = read_labels(labels)
    insertions = read_insertions(predictions)
    if not relevance:
        raise ConfigError(f"{labels} holds no event; give the label CSV of the predicted events")
    if not relevance.keys() & insertions.keys():
        raise ConfigError(
            f"{predictions} ({len(insertions)} events) holds no event of {labels} ({len(relevance)} events); "
            "give files of the same data set"
        )
    placements = {id: parse_insertion(insertions[id], relevance[id]) for id in relevance if id in insertions}
    try:
        return summarise(relevance, placements, paper, seed)
    except ValueError as error:
        raise ConfigError(f"{predictions}: {error}; check its result fields, or leave out --paper") from None


def parse_insertion(insertion: Insertion, relevance: Relevance) -> Placed | None:
    """The images an answer places, by slot; None where its text cannot be parsed."""
    slots = max([insertion.result.count("Position"), *relevance])
    try:
        placements = parsing.placement(insertion.result, insertion.images, slots)
    except parsing.ParseError:
        return None
    return {placement.slot: placement.image_id for placement in placements if placement.image_id is not None}
