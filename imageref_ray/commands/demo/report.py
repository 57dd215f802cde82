"""The demo's report: numbers, images and answers in, one self-contained HTML page out.

No scripts, no other files: charts are inline SVG, images are data URIs. All text from documents and models is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from imageref_ray.commands import pages
from imageref_ray.commands.comparison.tables import conclusion, p_text
from imageref_ray.commands.pages import figures
from imageref_ray.core import markdown
from imageref_ray.core.durable import writing
from imageref_ray.core.images import open_rgb
from imageref_ray.dataset.cards.card import line_block
from imageref_ray.dataset.cards.thumbnails import data_uri
from imageref_ray.dataset.paper_formats import Placed, Relevance
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.compare_runs import Comparison
from imageref_ray.evaluation.placement_metrics import verdicts

MAX_SIDE = 320
"""Longest side of an embedded image in pixels."""

TemplateImage = dict[str, Any]
"""A `ShownImage` with `src`, its data URI."""

Block = dict[str, Any]
"""One piece of an answer as the template shows it: `kind` title, header or text with `text`; or slot with `verdict`,
`image` (None for an empty slot) and `best` (the numbers of the images that fit best)."""

VERDICTS = {
    "right": ("✓", "Right"),
    "fair": ("≈", "Fits"),
    "wrong": ("✕", "Wrong"),
    "missed": ("○", "Missed"),
    "unlabelled": ("?", "Not judged"),
}
"""Verdict → sign and word (sign and frame show it without colour)."""


class ShownImage(TypedDict):
    """One image of an event; `number` is k of `IMAGE_k`, `document` the title of its document."""

    id: str
    number: int
    path: str
    caption: str
    document: str


class ShownEvent(TypedDict):
    """One test event. `text` is the reference answer without images, which both models repeat in guided decoding;
    `relevance`, `base` and `tuned` hold slots of `policy` ("before" by default) and image ids. `free` is the tuned
    model's answer in free decoding."""

    id: str
    question: str
    images: Sequence[ShownImage]
    text: str
    relevance: Relevance
    base: Placed
    tuned: Placed
    policy: NotRequired[markdown.Policy]
    free: NotRequired[str]


class ShownSentence(TypedDict):
    """A sentence of an answer, whether it is true of the image, and its `mark`: "new", "removed" or empty (kept)."""

    text: str
    true: bool
    mark: str


class ShownCorrection(TypedDict):
    """A question about an image, its draft answer, and the corrected answer by mode of correction."""

    path: str
    question: str
    draft: Sequence[ShownSentence]
    versions: Mapping[str, Sequence[ShownSentence]]


class ReportData(TypedDict):
    """What `write_report` needs. All but the last five and the title are as in report.json:

    * `corpus`: name → number
    * `build`: records, quarantined, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens,
      seconds and `agreement` {precision, recall, captions}, shares from 0 to 1
    * `train`: steps, first_loss, last_loss, seconds
    * `evaluate`: `base` and `tuned`, each a summary of `placement_metrics.summarise`
    * `instruct`: mode of correction → false units in drafts and in corrected answers (`judge_answers.measure`), and
      `cached_share` of the prompt tokens
    * `loss`: (step, loss) as logged; `stages`: (name, seconds) in the order they ran; `seconds`: their sum
    * `comparisons`: of `base` and `tuned`, one per way of decoding (`compare_runs`)
    * `events`, `corrections`: those to show
    """

    title: str
    lead: str
    corpus: Mapping[str, Any]
    build: Mapping[str, Any]
    train: Mapping[str, Any]
    evaluate: Mapping[str, Mapping[str, Any]]
    instruct: Mapping[str, Mapping[str, Any]]
    loss: Sequence[tuple[float, float]]
    stages: Sequence[tuple[str, float]]
    seconds: float
    comparisons: Sequence[Comparison]
    events: Sequence[ShownEvent]
    corrections: Sequence[ShownCorrection]


def write_report(path: Path, data: ReportData) -> None:
    """Write the page to `path` and create its folder. For an image that cannot be opened the page shows a note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        path.write_text(render(data), encoding="utf-8")


def render(data: ReportData) -> str:
    """The page as a string."""
    from markupsafe import Markup

    base, tuned = data["evaluate"]["base"], data["evaluate"]["tuned"]
    return pages.render(
        Path(__file__).with_name("report.html"),
        data=data,
        base=base,
        tuned=tuned,
        names=figures.METRIC_NAMES,
        number=tables.number,
        conclusion=conclusion,
        p_text=p_text,
        duration=figures.duration,
        verdicts=VERDICTS,
        loss=Markup(figures.loss_curve(data["loss"])),
        bars=Markup(figures.metric_bars(base, tuned)),
        time=Markup(figures.time_bar(data["stages"])),
        events=[_event_view(event) for event in data["events"]],
        corrections=[
            {**correction, "src": _data_uri(correction["path"]), "caption": correction["question"]}
            for correction in data["corrections"]
        ],
    )


def _event_view(event: ShownEvent) -> dict[str, Any]:
    """The event as the template shows it: images with `src`, answers as blocks."""
    images: dict[str, TemplateImage] = {
        image["id"]: {**image, "src": _data_uri(image["path"])} for image in event["images"]
    }
    return {
        **event,
        "images": list(images.values()),
        "tuned": _guided_answer(event, event["tuned"], images),
        "base": _guided_answer(event, event["base"], images),
        "free": _free_answer(event.get("free", ""), {image["number"]: image for image in images.values()}),
    }


def _guided_answer(event: ShownEvent, placed: Placed, images: Mapping[str, TemplateImage]) -> dict[str, Any]:
    """The answer as blocks in reading order, and how often each verdict was given."""
    text, policy = event["text"], event.get("policy", "before")
    verdict_of = verdicts(event["relevance"], placed)
    slots: dict[int, Block] = {}
    for slot in set(verdict_of).intersection(range(1, len(markdown.slots(text, policy)) + 1)):
        best_ids = [id for id, relevance in event["relevance"].get(slot, {}).items() if relevance == 3]
        best = [images[id]["number"] for id in best_ids if id in images]
        image = images.get(placed[slot]) if slot in placed else None
        slots[slot] = {"kind": "slot", "verdict": verdict_of[slot], "image": image, "best": best}
    slots_after = markdown.convert(slots, text, policy, "after")
    slot_of_line = {line: slot for slot, line in enumerate(markdown.slots(text, "after"), 1)}
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(text)):
        blocks.append(line_block(line))
        block = slots_after.get(slot_of_line.get(number, 0))
        if block and block["verdict"] != "empty":
            blocks.append(block)
    return {"blocks": blocks, "counts": Counter(verdict_of.values())}


def _free_answer(answer: str, images: Mapping[int, TemplateImage]) -> list[Block]:
    """A free answer as blocks: its lines, and an image for each reference that exists."""
    references = markdown.references(answer)
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(answer)):
        if text := markdown.strip_images(line):
            blocks.append(line_block(text))
        blocks += [
            {"kind": "slot", "verdict": "unlabelled", "image": images[reference.k], "best": []}
            for reference in references
            if reference.line == number and reference.k in images
        ]
    return blocks


def _data_uri(path: str) -> str:
    """An image as a data URI, at most `MAX_SIDE` pixels wide and high; empty where it cannot be opened."""
    from PIL import Image, UnidentifiedImageError

    try:
        return data_uri(open_rgb(path), MAX_SIDE)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
