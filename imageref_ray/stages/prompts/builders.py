"""Pure functions from records to chat messages, one per task, worded by a pack.

Every builder returns the turns of one request; an image is among the parts where it is in the text.
In-context examples, where the pack shows them, are earlier turns in the same words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from imageref_ray.core import markdown, tokens
from imageref_ray.core.records import Document, Image, Sample
from imageref_ray.core.tokens import Count
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts.examples import CaptionExample, PlaceExample
from imageref_ray.stages.prompts.pack import FIELD, Pack, Task
from imageref_ray.stages.prompts.tfidf import WIDE

Part = str | Image
NOT_INSERT = "Not Insert"
"""The prediction for a slot without an image."""

LONGEST_WORDS = 100
"""Words kept of one text that a document has for an image; an alternative text may describe a whole chart."""


def describe(pack: Pack, image: Image, examples: Sequence[CaptionExample] = ()) -> tuple[Message, ...]:
    """What is visible in the image, asked without any text around it."""
    shown = [(fill(pack.describe, image=(example.image,)), example.description) for example in examples]
    return _turns(pack, pack.describe, shown, fill(pack.describe, image=(image,)))


def caption(
    pack: Pack,
    document: Document,
    image: Image,
    description: str,
    examples: Sequence[CaptionExample] = (),
    context_tokens: int = 4096,
    count: Count = tokens.estimate,
) -> tuple[Message, ...]:
    """What the image is, asked at its place in the document, with the document's own words for it.

    Each side's text is cut to `context_tokens`, each of the document's words for the image to `LONGEST_WORDS`.
    """

    def asked(document: Document, image: Image, description: str) -> tuple[Part, ...]:
        before, after = context(document, image, context_tokens, count)
        seen = " ".join(description.split())
        words = _own_words(pack, image)
        return fill(pack.caption, before=(before,), image=(image,), after=(after,), description=(seen,), words=(words,))

    shown = [(asked(e.document, e.image, e.description), e.caption) for e in examples]
    return _turns(pack, pack.caption, shown, asked(document, image, description))


def _own_words(pack: Pack, image: Image) -> str:
    """The document's words for the image as the pack puts them, "" for none; a file's name says nothing about it."""
    file = Path(image.origin or image.uri)
    names = {_letters(file.name), _letters(file.stem)}  # AsciiDoc's converter writes them where there is no alt
    texts = [first_words(text, LONGEST_WORDS) for text in image.words if _letters(text) not in names]
    listed = "\n".join(f"- {' '.join(text.split())}" for text in texts)
    return pack.caption_words.strip().replace("{words}", listed) if listed else ""


def _letters(text: str) -> str:
    """The text's letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", text).casefold()


def respond(pack: Pack, sample: Sample) -> tuple[Message, ...]:
    """The textual response, asked over the sample's documents without their images."""
    documents = "\n\n".join(markdown.render(document) for document in sample.documents)
    asked = fill(pack.respond, instruction=(sample.instruction,), documents=(documents,))
    return _turns(pack, pack.respond, [], asked)


def place(
    pack: Pack,
    response: str,
    captions: Sequence[str],
    examples: Sequence[PlaceExample] = (),
    words: int | None = None,
) -> tuple[Message, ...]:
    """Which image at which before-content slot of the response; `captions[k - 1]` is of `IMAGE_k`.

    `words` bounds `analysis` and `explanation`, each: 0 asks for neither, None leaves their length to the pack.
    """

    def asked(response: str, captions: Sequence[str]) -> tuple[Part, ...]:
        text = markdown.with_slots(response, "before")
        return fill(pack.place, captions=(numbered(captions),), response=(text,))

    shown = [(asked(example.response, example.captions), example.result) for example in examples]
    return _turns(pack, _place_task(pack, words), shown, asked(response, captions))


def place_seen(
    pack: Pack, documents: Sequence[Part], images: int, response: str, words: int | None = None
) -> tuple[Message, ...]:
    """The same asked over the documents with the images themselves, `IMAGE_1` to `IMAGE_<images>`."""
    names = ", ".join(f"IMAGE_{k}" for k in range(1, images + 1))
    asked = fill(pack.place, captions=(names,), response=(markdown.with_slots(response, "before"),))
    return _turns(pack, _place_task(pack, words), [], _merged([*documents, "\n\n", *asked]))


def _place_task(pack: Pack, words: int | None) -> Task:
    """`pack.place` with the form of its reply; `words` as in `place`."""
    form = pack.place_reply
    reply = form.full if words is None else form.short.replace("{words}", str(words)) if words else form.none
    return pack.place.model_copy(update={"system": pack.place.system + reply})


