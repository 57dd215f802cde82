"""Label CSV and insertion JSONL in, one JSON object of metrics out: `imageref score`, no engine needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import Insertion, Placed, Relevance, read_insertions, read_labels
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.stages import parsing


def score(labels: Path, predictions: Path, paper: bool = False, seed: int = 0) -> dict[str, Any]:
    """Metrics of predictions over all labelled events, see `placement.summarise`; both files count the same slots.

    `unparsed` is the share of labelled events whose answer is no predictions object. Predictions for events
    without labels are not used. Raises ConfigError for a file that cannot be read, or files that do not match.
    """
    labelled = read_labels(labels)
    given = read_insertions(predictions)
    if not labelled:
        raise ConfigError(f"{labels} holds no event; give the label CSV of the predicted events")
    if not labelled.keys() & given.keys():
        raise ConfigError(
            f"{predictions} ({len(given)} events) holds no event of {labels} ({len(labelled)} events); "
            "give files of the same data set"
        )
    answers = {event: placed(given[event], relevance) for event, relevance in labelled.items() if event in given}
    try:
        return summarise(labelled, answers, paper, seed)
    except ValueError as error:
        raise ConfigError(f"{predictions}: {error}; look at its result fields, or leave out --paper") from None


def placed(insertion: Insertion, relevance: Relevance) -> Placed | None:
    """The images an answer places, by slot; None where its text cannot be parsed."""
    slots = max([insertion.result.count("Position"), *relevance])
    try:
        read = parsing.placement(insertion.result, insertion.images, slots)
    except parsing.ParseError:
        return None
    return {placement.slot: placement.image_id for placement in read if placement.image_id is not None}
