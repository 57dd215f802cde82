"""Training data of the embedded checkpoint: single skills, one annotation file each, with the compact prompts.

    describe  picture → description                    caption  picture in its article → caption
    vqa       picture, questions → answers             find     several pictures, a description → which one
    respond   articles → Markdown response             place    captions + response → placements
    ask       picture → a question and its answer      text     articles, questions → names and things
    detail    picture → all visible facts, one per sentence; sometimes the first ones are given before the picture
    verify    picture, sentences → true or false       recall    list of pairs → look-ups in another order
    reply     a question, articles → what they say     lookup    sentences, persons or things → the other of each pair
    repeat    words → the same in another order                  number   numbered words → their numbers
    match     captions; persons, things, sections → whose picture

`repeat`, `recall`, `lookup`, `number` and `match` are no skills of the pipeline: they teach to copy and to find
(`copying_data`). `detail` and `verify` use the prompts of instruction generation and correction.

The end-to-end task (articles with pictures → response with pictures in place) is not among them: fine-tuning teaches
it. Events are from the `base` seed only.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Message
from imageref_ray.picturenews import corpus, descriptions, scene_facts
from imageref_ray.picturenews.copying_data import looking_up, matching, numbering, recalling, repeating
from imageref_ray.picturenews.event_questions import event_questions
from imageref_ray.picturenews.events import Event, caption, last_names, questions, response
from imageref_ray.picturenews.scene_facts import describe
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import instruct

Row = dict[str, Any]


def write(out: Path, events: int, seed: int = corpus.SEEDS["base"]) -> dict[str, int]:
    """Draw the pictures and write `<skill>.jsonl` for every skill; returns samples per skill."""
    generated = list(corpus.make_events(seed, events))
    corpus.write_images(out, generated)
    counts = {}
    for name, skill in SKILLS.items():
        rows = [row for event in generated for row in skill(event, random.Random(f"{name} {event.id}"))]
        write_jsonl(out / f"{name}.jsonl", rows)
        counts[name] = len(rows)
    return counts


def texts(out: Path) -> Iterator[str]:
    """All conversation texts of a written corpus, to train the tokenizer on."""
    for name in SKILLS:
        with (out / f"{name}.jsonl").open(encoding="utf-8") as file:
            for line in file:
                yield from (turn["value"] for turn in json.loads(line)["conversations"])


def describing(event: Event, rng: random.Random) -> Iterator[Row]:
    """A picture and its description."""
    for image, shot in zip(_images(event), event.shots, strict=True):
        yield corpus.conversation(shot.id, prompts.describe(_pack(), image, ()), describe(shot.picture))


def captioning(event: Event, rng: random.Random) -> Iterator[Row]:
    """A picture in its article and its caption."""
    shots = iter(event.shots)
    for document in corpus.sample(event).documents:
        for image in document.images:
            shot = next(shots)
            messages = prompts.caption(_pack(), document, image, describe(shot.picture), (), 4096)
            yield corpus.conversation(shot.id, messages, caption(event, shot))


def answering(event: Event, rng: random.Random) -> Iterator[Row]:
    """All questions about a picture in one conversation, in random order."""
    for image, shot in zip(_images(event), event.shots, strict=True):
        pairs = questions(shot.picture)
        rng.shuffle(pairs)
        yield _conversation(shot.id, (image, "\n"), pairs)


def finding(event: Event, rng: random.Random) -> Iterator[Row]:
    """Several pictures; which one shows …? The answer to a description of no picture is none."""
    pairs = [(image, shot) for image, shot in zip(_images(event), event.shots, strict=True) if not shot.duplicate_of]
    rng.shuffle(pairs)
    parts: list[str | Image] = []
    for k, (image, _) in enumerate(pairs, 1):
        parts += [f"IMAGE_{k}: ", image, "\n"]
    turns = [(_which(shot, rng), f"IMAGE_{k}") for k, (_, shot) in enumerate(pairs, 1)]
    other = scene_facts.random_scene(rng)
    if all(other.noun != getattr(shot.picture, "noun", None) for _, shot in pairs):
        turns.append((f"Which picture shows {other.noun}?", "none"))
    rng.shuffle(turns)
    yield _conversation(event.id, tuple(parts), turns)


def responding(event: Event, rng: random.Random) -> Iterator[Row]:
    """The articles and the response."""
    yield corpus.conversation(event.id, prompts.respond(_pack(), corpus.sample(event)), response(event))


def replying(event: Event, rng: random.Random) -> Iterator[Row]:
    """Questions about the event with their responses: two persons, a thing, and two that the articles do not answer."""
    asked = event_questions(event, rng)
    drawn = [
        item
        for kind, count in (("person", 2), ("thing", 1), ("absent", 2))
        for item in rng.sample([item for item in asked if item.kind == kind], count)
    ]
    for item in drawn:
        messages = prompts.respond(_pack(), replace(corpus.sample(event), instruction=item.question))
        yield corpus.conversation(event.id, messages, item.answer(event))


def placing(event: Event, rng: random.Random) -> Iterator[Row]:
    """The complete event; with captions shuffled; with some captions and sections left out; replies to questions."""
    shots, everything = list(range(len(event.shots))), tuple(range(len(event.facets)))
    yield _placing(event, shots, everything, response(event))
    yield _placing(event, rng.sample(shots, len(shots)), everything, response(event))
    kept = rng.sample(shots, rng.randint(2, len(shots)))
    sections = tuple(sorted(rng.sample(everything, rng.randint(1, len(everything)))))
    yield _placing(event, kept, sections, response(event, sections, last_names(event.facets)))
    for item in rng.sample(event_questions(event, rng)[1:], 3):
        yield _placing(event, rng.sample(shots, len(shots)), item.facets, item.answer(event))


def asking(event: Event, rng: random.Random) -> Iterator[Row]:
    """A picture, and a question about it with the answer."""
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        question, answer = rng.choice(questions(shot.picture))
        messages = instruct.turn(pack, image, instruct.wording(pack, "conversation"))
        yield corpus.conversation(shot.id, messages, instruct.pair(pack, question, answer))


def detailing(event: Event, rng: random.Random) -> Iterator[Row]:
    """The prompt is the instruction or the bare question; half of the time the text so far precedes the picture."""
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        sentences = descriptions.sentences(shot.picture)
        known = " ".join(sentences[: rng.choice((0, rng.randrange(1, len(sentences))))])
        prompt, answer = descriptions.QUESTION, " ".join(sentences)
        if rng.random() < 0.5:
            prompt, answer = instruct.wording(pack, "detail"), instruct.pair(pack, prompt, answer)
        yield corpus.conversation(shot.id, instruct.turn(pack, image, prompt, known), answer)


def verifying(event: Event, rng: random.Random) -> Iterator[Row]:
    """True and false sentences about the picture with yes or no, a false one with its correction, in random order."""
    pack = instruct.load_instruct("compact")
    for image, shot in zip(_images(event), event.shots, strict=True):
        true = descriptions.sentences(shot.picture)
        checks = [  # how many are true is drawn, too: else the last answers follow from the first ones
            (rng.choice(true), pack.yes)
            if rng.random() < 0.5
            else (descriptions.false_sentence(shot.picture, rng)[0], pack.no)
            for _ in range(4)
        ]
        wrong, right = descriptions.false_sentence(shot.picture, rng)
        turns = [(instruct.verify(pack, image, descriptions.QUESTION, "", unit), reply) for unit, reply in checks]
        turns.append((instruct.instead(pack, image, descriptions.QUESTION, "", wrong), right))
        rng.shuffle(turns)
        (messages, reply), *more = turns
        pairs = [
            ([part.strip() for part in messages[-1].parts if isinstance(part, str)][-1], reply)
            for messages, reply in more
        ]
        yield corpus.conversation(shot.id, messages, reply, pairs)


def reading(event: Event, rng: random.Random) -> Iterator[Row]:
    """Questions about the articles' text: who did what, and where."""
    text = "\n\n".join(markdown.render(document, None) for document in corpus.sample(event).documents)
    pairs = [("Where was it?", event.town), ("What was on?", f"the {event.theme}")]
    for facet in event.facets:
        thing = facet.thing
        pairs.append((f"Who stands for the {thing}?", facet.person))
        if facet.kind == "scene":
            pairs.append((f"What happened to the {thing}?", f"{facet.detail['verb']} by {facet.person}"))
        if sum(other.person == facet.person for other in event.facets) == 1:
            pairs.append((f"What does the text tell of {facet.person}?", f"the {thing}"))
    rng.shuffle(pairs)
    yield _conversation(event.id, (text + "\n",), pairs)


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
    "reply": replying,
    "lookup": looking_up,
    "repeat": repeating,
    "number": numbering,
    "match": matching,
}


def _pack() -> Any:
    return prompts.load_pack("compact")


def _images(event: Event) -> tuple[Image, ...]:
    return corpus.sample(event).images


def _conversation(identity: str, opening: tuple[str | Image, ...], pairs: list[tuple[str, str]]) -> Row:
    """A conversation of (question, answer) pairs; the opening precedes the first question."""
    (question, answer), *more = pairs
    return corpus.conversation(identity, (Message("user", (*opening, question)),), answer, more)


def _which(shot: Any, rng: random.Random) -> str:
    noun = getattr(shot.picture, "noun", None)
    return f"Which picture shows {noun if noun and rng.random() < 0.5 else describe(shot.picture)}?"


def _placing(event: Event, shots: list[int], sections: Sequence[int], text: str) -> Row:
    """Placement of the captions of `shots` (in that order) in a response with only `sections`."""
    messages = prompts.place(_pack(), text, corpus.numbered_captions(event, shots), ())
    return corpus.conversation(event.id, messages, corpus.placement_reply(corpus.placements(event, sections, shots)))
