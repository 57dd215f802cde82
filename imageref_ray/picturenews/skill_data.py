"""Training data of the embedded checkpoint: single skills, one annotation file each, made with the compact prompts.

    describe  picture → what is seen                   caption  picture in its article → what it is
    vqa       picture, questions → answers             find     several pictures, a description → which one
    respond   articles → Markdown response             place    captions + response → which picture where
    ask       picture → a question and its answer      text     articles, questions → names and things
    detail    picture → all that can be seen, one fact a sentence; at times the first ones are given before the picture
    verify    picture, sentences → is this in it?      recall    who has what → asked back in another order

`recall` is general text: how copying is learned early. `detail` and `verify` are in the words of instruction generation
and correction.

The end-to-end task (articles with pictures → response with pictures in place) is not among them: that is what
fine-tuning teaches. Events come from the `base` seed alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Message
from imageref_ray.picturenews import corpus, descriptions, scene_facts, vocabulary
from imageref_ray.picturenews.events import SECTIONS, TELLING, Event, caption, questions, response
from imageref_ray.picturenews.scene_facts import describe
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import instruct

Row = dict[str, Any]


def write(out: Path, events: int, seed: int = corpus.SEEDS["base"]) -> dict[str, int]:
    """Draw the pictures and write `<skill>.jsonl` for every skill; returns samples per skill."""
    made = list(corpus.iterate(seed, events))
    corpus.write_images(out, made)
    counts = {}
    for name, skill in SKILLS.items():
        rows = [row for event in made for row in skill(event, random.Random(f"{name} {event.id}"))]
        write_jsonl(out / f"{name}.jsonl", rows)
        counts[name] = len(rows)
    return counts


def texts(out: Path) -> Iterator[str]:
    """All conversation texts of a written corpus: what the tokenizer is trained on."""
    for name in SKILLS:
        with (out / f"{name}.jsonl").open(encoding="utf-8") as file:
            for line in file:
                yield from (turn["value"] for turn in json.loads(line)["conversations"])


def describing(event: Event, rng: random.Random) -> Iterator[Row]:
    for image, shot in zip(_images(event), event.shots, strict=True):
        yield corpus.conversation(shot.id, prompts.describe(_pack(), image, ()), describe(shot.picture))


def captioning(event: Event, rng: random.Random) -> Iterator[Row]:
    shots = iter(event.shots)
    for document in corpus.sample(event).documents:
        for image in document.images:
            shot = next(shots)
            messages = prompts.caption(_pack(), document, image, describe(shot.picture), (), 4096)
            yield corpus.conversation(shot.id, messages, caption(event, shot))


def answering(event: Event, rng: random.Random) -> Iterator[Row]:
    """All questions about a picture in one conversation, in random order."""
    for image, shot in zip(_images(event), event.shots, strict=True):
        asked = questions(shot.picture)
        rng.shuffle(asked)
        yield _talk(shot.id, (image, "\n"), asked)


def finding(event: Event, rng: random.Random) -> Iterator[Row]:
    """Several pictures; which one shows …? A description that fits none is answered with none."""
    pairs = [(image, shot) for image, shot in zip(_images(event), event.shots, strict=True) if not shot.duplicate_of]
    rng.shuffle(pairs)
    parts: list[str | Image] = []
    for k, (image, _) in enumerate(pairs, 1):
        parts += [f"IMAGE_{k}: ", image, "\n"]
    asked = [(_which(shot, rng), f"IMAGE_{k}") for k, (_, shot) in enumerate(pairs, 1)]
    stranger = scene_facts.random_scene(rng)
    if all(stranger.noun != getattr(shot.picture, "noun", None) for _, shot in pairs):
        asked.append((f"Which picture shows {stranger.noun}?", "none"))
    rng.shuffle(asked)
    yield _talk(event.id, tuple(parts), asked)


def responding(event: Event, rng: random.Random) -> Iterator[Row]:
    yield corpus.conversation(event.id, prompts.respond(_pack(), corpus.sample(event)), response(event))


def placing(event: Event, rng: random.Random) -> Iterator[Row]:
    """The event as it is, and once with captions shuffled and some captions and sections left out."""
    yield _placing(event, list(range(len(event.shots))), list(range(len(event.facets))))
    kept = rng.sample(range(len(event.shots)), rng.randint(2, len(event.shots)))
    sections = sorted(rng.sample(range(len(event.facets)), rng.randint(2, len(event.facets))))
    yield _placing(event, kept, sections)


def asking(event: Event, rng: random.Random) -> Iterator[Row]:
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        question, answer = rng.choice(questions(shot.picture))
        asked = instruct.turn(pack, image, instruct.wording(pack, "conversation"))
        yield corpus.conversation(shot.id, asked, instruct.pair(question, answer))


def detailing(event: Event, rng: random.Random) -> Iterator[Row]:
    """Asked by the instruction or by the bare question; half of the time the picture is seen after the text so far."""
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        told = descriptions.sentences(shot.picture)
        known = " ".join(told[: rng.choice((0, rng.randrange(1, len(told))))])
        asked, answer = descriptions.QUESTION, " ".join(told)
        if rng.random() < 0.5:
            asked, answer = instruct.wording(pack, "detail"), instruct.pair(asked, answer)
        yield corpus.conversation(shot.id, instruct.turn(pack, image, asked, known), answer)


def verifying(event: Event, rng: random.Random) -> Iterator[Row]:
    """Sentences true or false of the picture, yes or no, and what there is in place of a false one, in random order."""
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        true = [(told, pack.yes) for told in rng.sample(descriptions.sentences(shot.picture), 2)]
        asked = [*true, *((descriptions.falsehood(shot.picture, rng)[0], pack.no) for _ in true)]
        rng.shuffle(asked)
        wrong, right = descriptions.falsehood(shot.picture, rng)
        turns = [(instruct.verify(pack, image, descriptions.QUESTION, "", unit), told) for unit, told in asked]
        turns.append((instruct.instead(pack, image, descriptions.QUESTION, "", wrong), right))
        rng.shuffle(turns)
        (messages, told), *more = turns
        row = corpus.conversation(shot.id, messages, told)
        for messages, told in more:
            texts = [part.strip() for part in messages[-1].parts if isinstance(part, str)]
            row["conversations"] += [{"from": "human", "value": texts[-1]}, {"from": "gpt", "value": told}]
        yield row


def reading(event: Event, rng: random.Random) -> Iterator[Row]:
    """Questions about the articles' text: who did it, what did they do, where was it."""
    text = "\n\n".join(markdown.render(document, None) for document in corpus.sample(event).documents)
    asked = [("Where was it?", event.town), ("What was on?", f"the {event.theme}")]
    for facet in event.facets:
        thing = facet.detail[TELLING[facet.kind]]
        asked.append((f"Who stands for the {thing}?", facet.person))
        if facet.kind == "scene":
            asked.append((f"What happened to the {thing}?", f"{facet.detail['verb']} by {facet.person}"))
        if sum(other.person == facet.person for other in event.facets) == 1:
            asked.append((f"What does the text tell of {facet.person}?", f"the {thing}"))
    rng.shuffle(asked)
    yield _talk(event.id, (text + "\n",), asked)


