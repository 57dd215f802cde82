"""Answers and labels in, metrics out: what `imageref evaluate placement` measures, and `imageref score` without engine.

answers {"id", "result"} + annotation JSONL ─▶ texts beside the reference ─┐
insertion JSONL ─────────────────────────────▶ predictions ────────────────┴─▶ placements ─▶ metrics
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageref_ray.batch.outcome import RunFailed
from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset import paper_formats
from imageref_ray.dataset.paper_formats import Insertion, Placed
from imageref_ray.evaluation.comparison import Values
from imageref_ray.evaluation.labelled_set import LabelledSet, check_images, read_labelled_set
from imageref_ray.evaluation.placement_metrics import event_values, summarise
from imageref_ray.evaluation.read_answer import Reading, read_answer, summarise_readings
from imageref_ray.stages import parsing

LOG = logging.getLogger(__name__)

ZERO = re.compile(r"Position\s*0+\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scored:
    """One system's metrics, and the values of every event that they are the means of."""

    metrics: dict[str, Any]
    values: Values


def score(labels: Path, predictions: Path, paper: bool = False, seed: int = 0) -> Scored:
    """Metrics of predictions over all labelled events (see `placement_metrics.summarise`); both files number the same
    slots. Images that do not exist count as wrong; `unread` predictions say neither an image nor none.

    `unparsed` is the share of labelled events whose answer is not a predictions object. Predictions for events
    without labels are ignored. Raises ConfigError for a file that cannot be read, or files that do not match, and
    RunFailed where no answer can be used.
    """
    relevance = paper_formats.read_labels(labels)
    insertions = paper_formats.read_insertions(predictions)
    if not relevance:
        raise ConfigError(f"{labels} holds no event; give the label CSV of the predicted events")
    _check_ids(insertions, predictions, relevance, labels)
    answered = {id: insertions[id] for id in relevance if id in insertions}
    check_images(relevance, {id: insertion.images for id, insertion in answered.items()}, labels, predictions)
    if zeros := sum(bool(ZERO.search(insertion.result)) for insertion in answered.values()):
        LOG.warning(
            "%s: %d of %d results have <Position 0>, which is not read: positions count from 1; renumber them "
            "if all begin at 0",
            predictions,
            zeros,
            len(answered),
        )
    read = {id: _read_insertion(insertion) for id, insertion in answered.items()}
    usable = {id: found for id, found in read.items() if found is not None}
    if not usable:
        raise RunFailed(
            f"{predictions}: none of {len(answered)} labelled events has a result with predictions that can be read, "
            'such as {"predictions": [{"position": "<Position 1>", "image": "IMAGE_2"}]}; nothing was measured'
        )
    placements = {id: _placed(found) for id, found in read.items()}
    unknown = {id: found.unknown for id, found in usable.items()}
    metrics = summarise(relevance, placements, paper, seed, unknown=unknown)
    unread = sum(found.unread for found in usable.values())
    return Scored({**metrics, "unread": unread}, event_values(relevance, placements, unknown, paper))


def score_texts(
    labels: Path,
    answers: Path,
    data: Path,
    policy: markdown.Policy = "before",
    paper: bool = False,
    limit: int | None = None,
    seed: int = 0,
) -> Scored:
    """Metrics of any system's answers ({"id", "result"}): those that an evaluation has of the same answers.

    `policy` says which slots of the reference texts of `data` the labels count; only the first `limit` labelled
    questions are scored. Answers to other questions are ignored. Raises as `score`.
    """
    labelled = read_labelled_set(labels, data, Path("."), policy, limit)
    texts = paper_formats.read_answers(answers)
    _check_ids(texts, answers, labelled.questions, data)
    readings = read_texts(labelled, texts)
    if not any(reading.aligned for reading in readings.values()):
        raise RunFailed(
            f"{answers}: none of {len(readings)} answers has a section of its question's reference in {data}; "
            "nothing was measured"
        )
    placements = {id: reading.placements for id, reading in readings.items()}
    unknown = {id: reading.unknown for id, reading in readings.items()}
    values = event_values(labelled.labels or {}, placements, unknown, paper)
    return Scored(measure(labelled, readings, paper, seed), values)


def read_texts(labelled: LabelledSet, answers: Mapping[str, str]) -> dict[str, Reading]:
    """The answers to the set's questions, read."""
    questions = labelled.questions
    return {id: read_answer(answers[id], questions[id], labelled.policy) for id in questions if id in answers}


def measure(
    labelled: LabelledSet, readings: Mapping[str, Reading], paper: bool = False, seed: int = 0
) -> dict[str, Any]:
    """The metrics of answers by id (see `placement_metrics.summarise`, `read_answer.summarise_readings`).

    `beyond_text` counts events whose labels have positions that the reference text does not have. Without labels, what
    the readings alone say. Raises ValueError in paper mode where no answer has a section of its reference.
    """
    of_texts = summarise_readings(readings, labelled.questions)
    if labelled.labels is None:
        return {"intervals": {}, **of_texts}
    placements = {id: reading.placements for id, reading in readings.items()}
    unknown = {id: reading.unknown for id, reading in readings.items()}
    metrics = summarise(labelled.labels, placements, paper, seed, unknown=unknown)
    counts = {"beyond_text": len(labelled.beyond_text())}
    return {**metrics, **counts, **of_texts}


def parse_insertion(insertion: Insertion) -> Placed | None:
    """The images an answer places, by slot; None where its text cannot be parsed."""
    return _placed(_read_insertion(insertion))


def _read_insertion(insertion: Insertion) -> parsing.Predictions | None:
    try:
        return parsing.predictions(insertion.result, insertion.images)
    except parsing.ParseError:
        return None


def _placed(found: parsing.Predictions | None) -> Placed | None:
    if found is None:
        return None
    return {slot: entry.image_id for slot, entry in found.by_slot.items() if entry.image_id is not None}


def _check_ids(given: Collection[str], file: Path, known: Collection[str], known_file: Path) -> None:
    if not set(given) & set(known):
        raise ConfigError(
            f"{file} ({len(given)} events) holds no event of {known_file} ({len(known)} events); "
            "give files of the same data set"
        )
