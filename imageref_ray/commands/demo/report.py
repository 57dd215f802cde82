"""The demo's report: numbers, pictures and answers in, one self-contained HTML page out.

No scripts, no outside files: figures are inline SVG, pictures are data URIs. Everything that came from a
document or a model is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from imageref_ray.commands import pages
from imageref_ray.commands.pages import figures
from imageref_ray.core import markdown
from imageref_ray.core.images import open_rgb
from imageref_ray.dataset.paper_formats import Placed, Relevance
from imageref_ray.evaluation.placement_metrics import verdicts

LARGEST = 320
"""Longest side of an embedded picture in pixels."""

Shown = dict[str, Any]
"""A `Picture` with `src`, its data URI."""

Block = dict[str, Any]
"""One piece of an answer as the template shows it: `kind` title, header or text with `text`; or slot with `verdict`,
`picture` (None where nothing stands) and `wanted` (the numbers of the pictures that fit best)."""

WORDS = {
    "right": ("✓", "Right"),
    "fair": ("≈", "Fits"),
    "wrong": ("✕", "Wrong"),
    "missed": ("○", "Missed"),
    "unlabelled": ("?", "Not judged"),
}
"""Verdict → sign and word (the sign and the frame tell it without colour)."""


class Picture(TypedDict):
    """One image of an event; `number` is k of `IMAGE_k`, `document` the title it stands in."""

    id: str
    number: int
    path: str
    caption: str
    document: str


class Event(TypedDict):
    """One test event. `text` is the reference answer without images, on which both models were guided;
    `relevance`, `base` and `tuned` hold slots of `policy` ("before" by default) and image ids. `free` is what
    the tuned model writes when nothing guides it."""

    id: str
    question: str
    pictures: Sequence[Picture]
    text: str
    relevance: Relevance
    base: Placed
    tuned: Placed
    policy: NotRequired[markdown.Policy]
    free: NotRequired[str]


class Sentence(TypedDict):
    """A sentence of an answer, whether it is true of the picture, and its `mark`: kept (empty), new or gone."""

    text: str
    true: bool
    mark: str


class Correction(TypedDict):
    """A question about a picture with its drafted answer, and by mode what correction made of it (`new`, `gone`)."""

    path: str
    question: str
    draft: Sequence[Sentence]
    versions: Mapping[str, Sequence[Sentence]]


class ReportData(TypedDict):
    """What `write_report` needs. `corpus`, `build`, `train`, `evaluate` and `seconds` are report.json's values:

    * `corpus`: name → number, shown as they are
    * `build`: records, quarantined, requests, prompt_tokens, image_tokens, cached_tokens, generated_tokens,
      seconds and `agreement` {precision, recall, captions}, shares of 1
    * `train`: steps, first_loss, last_loss, seconds
    * `evaluate`: `base` and `tuned`, each a summary of `placement.summarise`
    * `instruct`: mode of correction → false units in drafts and in corrected answers (`picturenews.units.measure`), and
      `cached_share` of the prompt tokens
    * `loss`: (step, loss) as logged; `stages`: (name, seconds) in the order they ran; `seconds`: the whole
    * `events`, `corrections`: the ones to show
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
    events: Sequence[Event]
    corrections: Sequence[Correction]


def write_report(path: Path, data: ReportData) -> None:
    """Write the page to `path` (its folder is made). A picture that cannot be opened becomes a note in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
        names=figures.NAMES,
        duration=figures.duration,
        words=WORDS,
        loss=Markup(figures.loss_curve(data["loss"])),
        bars=Markup(figures.metric_bars(base, tuned)),
        time=Markup(figures.time_bar(data["stages"])),
        events=[_event(event) for event in data["events"]],
        corrections=[{**one, "src": _data_uri(one["path"]), "caption": one["question"]} for one in data["corrections"]],
    )


def _event(event: Event) -> dict[str, Any]:
    pictures: dict[str, Shown] = {p["id"]: {**p, "src": _data_uri(p["path"])} for p in event["pictures"]}
    return {
        **event,
        "pictures": list(pictures.values()),
        "tuned": _answer(event, event["tuned"], pictures),
        "base": _answer(event, event["base"], pictures),
        "free": _blocks(event.get("free", ""), {picture["number"]: picture for picture in pictures.values()}),
    }


def _answer(event: Event, placed: Placed, pictures: Mapping[str, Shown]) -> dict[str, Any]:
    """The answer as blocks in reading order, and how often each verdict was given."""
    text, policy = event["text"], event.get("policy", "before")
    told = verdicts(event["relevance"], placed)
    marks: dict[int, Block] = {}
    for slot in set(told).intersection(range(1, len(markdown.slots(text, policy)) + 1)):
        best = [image for image, value in event["relevance"].get(slot, {}).items() if value == 3]
        wanted = [pictures[image]["number"] for image in best if image in pictures]
        shown = pictures.get(placed[slot]) if slot in placed else None
        marks[slot] = {"kind": "slot", "verdict": told[slot], "picture": shown, "wanted": wanted}
    after = markdown.convert(marks, text, policy, "after")
    place = {line: slot for slot, line in enumerate(markdown.slots(text, "after"), 1)}
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(text)):
        mark = after.get(place.get(number, 0))
        blocks += [pages.line(line), mark] if mark and mark["verdict"] != "empty" else [pages.line(line)]
    return {"blocks": blocks, "counts": Counter(told.values())}


def _blocks(answer: str, pictures: Mapping[int, Shown]) -> list[Block]:
    """A free answer as blocks: its lines, and a picture for each reference that exists."""
    found = markdown.references(answer)
    blocks: list[Block] = []
    for number, line in enumerate(markdown.lines(answer)):
        if rest := markdown.strip_images(line):
            blocks.append(pages.line(rest))
        blocks += [
            {"kind": "slot", "verdict": "unlabelled", "picture": pictures[ref.k], "wanted": []}
            for ref in found
            if ref.line == number and ref.k in pictures
        ]
    return blocks


def _data_uri(path: str) -> str:
    """A picture as a data URI, at most `LARGEST` pixels wide or high; empty where it cannot be opened."""
    from PIL import Image, UnidentifiedImageError

    try:
        return pages.data_uri(open_rgb(path), LARGEST)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
