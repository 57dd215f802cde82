"""What the embedded checkpoint can do: each single skill on held-out events, greedy, through vLLM.

    python benchmarks/checkpoint.py [--model FOLDER] [--events 60] [--out results.json]

Prints one JSON object; the model card's numbers are this file's output.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from setting import ARGS, ENV, MODEL, tell

from imageref_ray.core.config import VllmConfig
from imageref_ray.core.records import Image
from imageref_ray.engines import make
from imageref_ray.engines.base import Engine, Message, Request, Sampling
from imageref_ray.picturenews import corpus, descriptions, judge_build
from imageref_ray.picturenews.event_questions import one_of_each, refused
from imageref_ray.picturenews.events import Event, Shot, questions, response
from imageref_ray.picturenews.scene_facts import describe
from imageref_ray.stages import prompts
from imageref_ray.stages.parsing import ParseError
from imageref_ray.stages.parsing import placement as parse_placement
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import InstructPack

NAMED = ("scene", "portrait", "chart")
"""Kinds of pictures whose caption needs a person and a town from the text."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--seed", type=int, default=corpus.SEEDS["validation"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.update(ENV)
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(measure(options.model, options.events, options.seed, Path(folder)))
    tell(result, options.out)


async def measure(model: str, events: int, seed: int, folder: Path) -> dict[str, Any]:
    """Share of right replies per skill, with how many were asked."""
    made = list(corpus.make_events(seed, events))
    corpus.write_images(folder, made)
    engine = make(VllmConfig(model=model, args=ARGS))
    asked = [ask for event in made for ask in questions_about(event, folder)]
    gate = asyncio.Semaphore(64)
    right = await asyncio.gather(*(_right(engine, gate, *ask[1:]) for ask in asked))
    skills: dict[str, list[bool]] = {}
    for (skill, *_), good in zip(asked, right, strict=True):
        skills.setdefault(skill, []).extend(good)
    skills["caption"] = [good for kind in NAMED for good in skills.get(f"caption {kind}", [])]
    pairs = zip(skills["reply person"], skills["reply thing"], strict=True)
    skills["reply pair"] = [person and thing for person, thing in pairs]
    shares = {skill: {"share": round(sum(good) / len(good), 4), "asked": len(good)} for skill, good in skills.items()}
    return {"model": model, "events": events, "seed": seed, "skills": shares}


Judge = Callable[[str], list[bool]]
Messages = tuple[Message, ...]
Ask = tuple[str, Messages, Judge]


def questions_about(event: Event, root: Path) -> list[Ask]:
    """Every request of an event: skill, messages, and what judges the reply."""
    pack, wordings = prompts.load_pack("compact"), instruct.load_instruct("compact")
    asks: list[Ask] = []
    shots = iter(event.shots)
    for document in corpus.sample(event, root).documents:
        for image in document.images:
            shot = next(shots)
            kind = type(shot.picture).__name__.lower()
            asks.append((f"describe {kind}", prompts.describe(pack, image), partial(_same, describe(shot.picture))))
            messages = prompts.caption(pack, document, image, describe(shot.picture))
            asks.append((f"caption {kind}", messages, partial(_judged, judge_build.caption_right, event, shot)))
            asks.append((f"deed {kind}", messages, partial(_judged, judge_build.deed_right, event, shot)))
            asks += [
                ("vqa", instruct.turn(wordings, image, asked), partial(_same, told))
                for asked, told in questions(shot.picture)
            ]
            asks += _correcting(wordings, image, shot)
    in_order = range(len(event.shots))
    shuffled = random.Random(f"shuffled {event.id}").sample(in_order, len(in_order))
    asks.append(("place", *_placing(event, response(event), None, in_order)))
    asks.append(("place shuffled", *_placing(event, response(event), None, shuffled)))
    asks.append(("respond", prompts.respond(pack, corpus.sample(event, root)), partial(_same, response(event))))
    return [*asks, *_replying(event, root)]


def _replying(event: Event, root: Path) -> list[Ask]:
    """A person, the thing of another facet, an absent person and thing: answered in full, or refused; and the pictures
    of the reference answers."""
    pack = prompts.load_pack("compact")
    asks: list[Ask] = []
    shots = range(len(event.shots))
    for item in one_of_each(event, random.Random(f"reply {event.id}"))[1:]:
        messages = prompts.respond(pack, replace(corpus.sample(event, root), instruction=item.question))
        if item.facets:
            asks.append(("place reply", *_placing(event, item.answer(event), item.facets, shots)))
        if item.kind == "absent":
            asks.append(("refuse", messages, partial(_refused, True)))
        else:
            asks.append((f"reply {item.kind}", messages, partial(_same, item.answer(event))))
            asks.append(("not refused", messages, partial(_refused, False)))
    return asks


def _placing(event: Event, text: str, sections: Sequence[int] | None, shots: Sequence[int]) -> tuple[Messages, Judge]:
    """Placement of these shots, in this order, in a response with these facets (all)."""
    messages = prompts.place(prompts.load_pack("compact"), text, corpus.numbered_captions(event, shots))
    return messages, partial(_slots_right, event, sections, shots)


def _correcting(pack: InstructPack, image: Image, shot: Shot) -> list[Ask]:
    """What correction asks for: everything that can be seen, and whether a true and a false sentence are."""
    told = " ".join(descriptions.sentences(shot.picture))
    asks: list[Ask] = [("detail", instruct.turn(pack, image, descriptions.QUESTION), partial(_same, told))]
    wrong, right = descriptions.false_sentence(shot.picture, random.Random(shot.id))
    for unit, expected in ((wrong, pack.no), (right, pack.yes)):
        asks.append(("verify", instruct.verify(pack, image, descriptions.QUESTION, "", unit), partial(_same, expected)))
    asks.append(("instead", instruct.instead(pack, image, descriptions.QUESTION, "", wrong), partial(_same, right)))
    return asks


async def _right(engine: Engine, gate: asyncio.Semaphore, messages: tuple[Message, ...], judge: Judge) -> list[bool]:
    async with gate:
        reply = await engine.generate(Request(messages, Sampling(max_tokens=300)))
    return judge(reply.text.strip())


def _same(expected: str, text: str) -> list[bool]:
    return [text == expected]


def _refused(expected: bool, text: str) -> list[bool]:
    return [refused(text) == expected]


def _judged(right: Callable[[Event, Shot, str], bool], event: Event, shot: Shot, text: str) -> list[bool]:
    return [right(event, shot, text)]


def _slots_right(event: Event, sections: Sequence[int] | None, shots: Sequence[int], text: str) -> list[bool]:
    """One verdict per slot of a response with these facets (all) and these images: right with its thing's picture (or
    the near-duplicate), or with none where none is."""
    told = [event.shots[shot] for shot in shots]
    expected = corpus.placements(event, sections, shots)
    try:
        given = {p.slot: p.image_id for p in parse_placement(text, [shot.id for shot in told], len(expected))}
    except ParseError:
        given = {}
    facets = {shot.id: shot.facet for shot in told}
    verdicts = []
    for slot, k in expected.items():
        image = given.get(slot)
        wanted = told[k - 1].facet if k else None
        verdicts.append(image is None if k is None else image is not None and facets[image] == wanted)
    return verdicts


if __name__ == "__main__":
    main()
