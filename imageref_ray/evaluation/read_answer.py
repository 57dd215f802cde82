"""An answer beside its question: which image it places at which slot of the reference, and how it breaks the contract.

A text equal to the reference's (guided decoding) is read line by line; any other is aligned section by section.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.loose_references import tidy
from imageref_ray.dataset.paper_formats import Placed, Question
from imageref_ray.evaluation.alignment import align, sections
from imageref_ray.evaluation.sequence_metrics import edit_score, kendall_score, kendall_script, ordering_score


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer says.

    `placed`: slot of the reference under the labels' policy → image id, the first known image of each slot.
    `references`: the images as written, in order: ids, or `IMAGE_k` where the sample has no image k. Of these,
    `unknown` do not exist, `repeated` were used before, `misplaced` are not alone on a line right after a paragraph.
    `aligned`: share of the reference's sections that the answer has, 0 to 1.
    """

    placed: Placed
    references: tuple[str, ...]
    unknown: int
    repeated: int
    misplaced: int
    aligned: float

    @property
    def placements(self) -> Placed | None:
        """`placed`; None for an answer that has no section of the reference, which cannot be scored."""
        return self.placed if self.aligned else None


def read_answer(answer: str, question: Question, policy: markdown.Policy) -> Reading:
    """Read any text, references in it in any wrapping, case or width; one that has no section of the reference places
    nothing (`aligned` is 0)."""
    answer = tidy(answer)
    text, ids = markdown.strip_images(question.reference), _ids(question)
    if markdown.lines(markdown.strip_images(answer)) == markdown.lines(text):
        numbers, aligned = markdown.extract_placements(text, answer), 1.0
    else:
        alignment = align(text, answer)
        numbers = {slot: next((k for k in ks if k in ids), 0) for slot, ks in alignment.images.items()}
        aligned = alignment.found / max(1, alignment.sections)
    placed = {slot: ids[k] for slot, k in numbers.items() if k in ids}
    written = markdown.references(answer)
    names = [ids.get(ref.k, f"IMAGE_{ref.k}") for ref in written]
    return Reading(
        placed=markdown.convert(placed, text, "after", policy),
        references=tuple(names),
        unknown=sum(ref.k not in ids for ref in written),
        repeated=len(names) - len(set(names)),
        misplaced=sum(not ref.slot for ref in written),
        aligned=aligned,
    )


def summarise_readings(readings: Mapping[str, Reading], questions: Mapping[str, Question]) -> dict[str, Any]:
    """Counts of references over all answers, and means over answers: aligned, the sequence scores, and images per
    section of the answer's reference."""
    scores = [order_scores(reading, questions[id]) for id, reading in readings.items()]
    count = {name: sum(getattr(reading, name) for reading in readings.values()) for name in BREACHES}
    placed = sum(len(reading.placed) for reading in readings.values())
    parts = sum(len(sections(markdown.strip_images(questions[id].reference))) for id in readings)
    return {
        "references": {"written": sum(len(r.references) for r in readings.values()), "counted": placed, **count},
        "aligned": _mean(reading.aligned for reading in readings.values()),
        **{name: _mean(score[name] for score in scores) for name in ORDER},
        "images_per_section": placed / parts if parts else None,
    }


def order_scores(reading: Reading, question: Question) -> dict[str, float]:
    """The scores of `sequence_metrics` of one answer's images beside those of the reference answer, by name."""
    ids = _ids(question)
    truth = tuple(ids[ref.k] for ref in markdown.references(question.reference) if ref.k in ids)
    values = (score(reading.references, truth) for score in (edit_score, kendall_score, ordering_score))
    script = kendall_script(reading.references, truth, len(question.images))
    return dict(zip(ORDER, (*values, script), strict=True))


ORDER = ("edit_score", "kendall_score", "ordering_score", "kendall_script")
"""The scores of the images' order."""

BREACHES = ("unknown", "repeated", "misplaced")
"""Ways in which a reference breaks the contract."""


def _ids(question: Question) -> dict[int, str]:
    """k of `IMAGE_k` → the image's id."""
    return {k: image.id for k, image in enumerate(question.images, start=1)}


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return fsum(numbers) / len(numbers) if numbers else None