def recalling(event: Event, rng: random.Random) -> Iterator[Row]:
    """Lists that have nothing to do with the event: things by person, asked back by person or by thing."""
    things = [scene_facts.noun(name, 2) for name in scene_facts.OBJECTS] + [
        *vocabulary.ROLES,
        *vocabulary.SUBJECTS,
        *vocabulary.TOPICS,
    ]
    for turn in range(3):
        count = rng.randint(3, 8)
        people = [f"{rng.choice(vocabulary.FIRST_NAMES)} {last}" for last in rng.sample(vocabulary.LAST_NAMES, count)]
        pairs = list(zip(people, rng.sample(things, count), strict=True))
        listed = "\n".join(f"- {person}: the {thing}" for person, thing in pairs)
        rng.shuffle(pairs)
        by_thing = rng.random() < 0.5
        keys = [thing if by_thing else person for person, thing in pairs]
        told = [person if by_thing else thing for person, thing in pairs]
        asked = f"{listed}\nIn this order: {', '.join(keys)}."
        answer = "\n".join(f"- {key}: {value}" for key, value in zip(keys, told, strict=True))
        yield corpus.conversation(f"{event.id}-{turn}", (Message("user", (asked,)),), answer)


SKILLS: dict[str, Callable[[Event, random.Random], Iterator[Row]]] = {
    "describe": describing,
    "caption": captioning,
    "vqa": answering,
    "find": finding,
    "respond": responding,
    "place": placing,
    "ask": asking,
    "detail": detailing,
    "verify": verifying,
    "text": reading,
    "recall": recalling,
}


def _pack() -> Any:
    return prompts.load_pack("compact")


def _images(event: Event) -> tuple[Image, ...]:
    return corpus.sample(event).images


def _talk(identity: str, opening: tuple[str | Image, ...], asked: list[tuple[str, str]]) -> Row:
    """A conversation of several turns; the opening stands before the first question."""
    (question, answer), *more = asked
    row = corpus.conversation(identity, (Message("user", (*opening, question)),), answer)
    for question, answer in more:
        row["conversations"] += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return row


def _which(shot: Any, rng: random.Random) -> str:
    shown = getattr(shot.picture, "noun", None)
    return f"Which picture shows {shown if shown and rng.random() < 0.5 else describe(shot.picture)}?"


def _placing(event: Event, shots: list[int], sections: list[int]) -> Row:
    """Place the captions of `shots` (in that order) at a response with only `sections`."""
    head = response(event).split("\n")[:2]
    kept = [event.facets[section] for section in sections]
    lines = [facet.fill(pattern, event) for facet in kept for pattern in SECTIONS[facet.kind]]
    numbers: dict[int | None, int] = {}
    for k, shot in enumerate(shots, 1):
        numbers.setdefault(event.shots[shot].facet, k)
    chosen = {1: None, **{slot: numbers.get(section) for slot, section in enumerate(sections, 2)}}
    captions = [caption(event, event.shots[shot]) for shot in shots]
    messages = prompts.place(_pack(), "\n".join([*head, *lines]), captions, ())
    return corpus.conversation(event.id, messages, corpus.reply(chosen))
