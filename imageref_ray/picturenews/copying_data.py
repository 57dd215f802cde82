"""Training data that teaches a language model to copy and to find. None of it is a skill of the pipeline.

    repeat   words → the same in another order                     copying, word by word
    recall   list of pairs → look-ups in another order             the other of a pair
    lookup   sentences, persons or things → the other of each      … in sentences; or that it is not there

What answers questions about documents needs all three: without them it learns the form of the answers and guesses the
names.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from imageref_ray.engines.base import Message
from imageref_ray.picturenews import corpus, scene_facts, vocabulary
from imageref_ray.picturenews.event_questions import absent_person, absent_thing
from imageref_ray.picturenews.events import TEXTS, Event, Facet, random_facets

Row = dict[str, Any]


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
    """Sentences of no event, before or after the persons and things that are looked up in them; some are not there.

    No mark stands between a key and its value in the answer: with a colon there the values stay guesses.
    """
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
        answer = "\n".join(f"- {key} {value}" for key, value in pairs)
        yield corpus.conversation(f"{event.id}-{turn}", (Message("user", (prompt,)),), answer)


def _apart(facets: Iterable[Facet]) -> list[Facet]:
    """The facets whose person and thing none before them has."""
    taken: set[str] = set()
    kept = []
    for facet in facets:
        if not taken & {facet.person, facet.thing}:
            taken |= {facet.person, facet.thing}
            kept.append(facet)
    return kept
