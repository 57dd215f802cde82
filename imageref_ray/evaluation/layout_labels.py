"""Position labels that cost nothing: where a document shows an image, it belongs to what is said there.

    annotation file ─▶ paragraph beside each image ─▶ reference's section that says the same ─▶ relevance 3 at its slot

The paragraph is the one before the image, or the one after it where none stands between the image and a header. Its
section is found by the likeness of letters that `alignment` has, for the whole paragraph and for each of its sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imageref_ray.core import markdown, sentences
from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import LABEL, Question, Relevance
from imageref_ray.evaluation.alignment import THRESHOLD, Section, dice, sections


@dataclass(frozen=True, slots=True)
class Layout:
    """Labels under the slot policy "before" by event id, and what became of the images of all events.

    `alone` have no paragraph beside them, `unlike` one that no section resembles, the other `images` are labelled. An
    event without any labelled image has no labels.
    """

    labels: dict[str, Relevance]
    images: int
    alone: int
    unlike: int


def layout_labels(questions: Mapping[str, Question], threshold: float = THRESHOLD) -> Layout:
    """Labels of every question's reference answer; slots that no image belongs to are labelled as empty."""
    labels: dict[str, Relevance] = {}
    images = alone = unlike = 0
    for id, question in questions.items():
        slots = _slots(question.reference)
        relevance: dict[int, dict[str, int]] = {slot: {} for slot in slots}
        for image, paragraph in _paragraphs(question.prompt):
            images += 1
            slot = _supported(paragraph, slots, threshold)
            alone += not paragraph
            unlike += bool(paragraph) and not slot
            if slot:
                relevance[slot][image.id] = 3
        if any(relevance.values()):
            labels[id] = relevance
    return Layout(labels, images, alone, unlike)


def support(paragraph: str, section: Section) -> float:
    """How much of a section the paragraph says, 0 to 1: the likeness of the section's lines to all or one sentence."""
    body = " ".join(section.lines)
    return max(dice(part, body) for part in (paragraph, *sentences.split(paragraph)))


def _slots(reference: str) -> dict[int, Section]:
    """Slot (policy "before") → the section below its header."""
    headed = [section for section in sections(markdown.strip_images(reference)) if section.header]
    return dict(enumerate(headed, start=1))


def _supported(paragraph: str, slots: Mapping[int, Section], threshold: float) -> int:
    """The slot of the section most like the paragraph, the first of equals; 0 where none is like it."""
    likeness = {slot: support(paragraph, section) for slot, section in slots.items() if paragraph and section.lines}
    best = max(likeness, key=lambda slot: likeness[slot], default=0)
    return best if likeness.get(best, 0) >= threshold else 0


def _paragraphs(prompt: Iterable[str | Image]) -> list[tuple[Image, str]]:
    """Every image of a prompt with the paragraph beside it, empty where there is none."""
    flow: list[str | Image] = []
    for part in prompt:
        flow += [part] if isinstance(part, Image) else markdown.lines(LABEL.sub("", part))
    return [
        (image, _first_text(reversed(flow[:at])) or _first_text(flow[at + 1 :]))
        for at, image in enumerate(flow)
        if isinstance(image, Image)
    ]


def _first_text(parts: Iterable[str | Image]) -> str:
    """The first text among parts, unless it is a header."""
    text = next((part for part in parts if isinstance(part, str)), "")
    return "" if markdown.is_header(text) else text
