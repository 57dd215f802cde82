"""A question of a test set → an answer with images, in each of the ways that an evaluation compares.

guided      the reference's text is fixed; the model continues it at every slot with an image or none
structured  the same choice for all slots in one request, as JSON
free        the model writes the whole answer
captions    the same, with a caption in place of every image
staged      respond ─▶ caption ─▶ place, each by prompting (the three-stage baseline)

The first and third are asked in the words of the training data, the others in those of a prompt pack.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from imageref_ray.core import markdown
from imageref_ray.core.records import Caption, Document, Image, Record, Sample
from imageref_ray.dataset.export import answer
from imageref_ray.dataset.paper_formats import Question
from imageref_ray.engines.base import Generate, Message, Request, Sampling, UnsupportedError
from imageref_ray.stages.caption import caption
from imageref_ray.stages.guided_decode import fill
from imageref_ray.stages.place import place, place_seen
from imageref_ray.stages.prompts import Pack
from imageref_ray.stages.respond import respond

Part = str | Image

LABEL = re.compile(r"IMAGE_\d+:\s*$")
"""The name of an image before it, at the end of a text."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What the modes need besides the question."""

    pack: Pack
    variant: Literal["plain", "caption"] = "plain"
    paper: bool = False
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    context_tokens: int = 4096


@dataclass(frozen=True, slots=True)
class ModeAnswer:
    """An answer's text, and the mode it was really made in."""

    text: str
    made: str


async def guided(question: Question, generate: Generate, manner: Manner) -> ModeAnswer:
    """Slot by slot; as `structured` where the engine cannot continue an answer that has begun."""
    messages = _turns(manner.system, question.prompt)
    try:
        text, _, _ = await fill(
            messages, question.images, question.reference, generate, manner.variant, paper=manner.paper
        )
    except UnsupportedError:
        return await structured(question, generate, manner)
    return ModeAnswer(text, "guided")


async def structured(question: Question, generate: Generate, manner: Manner) -> ModeAnswer:
    """All slots of the reference's text in one request over the documents with their images."""
    text, images = markdown.strip_images(question.reference), question.images
    placements = await place_seen(question.prompt, images, text, generate, manner.pack, manner.sampling)
    numbers = {image.id: k for k, image in reversed(list(enumerate(images, 1)))}
    chosen = {one.slot: numbers[one.image_id] for one in placements if one.image_id is not None}
    return ModeAnswer(markdown.insert(text, chosen, "before"), "structured")


async def free(question: Question, generate: Generate, manner: Manner) -> ModeAnswer:
    """The text as the model wrote it, also where the token limit cut it off."""
    reply = await generate(Request(_turns(manner.system, question.prompt), manner.sampling))
    return ModeAnswer(reply.text, "free")


async def captions(question: Question, generate: Generate, manner: Manner) -> ModeAnswer:
    """As `free`, of a model that reads what each image is in its document, and sees none."""
    captioned = await _captioned(_record(question), generate, manner)
    texts = {image.id: one.caption for image, one in zip(question.images, captioned, strict=True)}
    prompt = "".join(texts[part.id] if isinstance(part, Image) else part for part in question.prompt)
    reply = await generate(Request(_turns(manner.system, (prompt,)), manner.sampling))
    return ModeAnswer(reply.text, "captions")


async def staged(question: Question, generate: Generate, manner: Manner) -> ModeAnswer:
    """A response written without the images, their captions, and the images placed by these."""
    record = await respond(_record(question), generate, manner.pack, manner.sampling)
    record = replace(record, captions=await _captioned(record, generate, manner))
    record = await place(record, generate, manner.pack, manner.sampling)
    return ModeAnswer(answer(record, manner.variant), "staged")


MODES: dict[str, Callable[[Question, Generate, Manner], Awaitable[ModeAnswer]]] = {
    mode.__name__: mode for mode in (guided, structured, free, captions, staged)
}


async def _captioned(record: Record, generate: Generate, manner: Manner) -> tuple[Caption, ...]:
    captioned = await caption(record, generate, manner.pack, manner.sampling, context_tokens=manner.context_tokens)
    return captioned.captions


def _turns(system: str, prompt: tuple[Part, ...]) -> tuple[Message, ...]:
    turn = Message("user", prompt)
    return (Message("system", (system,)), turn) if system else (turn,)


def _record(question: Question) -> Record:
    """The question as a build sees one: what is asked, and its documents as one, whose image k - 1 is `IMAGE_k`.

    The documents begin with the first title line (`# …`); a prompt without one is a document as a whole.
    """
    images = tuple(
        replace(image, id=f"{question.id}/{k}{PurePosixPath(image.id).suffix}")
        for k, image in enumerate(question.images)
    )
    index = {image.id: k for k, image in enumerate(question.images)}
    text = ""
    for part in question.prompt:
        text = LABEL.sub("", text) + f"[Image {index[part.id]}]" if isinstance(part, Image) else text + part
    title = re.search(r"^# ", text, re.MULTILINE)
    start = title.start() if title else 0
    document = Document(question.id, "", text[start:], images)
    return Record(Sample(question.id, text[:start].strip(), (document,)))
