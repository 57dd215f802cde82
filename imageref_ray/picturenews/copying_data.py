"""Training data that teaches a language model to copy and to find. None of it is a skill of the pipeline.

    repeat   words → the same in another order                     copying, word by word
    recall   list of pairs → look-ups in another order             the other of a pair
    lookup   sentences, persons or things → the other of each      … in sentences; or that it is not there
    number   numbered words → the number of each                   what stands before a word, nearer and farther away
    match    captions; persons, things, sections → whose picture   … in captions, whatever their order

What answers questions about documents needs the first three: without them it learns the form of the answers and guesses
the names. What places pictures needs the last two: in the response about everything the order of the sections tells the
picture as well, and without them that is all it learns.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from imageref_ray.engines.base import Message
from imageref_ray.picturenews import corpus, scene_facts, vocabulary
from imageref_ray.picturenews.event_questions import absent_person, absent_thing
from imageref_ray.picturenews.events import SECTIONS, TEXTS, Event, Facet, caption, random_facets
from imageref_ray.stages.prompts import NOT_INSERT

Row = dict[str, Any]

NUMBERED = ("{key}{k}", "{k}{key}", "{k}: {key}", "IMAGE_{k}: {key}", "IMAGE_{k}: {words} {key}")
"""Lines of `number`, each harder than the one before: the first ones are what the others are learned from."""


def repeating(event: Event, rng: random.Random) -> Iterator[Row]:
    """Random words, and the same five times over, each time cut in two to five pieces that change places."""
    names = (*vocabulary.FIRST_NAMES, *vocabulary.LAST_NAMES, *vocabulary.TOWNS)
    words = [
        rng.choice(rng.choice((names, vocabulary.VERBS, scene_facts.OBJECTS, vocabulary.NAMED_THINGS)))
        for _ in range(16)
    ]
    lines = []
    for _ in range(5):
        cuts = sorted(rng.sample(range(1, len(words)), rng.randint(1, 4)))
        pieces = [words[a:b] for a, b in zip([0, *cuts], [*cuts, len(words)], strict=True)]
        rng.shuffle(pieces)
        lines.append("- " + " ".join(word for piece in pieces for word in piece))
    prompt = f"Again and again: {' '.join(words)}."
    yield corpus.conversation(event.id, (Message("user", (prompt,)),), "\n".join(lines))


def recalling(event: Event, rng: random.Random) -> Iterator[Row]:
    """Lists of persons and things, independent of the event; look-ups by person or by thing."""
    things = [scene_facts.noun(name, 2) for name in scene_facts.OBJECTS] + vocabulary.NAMED_THINGS
    for turn in range(3):
        count = rng.randint(3, 8)
        people = [f"{rng.choice(vocabulary.FIRST_NAMES)} {last}" for last in rng.sample(vocabulary.LAST_NAMES, count)]
        pairs = list(zip(people, rng.sample(things, count), strict=True))
        listed = "\n".join(f"- {person}: the {thing}" for person, thing in pairs)
        rng.shuffle(pairs)
        by_thing = rng.random() < 0.5
        keys = [thing if by_thing else person for person, thing in pairs]
        values = [person if by_thing else thing for person, thing in pairs]
        prompt = f"{listed}\nIn this order: {', '.join(keys)}."
        answer = "\n".join(f"- {key}: {value}" for key, value in zip(keys, values, strict=True))
        yield corpus.conversation(f"{event.id}-{turn}", (Message("user", (prompt,)),), answer)


def looking_up(event: Event, rng: random.Random) -> Iterator[Row]:
    """Sentences of no event, before or after the persons and things that are looked up in them; some are not there."""
    for turn in range(3):
        facets = _apart(facet for _ in range(rng.randint(1, 3)) for facet in random_facets(rng))
        sentences = [facet.fill(rng.choice(TEXTS[facet.kind]), event) for facet in facets]
        sentences += [rng.choice(vocabulary.FILLERS) for _ in facets if rng.random() < 0.3]
        rng.shuffle(sentences)
        text = " ".join(sentences)
        pairs = [
            (facet.thing, facet.person) if rng.random() < 0.65 else (facet.person, facet.thing) for facet in facets
        ][:10]
        people = [facet.person for facet in facets]
        for _ in range(rng.randint(0, 2)):
            absent = absent_person(people, rng) if rng.random() < 0.5 else absent_thing(text, rng)
            pairs.append((absent, "nothing"))
        rng.shuffle(pairs)
        asked = f"In this order: {', '.join(key for key, _ in pairs)}."
        prompt = f"{asked}\n{text}\nLook it up." if rng.random() < 0.5 else f"{text}\n{asked}"
        yield _listed(f"{event.id}-{turn}", prompt, pairs)


def numbering(event: Event, rng: random.Random) -> Iterator[Row]:
    """Numbered things of no event, look-ups in another order; from a number at the word to one a sentence before."""
    things = [scene_facts.noun(name, rng.randint(1, 2)) for name in scene_facts.OBJECTS] + vocabulary.NAMED_THINGS
    others = (*vocabulary.VERBS, *vocabulary.TOWNS, *scene_facts.COLOURS)
    for turn in range(3):
        form, value = rng.choice(NUMBERED), rng.choice(("{k}", "IMAGE_{k}"))
        keys = rng.sample(things, rng.randint(3, 8))
        words = rng.choice((1, 2, 5, 12))
        lines = [
            form.format(k=k, key=key, words=" ".join(rng.choice(others) for _ in range(rng.randint(1, words))))
            for k, key in enumerate(keys, 1)
        ]
        pairs = [(key, value.format(k=k)) for k, key in enumerate(keys, 1)]
        rng.shuffle(pairs)
        prompt = "\n".join([*lines, f"Numbers: {', '.join(key for key, _ in pairs)}."])
        yield _listed(f"{event.id}-{turn}", prompt, pairs)


def matching(event: Event, rng: random.Random) -> Iterator[Row]:
    """Captions in random order, and which picture belongs to each person and thing, then to each section."""
    shots = [shot for shot in event.shots if not shot.duplicate_of]
    rng.shuffle(shots)
    captions = "\n".join(f"IMAGE_{k}: {caption(event, shot)}" for k, shot in enumerate(shots, 1))
    own = {shot.facet: f"IMAGE_{k}" for k, shot in enumerate(shots, 1)}
    told = [(facet, own.get(number, NOT_INSERT)) for number, facet in enumerate(event.facets)]
    short = [(key, picture) for facet, picture in told for key in (facet.thing, facet.person)]
    short = [pair for pair in short if sum(key == pair[0] for key, _ in short) == 1]  # who is in two facets
    rng.shuffle(short)
    yield _listed(event.id, f"{captions}\nIn this order: {', '.join(key for key, _ in short)}.", short)
    rng.shuffle(told)
    pairs = [
        ("\n".join([*(facet.fill(line, event) for line in SECTIONS[facet.kind]), "Which picture?"]), picture)
        for facet, picture in told
    ]
    (asked, answer), *more = pairs
    yield corpus.conversation(event.id, (Message("user", (f"{captions}\n{asked}",)),), answer, more)


def _listed(identity: str, prompt: str, pairs: Iterable[tuple[str, str]]) -> Row:
    """A key and its value a line. No mark stands between them: with a colon there the values stay guesses."""
    answer = "\n".join(f"- {key} {value}" for key, value in pairs)
    return corpus.conversation(identity, (Message("user", (prompt,)),), answer)


def _apart(facets: Iterable[Facet]) -> list[Facet]:
    """The facets whose person and thing none before them has."""
    taken: set[str] = set()
    kept = []
    for facet in facets:
        if not taken & {facet.person, facet.thing}:
            taken |= {facet.person, facet.thing}
            kept.append(facet)
    return kept
