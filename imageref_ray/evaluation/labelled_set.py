"""Label CSV and annotation JSONL → the events that have both, and whether the two belong together.

Files of two test sets, or labels whose positions count other slots than the setting says, give wrong numbers without
any error; both are told here, before anything is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError
from imageref_ray.dataset.paper_formats import Question, Relevance, read_labels, read_questions

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """`labels` (None: there are none) and `questions` have the same ids, in the order of the questions; `policy` says
    which slots of the reference texts the labels count."""

    labels: Mapping[str, Relevance] | None
    questions: Mapping[str, Question]
    policy: markdown.Policy

    def beyond_text(self, policy: markdown.Policy | None = None) -> list[str]:
        """The ids whose labels have positions that the reference text does not have."""
        labels = self.labels or {}
        return [id for id in labels if max(labels[id], default=0) > slots(self.questions[id], policy or self.policy)]


def read_labelled_set(
    labels: Path | None, data: Path, root: Path, policy: markdown.Policy, limit: int | None = None
) -> LabelledSet:
    """The events that have labels and a question, at most `limit`, in the order of `data`; without labels, all.

    Warns (log) of labels beyond the texts, and of events whose labels know none of their images. Raises ConfigError
    for a file that cannot be read, and where no event is in both or the labels know no image at all.
    """
    questions = read_questions(data, root)
    if labels is None:
        return LabelledSet(None, dict(islice(questions.items(), limit)), policy)
    relevance = read_labels(labels)
    ids = [id for id in questions if id in relevance][:limit]
    if not ids:
        raise ConfigError(
            f"no id of {data} ({len(questions)} samples) is in {labels} ({len(relevance)} events); "
            "give the labels of this test set"
        )
    of_both = {id: relevance[id] for id in ids}
    labelled = LabelledSet(of_both, {id: questions[id] for id in ids}, policy)
    images = {id: [image.id for image in question.images] for id, question in labelled.questions.items()}
    check_images(of_both, images, labels, data)
    if warning := _slot_warning(labelled, of_both):
        LOG.warning("%s: %s", labels, warning)
    return labelled


def slots(question: Question, policy: markdown.Policy) -> int:
    """How many slots the reference text has."""
    return len(markdown.slots(markdown.strip_images(question.reference), policy))


def check_images(
    labels: Mapping[str, Relevance], images: Mapping[str, Collection[str]], label_file: Path, image_file: Path
) -> None:
    """Warn (log) of events whose labels know none of their images; raise ConfigError where that is all of them."""
    both = [id for id in images if images[id] and any(labels[id].values())]
    strange = [id for id in both if not any(image in fits for fits in labels[id].values() for image in images[id])]
    if not strange:
        return
    id = strange[0]
    known = next(image for fits in labels[id].values() for image in fits)
    problem = (
        f"in {len(strange)} of {len(both)} events {label_file} knows none of the images that {image_file} has, "
        f"e.g. in event {id} it knows {known}, not {next(iter(images[id]))}; give files of the same data set"
    )
    if len(strange) == len(both):
        raise ConfigError(problem)
    LOG.warning("%s", problem)


def _slot_warning(labelled: LabelledSet, labels: Mapping[str, Relevance]) -> str:
    """A sentence where labels have positions beyond the texts: how many, and which policy fits."""
    beyond, total = labelled.beyond_text(), len(labelled.questions)
    if not beyond:
        return ""
    other = next(policy for policy in get_args(markdown.Policy) if policy != labelled.policy)
    fitting = total - len(labelled.beyond_text(other))
    if fitting == total:
        advice = f"label_slots: {other} fits all events; set it"
    elif fitting > total - len(beyond):
        advice = f"label_slots: {other} fits {fitting} events, more than these; check both files"
    else:
        advice = f"label_slots: {other} fits no better; give the texts that were labelled"
    id = beyond[0]
    return (
        f"{len(beyond)} of {total} events have labels at positions that their reference text does not have under "
        f"label_slots: {labelled.policy} (event {id}: <Position {max(labels[id])}>, but "
        f"{slots(labelled.questions[id], labelled.policy)} slots), which may lower recall; {advice}"
    )
