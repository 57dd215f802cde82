"""Labels, questions and one mode's answers → the rows of `events.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from imageref_ray.core import markdown
from imageref_ray.dataset.paper_formats import Placed, Question, Relevance
from imageref_ray.evaluation.events import Event, SlotVerdict
from imageref_ray.evaluation.labelled_set import LabelledSet
from imageref_ray.evaluation.placement_metrics import event_values, verdicts
from imageref_ray.evaluation.read_answer import Reading, order_scores

MAX_QUESTION = 300
"""Characters kept of a question: its prompt begins with it, and goes on with the documents."""

NO_SECTION = "the answer has no section of the reference"


def placement_events(
    mode: str,
    labelled: LabelledSet,
    answers: Mapping[str, str],
    readings: Mapping[str, Reading],
    problems: Mapping[str, str],
    paper: bool = False,
) -> Iterator[Event]:
    """One event per question, with the values that `placement_metrics.summarise` takes the means of; without labels,
    with the scores of the images' order.

    A question without an answer (`problems[id]` says why) has the values of an empty answer; in paper mode, and
    without labels, it is left out, and in paper mode so is an answer that has no section of the reference. Where no
    event has an image at a labelled slot, all precisions are None.
    """
    labels = labelled.labels
    placements = {id: reading.placements for id, reading in readings.items()}
    unknown = {id: reading.unknown for id, reading in readings.items()}
    scores = event_values(labels, placements, unknown, paper) if labels is not None else {}
    for id, question in labelled.questions.items():
        reading = readings.get(id)
        problem = problems.get(id, "no answer") if reading is None else "" if reading.aligned else NO_SECTION
        values = scores[id] if labels is not None else {**order_scores(reading, question)} if reading else {}
        yield Event(
            id=id,
            mode=mode,
            values=values,
            problem=problem,
            question=_first_line(question),
            text=markdown.strip_images(question.reference) if labels is not None else "",
            policy=labelled.policy,
            answer=answers.get(id, ""),
            expected=question.reference if labels is None else "",
            images=question.images,
            slots=_slots(labels[id], reading.placed if reading else {}) if labels is not None else (),
        )


def _slots(relevance: Relevance, placed: Placed) -> tuple[SlotVerdict, ...]:
    return tuple(
        SlotVerdict(
            slot=slot,
            verdict=verdict,
            image=placed.get(slot, ""),
            best=_best(relevance.get(slot, {})),
        )
        for slot, verdict in verdicts(relevance, placed).items()
    )


def _best(fitting: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(image for image, value in fitting.items() if value == max(fitting.values()))


def _first_line(question: Question) -> str:
    texts = (line for part in question.prompt if isinstance(part, str) for line in markdown.lines(part))
    return next(texts, "")[:MAX_QUESTION]
