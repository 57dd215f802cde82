"""Write a picturenews corpus to a folder, in the paper's layout and as Parquet.

    events.jsonl  news/<newsID>.json  image/<newsID>/<k>.jpg      input of `imageref build`
    label.csv  insertion.jsonl  captions.jsonl                    the ground truth, in the paper's formats
    questions.json                                                input of `imageref evaluate vqa` (A-OKVQA's format)
    annotation.plain.jsonl  annotation.caption.jsonl              reference samples (test sets)
    caption_examples.json  place_examples.json                    in-context examples
    samples.parquet                                               the same samples as rows
    asked.jsonl  answers.jsonl                                    questions about each event as samples; their answers

The base checkpoint's data, training, validation and test sets are disjoint by construction: an event's id and its
random generator both depend on (seed, number).
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from imageref_ray.core import markdown
from imageref_ray.core.records import Caption, Document, Image, Sample, to_row
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.picturenews import draw
from imageref_ray.picturenews.event_questions import event_questions
from imageref_ray.picturenews.events import (
    Article,
    Event,
    Shot,
    caption,
    make_event,
    relevance,
    response,
)
from imageref_ray.picturenews.questions import draw_choices, write_questions
from imageref_ray.picturenews.scene_facts import describe
from imageref_ray.sources.vqa_sets import ANNOTATORS
from imageref_ray.stages import prompts

SEEDS = {"base": 11, "train": 21, "validation": 31, "test": 41}
"""Corpus seeds by purpose; the shipped checkpoint was trained on `base`."""

SIZE = 224
"""Side of the pictures in pixels."""


def write(out: Path, events: int, seed: int) -> dict[str, int]:
    """Generate `events` events and write every file; returns counts (events, articles, images)."""
    generated = [make_event(seed, number) for number in range(events)]
    write_images(out, generated)
    write_news(out, generated)
    write_truth(out, generated)
    write_asked(out, generated)
    write_examples(out, generated)
    return {
        "events": len(generated),
        "articles": sum(len(event.articles) for event in generated),
        "images": sum(len(event.shots) for event in generated),
    }


def write_images(out: Path, events: Iterable[Event]) -> None:
    """Draw every shot once; a near-duplicate is its original cropped, resized and re-encoded."""
    for event in events:
        drawn: dict[str, Pillow.Image] = {}
        for shot in event.shots:
            path = out / "image" / shot.id
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = random.Random(f"picture {shot.id}")
            if shot.duplicate_of:
                copy, quality = draw.near_duplicate(drawn[shot.duplicate_of], rng)
                draw.save_jpeg(copy, path, quality)
            else:
                drawn[shot.id] = draw.draw(shot.picture, rng, SIZE)
                draw.save_jpeg(drawn[shot.id], path)


def write_news(out: Path, events: Iterable[Event]) -> None:
    """The paper's input: the event file and one JSON file per news article."""
    rows = []
    for event in events:
        title, _, summary = response(event).partition("\n")
        sources = [{"newsID": article.id} for article in event.articles]
        attrs = json.dumps({"category": event.theme})
        rows.append({
            "paasEventID": event.id, "title": title.lstrip("# "), "summary": summary, "attrs": attrs, "sources": sources
        })  # fmt: skip
        for article in event.articles:
            _write_json(out / "news" / f"{article.id}.json", _news(article))
    write_jsonl(out / "events.jsonl", rows)