def answer(pack: Pack, sample: Sample, system: str | None = None) -> tuple[Message, ...]:
    """The end-to-end task: the instruction, then the documents with every image written `IMAGE_k: <image>`.

    `system` replaces the pack's own system prompt (which is empty in `compact`).
    """
    numbers = markdown.image_numbers(sample)
    documents: list[Part] = []
    for document in sample.documents:
        documents += ["\n\n"] if documents else []
        for part in markdown.pieces(document):
            documents += [f"IMAGE_{numbers[part.id]}: ", part] if isinstance(part, Image) else [part]
    task = pack.answer if system is None else pack.answer.model_copy(update={"system": system})
    asked = fill(task, instruction=(sample.instruction,), documents=tuple(documents))
    return _turns(pack, task, [], asked)


def numbered(captions: Sequence[str]) -> str:
    """One line `IMAGE_k: caption` per caption, in order; a caption that already has its number keeps it."""
    flat = [" ".join(text.split()) for text in captions]
    return "\n".join(
        text if text.startswith(f"IMAGE_{k}:") else f"IMAGE_{k}: {text}" for k, text in enumerate(flat, start=1)
    )


def predictions(chosen: Sequence[int | None]) -> str:
    """The placement reply in the compact form: `chosen[p - 1]` is the k at slot p, or None."""
    entries = [
        {"position": f"<Position {p}>", "image": f"IMAGE_{k}" if k else NOT_INSERT} for p, k in enumerate(chosen, 1)
    ]
    return json.dumps({"predictions": entries}, ensure_ascii=False)


def context(document: Document, image: Image, budget: int, count: Count = tokens.estimate) -> tuple[str, str]:
    """The document's text before and after the image, without other images: the lines nearest to the image.

    Each side has at most `budget` tokens, line by line. An image without a marker is taken to be at the end.
    """
    parts = markdown.pieces(document, keep=lambda other: other.id == image.id)
    at = next((i for i, part in enumerate(parts) if isinstance(part, Image)), len(parts))
    before = markdown.lines("".join(part for part in parts[:at] if isinstance(part, str)))
    after = markdown.lines("".join(part for part in parts[at + 1 :] if isinstance(part, str)))
    return "\n".join(_nearest(before[::-1], budget, count, -1)[::-1]), "\n".join(_nearest(after, budget, count, 1))


def first_words(text: str, count: int) -> str:
    """The text's first `count` words, each CJK character a word of its own."""
    ends = [piece.end() for piece in islice(re.finditer(rf"[{WIDE}]|[^\s{WIDE}]+", text), count)]
    return text[: ends[-1]] if ends else ""


def _nearest(ordered: list[str], budget: int, count: Count, side: int) -> list[str]:
    """The first lines that fit; where not even the nearest does, its end (side -1) or beginning (1)."""
    if sum(len(line.encode()) for line in ordered) <= budget:
        return ordered  # no token is less than a byte: nothing to count
    fitting: list[str] = []
    for line in ordered:
        cost = count(line)
        if cost > budget:
            return fitting or _part(line, cost, budget, count, side)
        fitting.append(line)
        budget -= cost
    return fitting


def _part(line: str, cost: int, budget: int, count: Count, side: int) -> list[str]:
    """As much of the line's end (side -1) or beginning (1) as fits, cut in proportion to its cost."""
    while cost > budget:
        some = len(line) * budget // cost
        line = line[len(line) - some :] if side < 0 else line[:some]
        cost = count(line)
    return [line] if line else []


def fill(task: Task, **values: tuple[Part, ...]) -> tuple[Part, ...]:
    """The template with its fields replaced; a line that only holds an empty field is dropped."""
    texts = FIELD.split(task.user)
    parts: list[Part] = [texts[0]]
    for name, following in zip(texts[1::2], texts[2::2], strict=True):
        value = tuple(part for part in values[name] if part != "")
        last = next((part for part in reversed(parts) if part != ""), "\n")
        if not value and isinstance(last, str) and last.endswith("\n"):
            following = following.removeprefix("\n")
        parts += [*value, following]
    return _merged(parts)


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(part for part in merged if part != "")


def _turns(
    pack: Pack, task: Task, shown: Sequence[tuple[tuple[Part, ...], str]], asked: tuple[Part, ...]
) -> tuple[Message, ...]:
    turns = [Message("system", (task.system.strip(),))] if task.system.strip() else []
    for question, reply in shown if pack.examples else ():
        turns += [Message("user", question), Message("assistant", (reply,))]
    return (*turns, Message("user", asked))
