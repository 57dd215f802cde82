"""Events of the embedded corpus: what happened, who reported it, which picture belongs where.

`make_event(seed, number)` is a pure function of its arguments. Persons, towns and deeds are only in the articles;
colour and place only in the pictures, the count there and as singular or plural in the text: a caption in context
needs both. The ground truth is known: facts of each picture, relevance of each image at each slot, captions,
questions with answers.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from imageref_ray.picturenews import scene_facts, vocabulary
from imageref_ray.picturenews.questions import write_questions
from imageref_ray.picturenews.scene_facts import Picture, Portrait, Scene, describe


@dataclass(frozen=True, slots=True)
class Facet:
    """One thing that happened. `picture` is None if there is no picture of it."""

    kind: str  # "scene", "portrait", "chart" or "note"
    person: str
    detail: dict[str, str]  # what the articles say: verb, noun, role, act, subject or topic
    picture: Picture | None

    @property
    def thing(self) -> str:
        """What it is about: the noun, role, subject or topic."""
        return self.detail[KEY_DETAIL[self.kind]]

    def fill(self, pattern: str, event: Event) -> str:
        return pattern.format(person=self.person, town=event.town, theme=event.theme, **self.detail)


@dataclass(frozen=True, slots=True)
class Shot:
    """One image file: its picture, its facet (None for a distractor), the id of its original if a near-duplicate."""

    id: str  # "<newsID>/<k>.jpg"
    picture: Picture
    facet: int | None
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class Article:
    """One outlet's report; `text` has `[Image k]` markers, k is an index into `shots`."""

    id: str
    title: str
    text: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a town, in facets, and the articles about it."""

    id: str
    town: str
    theme: str
    facets: tuple[Facet, ...]
    articles: tuple[Article, ...] = ()

    @property
    def title(self) -> str:
        return f"The {self.theme} in {self.town}"

    @property
    def shots(self) -> tuple[Shot, ...]:
        """All images; `shots[k - 1]` is `IMAGE_k`."""
        return tuple(shot for article in self.articles for shot in article.shots)


def make_event(seed: int, number: int) -> Event:
    """The event `number` of the corpus with this seed; its id contains both, so seeds never share an event."""
    rng = random.Random(f"picturenews {seed} {number}")
    event = Event(
        f"{seed}{number:06d}", rng.choice(vocabulary.TOWNS), rng.choice(vocabulary.THEMES), random_facets(rng)
    )
    return replace(event, articles=_articles(event, rng))


def response(event: Event, only: Collection[int] | None = None, about: str = "") -> str:
    """The reference response: title, overview, and one section per facet in order of first report.

    With `only`, it is about these facets; about none it says that there is nothing. The overview names what the
    response is `about`: without it, all persons of its facets.
    """
    told = [facet for number, facet in enumerate(event.facets) if only is None or number in only]
    overview = vocabulary.RESPONSE_OVERVIEW if told else vocabulary.RESPONSE_REFUSAL
    words = {"town": event.town, "theme": event.theme, "names": about or last_names(told)}
    lines = [line.format(**words) for line in (vocabulary.RESPONSE_TITLE, overview)]
    for facet in told:
        lines += [facet.fill(line, event) for line in SECTIONS[facet.kind]]
    return "\n".join(lines)


def caption(event: Event, shot: Shot) -> str:
    """The reference caption in context: what the picture shows and what its article says about it."""
    description = describe(shot.picture)
    if shot.facet is None:
        return _sentence(vocabulary.EMBLEM_CAPTION.format(description=description))
    facet = event.facets[shot.facet]
    visible = {"description": description}
    if isinstance(shot.picture, Portrait):
        visible |= {"colour": scene_facts.article(shot.picture.colour), "mark": shot.picture.mark}
    return _sentence(CAPTIONS[facet.kind].format(person=facet.person, town=event.town, **{**facet.detail, **visible}))


def relevance(event: Event, facet: int | None, shot: Shot) -> int:
    """Relevance of an image to a section: 3 its own picture, 2 the same person, 1 a scene at the same place, else 0.

    `facet` None is the overview, where any scene has 1. Distractors have 0 everywhere.
    """
    if shot.facet is None:
        return 0
    if facet is None:
        return int(isinstance(shot.picture, Scene))
    if shot.facet == facet:
        return 3
    own, other = event.facets[facet], event.facets[shot.facet]
    if own.person == other.person:
        return 2
    both_scenes = isinstance(own.picture, Scene) and isinstance(other.picture, Scene)
    return int(both_scenes and own.picture.place == other.picture.place)  # type: ignore[union-attr]


def section_facet(event: Event, section: str) -> int | None:
    """The facet that a section of any response is about: the one whose person and thing it names, or None.

    Placements in a *generated* response are judged with it, by the text of the section.
    """
    for number, facet in enumerate(event.facets):
        if facet.person.split()[-1] in section and facet.thing in section:
            return number
    return None


def questions(picture: Picture) -> list[tuple[str, str]]:
    """Questions about the picture alone, each with its true answer."""
    return [(item.question, item.answer) for item in write_questions(picture)]


KEY_DETAIL = {"scene": "noun", "portrait": "role", "chart": "subject", "note": "topic"}
TEXTS = {
    "scene": vocabulary.SCENE_TEXTS,
    "portrait": vocabulary.PORTRAIT_TEXTS,
    "chart": vocabulary.CHART_TEXTS,
    "note": vocabulary.NOTE_TEXTS,
}
CAPTIONS = {
    "scene": vocabulary.SCENE_CAPTION,
    "portrait": vocabulary.PORTRAIT_CAPTION,
    "chart": vocabulary.CHART_CAPTION,
}
SECTIONS = {
    "scene": vocabulary.SCENE_SECTION,
    "portrait": vocabulary.PORTRAIT_SECTION,
    "chart": vocabulary.CHART_SECTION,
    "note": vocabulary.NOTE_SECTION,
}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def last_names(told: Sequence[Facet]) -> str:
    """The last names of their persons: `Abel, Adler and Bauer`."""
    last = list(dict.fromkeys(facet.person.split()[-1] for facet in told))
    return " and ".join([", ".join(last[:-1]), last[-1]] if len(last) > 1 else last)


def random_facets(rng: random.Random) -> tuple[Facet, ...]:
    """3–5 facets, 2–4 with a picture, about different persons and things (a portrait may show a scene's person)."""
    pictured = rng.randint(2, 4)
    kinds = ["scene", *rng.choices(("scene", "portrait", "chart"), (6, 3, 2), k=pictured - 1)]
    kinds += ["note"] * rng.randint(max(0, 3 - pictured), 1)
    rng.shuffle(kinds)
    lasts = rng.sample(vocabulary.LAST_NAMES, len(kinds))
    people = [f"{rng.choice(vocabulary.FIRST_NAMES)} {last}" for last in lasts]
    if "portrait" in kinds and rng.random() < 0.15:
        people[kinds.index("portrait")] = people[kinds.index("scene")]
    objects = iter(rng.sample(scene_facts.OBJECTS, len(kinds)))
    pools = {name: iter(rng.sample(pool, len(kinds))) for name, pool in POOLS.items()}
    return tuple(_facet(kind, person, rng, objects, pools) for kind, person in zip(kinds, people, strict=True))


POOLS = {
    "role": vocabulary.ROLES,
    "subject": vocabulary.SUBJECTS,
    "topic": vocabulary.TOPICS,
    "verb": vocabulary.VERBS,
    "act": vocabulary.ACTS,
}


def _facet(
    kind: str, person: str, rng: random.Random, objects: Iterator[str], pools: Mapping[str, Iterator[str]]
) -> Facet:
    def pick(pool: str) -> str:
        return next(pools[pool])

    if kind == "scene":
        scene = replace(scene_facts.random_scene(rng), object=next(objects))
        return Facet(kind, person, {"verb": pick("verb"), "noun": scene.noun}, scene)
    if kind == "portrait":
        return Facet(kind, person, {"role": pick("role"), "act": pick("act")}, scene_facts.random_portrait(rng))
    if kind == "chart":
        return Facet(kind, person, {"subject": pick("subject")}, scene_facts.random_chart(rng))
    return Facet(kind, person, {"topic": pick("topic")}, None)


def _articles(event: Event, rng: random.Random) -> tuple[Article, ...]:
    """2–4 articles: each has new facets, some repeat an earlier one, perhaps with a near-duplicate of its picture."""
    count = rng.randint(2, min(4, len(event.facets)))
    cuts = sorted(rng.sample(range(1, len(event.facets)), count - 1))
    chunks = [list(range(a, b)) for a, b in zip([0, *cuts], [*cuts, len(event.facets)], strict=True)]
    pictured = [number for number, facet in enumerate(event.facets) if facet.picture]
    earlier = [number for number in pictured if number < cuts[-1]]
    duplicate = rng.choice(earlier) if earlier and rng.random() < 0.3 else None
    alone = len(pictured) == 2 and duplicate is None
    distractor = rng.randrange(count) if alone or rng.random() < 0.4 else None
    outlets = rng.sample(vocabulary.OUTLETS, count)
    origin: dict[int, str] = {}
    articles = []
    for index, chunk in enumerate(chunks):
        repeated = duplicate if index == count - 1 else None
        numbers = [*chunk, *(n for n in range(chunk[0]) if n == repeated or rng.random() < 0.15)]
        pictures: list[tuple[int | None, Picture | None]] = [
            (n, event.facets[n].picture) for n in numbers if n in chunk or n == repeated
        ]
        if index == distractor:
            pictures.insert(rng.randint(0, len(pictures)), (None, scene_facts.random_emblem(rng)))
        articles.append(_article(event, f"{event.id}{index}", outlets[index], numbers, pictures, origin, rng))
    return tuple(articles)


def _article(
    event: Event,
    news_id: str,
    outlet: str,
    facet_numbers: list[int],
    pictures: Sequence[tuple[int | None, Picture | None]],
    origin: dict[int, str],
    rng: random.Random,
) -> Article:
    """Paragraphs in order; pictures come after the paragraph they belong to, or all together at the end."""
    gallery = rng.random() < 0.35
    lines: list[str | tuple[int | None, Picture]] = [
        rng.choice(vocabulary.LEADS).format(town=event.town, theme=event.theme)
    ]
    unplaced = [(number, picture) for number, picture in pictures if picture]
    for facet_number in facet_numbers:
        facet = event.facets[facet_number]
        filler = f" {rng.choice(vocabulary.FILLERS)}" if rng.random() < 0.4 else ""
        lines.append(facet.fill(rng.choice(TEXTS[facet.kind]), event) + filler)
        placed = [] if gallery else [pair for pair in unplaced if pair[0] == facet_number]
        lines += placed
        unplaced = [pair for pair in unplaced if pair not in placed]
    lines += unplaced
    shots: list[Shot] = []
    for number, picture in [line for line in lines if not isinstance(line, str)]:
        shot_id = f"{news_id}/{len(shots)}.jpg"
        shots.append(Shot(shot_id, picture, number, None if number is None else origin.get(number)))
        if number is not None:
            origin.setdefault(number, shot_id)
    markers = iter(range(len(shots)))
    text = "\n".join(line if isinstance(line, str) else f"[Image {next(markers)}]" for line in lines)
    return Article(news_id, f"{outlet} of {event.town}: {event.theme}", text, tuple(shots))