def write_truth(out: Path, events: Iterable[Event]) -> None:
    """Labels, reference placements, captions, questions, and reference annotations in both variants."""
    events = list(events)
    with (out / "label.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["paasEventID", "image_map", "result"])
        for event in events:
            names = {f"IMAGE_{k}": shot.id for k, shot in enumerate(event.shots, 1)}
            table.writerow([event.id, repr(names), repr(labels(event))])
    write_jsonl(out / "insertion.jsonl", ({
        "event_id": event.id, "image_paths": [shot.id for shot in event.shots],
        "result": placement_reply(placements(event)),
    } for event in events))  # fmt: skip
    write_jsonl(out / "captions.jsonl", ({
        "nid": article.id, "caption": {shot.id: caption(event, shot) for shot in article.shots}
    } for event in events for article in event.articles))  # fmt: skip
    _write_json(
        out / "questions.json", [row for event in events for shot in event.shots for row in question_rows(shot)]
    )
    for variant in ("plain", "caption"):
        write_jsonl(out / f"annotation.{variant}.jsonl", (annotation(event, variant) for event in events))
    _write_parquet(out / "samples.parquet", events, out)


def write_asked(out: Path, events: Iterable[Event]) -> None:
    """Every question about an event as one sample (input of a build with `source.kind: samples`), and its answer."""
    asked, answers = [], []
    for event in events:
        documents = [sent(article) for article in event.articles]
        for number, item in enumerate(event_questions(event, random.Random(f"asked {event.id}"))):
            name = {"id": f"{event.id}-{number}"}
            asked.append({**name, "instruction": item.question, "category": event.theme, "documents": documents})
            answers.append({**name, "kind": item.kind, "question": item.question, "response": item.answer(event)})
    write_jsonl(out / "asked.jsonl", asked)
    write_jsonl(out / "answers.jsonl", answers)


def write_examples(out: Path, events: list[Event], count: int = 4) -> None:
    """In-context examples from the first events: captions and placements as the paper's JSON lists."""
    pairs = [(event, shot) for event in events[:count] for shot in event.shots[:1]]
    _write_json(out / "caption_examples.json", [{
        "image_path": shot.id, "description": describe(shot.picture), "caption": caption(event, shot)
    } for event, shot in pairs])  # fmt: skip
    _write_json(out / "place_examples.json", [{
        "event_id": int(event.id),
        "caption_str": numbered_captions(event),
        "result": json.loads(placement_reply(placements(event))),
    } for event in events[:count]])  # fmt: skip


def sample(event: Event, root: Path = Path()) -> Sample:
    """The event as a build reads it; image uris are under `root`/image."""
    return Sample(event.id, event.title, tuple(_document(article, root) for article in event.articles), event.theme)


def labels(event: Event) -> dict[str, dict[str, list[str]]]:
    """Relevance of every image at every before-content slot: slot 1 is the overview, slot s + 2 is section s."""
    return {
        f"<Position {slot}>": {
            str(level): [f"IMAGE_{k}" for k, s in enumerate(event.shots, 1) if relevance(event, facet, s) == level]
            for level in (1, 2, 3)
        }
        for slot, facet in enumerate([None, *range(len(event.facets))], 1)
    }


def placements(
    event: Event, sections: Sequence[int] | None = None, shots: Sequence[int] | None = None
) -> dict[int, int | None]:
    """The reference answer: before-content slot → k of `IMAGE_k` (the facet's first picture), None for no image.

    Of the response about everything and all images, or of one with these facets as its sections, and of these images.
    """
    own: dict[int | None, int] = {}
    for k, shot in enumerate(range(len(event.shots)) if shots is None else shots, 1):
        own.setdefault(event.shots[shot].facet, k)
    told = range(len(event.facets)) if sections is None else sections
    return {1: None, **{slot: own.get(section) for slot, section in enumerate(told, 2)}}


def placement_reply(chosen: dict[int, int | None]) -> str:
    """Placements (slot 1, 2, … → k or None) as a reply in the placement stage."""
    return prompts.predictions([chosen[slot] for slot in sorted(chosen)])


def numbered_captions(event: Event, shots: Sequence[int] | None = None) -> list[str]:
    """The captions of `IMAGE_1..n` in order: of all images, or of these."""
    return [caption(event, event.shots[shot]) for shot in (range(len(event.shots)) if shots is None else shots)]


def annotation(event: Event, variant: str) -> dict[str, Any]:
    """The event as one reference sample of the paper's annotation JSONL (`variant`: plain or caption)."""
    chosen = {slot: k for slot, k in placements(event).items() if k}
    texts = dict(enumerate(numbered_captions(event), 1)) if variant == "caption" else None
    return conversation(
        event.id,
        prompts.answer(prompts.load_pack("compact"), sample(event)),
        markdown.insert(response(event), chosen, "before", texts),
    )


def question_rows(shot: Shot) -> Iterator[dict[str, Any]]:
    """All questions about one picture in A-OKVQA's format; ten annotators give the true answer."""
    for number, item in enumerate(write_questions(shot.picture)):
        name = f"{shot.id}:{number}"
        choices = draw_choices(item, random.Random(f"choices {name}"))
        yield {
            "question_id": name,
            "image": f"image/{shot.id}",
            "question": item.question,
            "direct_answers": [item.answer] * ANNOTATORS,
            "choices": choices,
            "correct_choice_idx": choices.index(item.answer),
        }


def conversation(identity: str, messages: Any, answer: str, more: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """Prompt messages and an answer as one line of InternVL's annotation JSONL; images as `image/<newsID>/<file>`.

    `more` are further questions with their answers.
    """
    user = messages[-1]
    human = "".join("<image>" if isinstance(part, Image) else part for part in user.parts)
    turns = [
        {"from": speaker, "value": text}
        for pair in ((human, answer), *more)
        for speaker, text in zip(("human", "gpt"), pair, strict=True)
    ]
    return {"id": identity, "image": [f"image/{image.id}" for image in user.images], "conversations": turns}


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def _news(article: Article) -> dict[str, Any]:
    urls = [[f"image/{shot.id}"] for shot in article.shots]
    return {"title": article.title, "article_text": article.text, "image_info": urls}


def sent(article: Article) -> dict[str, Any]:
    """The article as a document of a sample (input of a build with `source.kind: samples`)."""
    images = [f"image/{shot.id}" for shot in article.shots]
    return {"id": article.id, "title": article.title, "text": article.text, "images": images}


def _document(article: Article, root: Path) -> Document:
    images = tuple(Image(shot.id, str(root / "image" / shot.id)) for shot in article.shots)
    return Document(article.id, article.title, article.text, images)


def _write_parquet(path: Path, events: Iterable[Event], root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{
        **to_row(sample(event, root)), "response": response(event),
        "captions": [to_row(_caption(event, shot)) for shot in event.shots], "labels": json.dumps(labels(event)),
    } for event in events]), path)  # fmt: skip


def _caption(event: Event, shot: Shot) -> Caption:
    return Caption(shot.id, describe(shot.picture), caption(event, shot))


def make_events(seed: int, count: int) -> Iterator[Event]:
    """The first `count` events of a seed."""
    return (make_event(seed, number) for number in range(count))
