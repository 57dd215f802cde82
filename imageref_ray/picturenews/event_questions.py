"""Questions about an event that its documents answer differently, or not at all.

whole     the event's title                   everything that happened
person    What did Ada Abel do?               what this person did (perhaps two things)
thing     Show the two red boats.             the one thing, with its picture where there is one
absent    a person or thing of no document    that it is not in the documents

An answer first names what was asked: the model then only has to find this name in the documents, or not to find it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from imageref_ray.picturenews import scene_facts, vocabulary
from imageref_ray.picturenews.events import Event, response

Kind = Literal["whole", "person", "thing", "absent"]


@dataclass(frozen=True, slots=True)
class EventQuestion:
    """A question about somebody or something ("" for the whole), and the facets of the event that answer it."""

    kind: Kind
    question: str
    facets: tuple[int, ...]
    about: str = ""

    def answer(self, event: Event) -> str:
        return response(event, self.facets, self.about)


def event_questions(event: Event, rng: random.Random) -> list[EventQuestion]:
    """The whole, every person, every thing, an absent person and an absent thing; wordings and absent ones by `rng`."""
    people = list(dict.fromkeys(facet.person for facet in event.facets))
    asked = [EventQuestion("whole", event.title, tuple(range(len(event.facets))))]
    asked += [_about_person(event, person, rng) for person in people]
    asked += [_about_thing(event, facet.thing, rng) for facet in event.facets]
    text = " ".join(article.text for article in event.articles)
    return [
        *asked,
        _about_person(event, absent_person(people, rng), rng),
        _about_thing(event, absent_thing(text, rng), rng),
    ]


def one_of_each(event: Event, rng: random.Random) -> list[EventQuestion]:
    """The whole, a person, the thing of another facet, an absent person and an absent thing."""
    asked = event_questions(event, rng)
    person = next(item for item in asked if item.kind == "person")
    thing = next(item for item in asked if item.kind == "thing" and item.facets[0] not in person.facets)
    return [asked[0], person, thing, *(item for item in asked if item.kind == "absent")]


def _about_person(event: Event, person: str, rng: random.Random) -> EventQuestion:
    facets = tuple(number for number, facet in enumerate(event.facets) if facet.person == person)
    question = rng.choice(vocabulary.PERSON_QUESTIONS).format(person=person)
    return EventQuestion("person" if facets else "absent", question, facets, person)


def _about_thing(event: Event, thing: str, rng: random.Random) -> EventQuestion:
    facets = tuple(n for n, facet in enumerate(event.facets) if facet.thing == thing)
    question = rng.choice(vocabulary.THING_QUESTIONS).format(thing=thing)
    return EventQuestion("thing" if facets else "absent", question, facets, f"the {thing}")


def refused(response: str) -> bool:
    """Whether a response says that what was asked is not in the documents."""
    return vocabulary.RESPONSE_REFUSAL.split("{names}")[1] in response


def absent_person(people: list[str], rng: random.Random) -> str:
    """Nobody of these; half of the time with the first name of somebody, whom only the last name tells apart."""
    known = {person.split()[-1] for person in people}
    last = rng.choice([name for name in vocabulary.LAST_NAMES if name not in known])
    first = rng.choice(people).split()[0] if rng.random() < 0.5 else rng.choice(vocabulary.FIRST_NAMES)
    return f"{first} {last}"


def absent_thing(text: str, rng: random.Random) -> str:
    """A thing that the text does not name, also not in the singular or the plural."""
    things = [scene_facts.noun(name, rng.randint(1, 2)) for name in scene_facts.OBJECTS if name not in text]
    return rng.choice([*things, *(word for word in vocabulary.NAMED_THINGS if word not in text)])
