"""`POST /v1/reference`: a question and documents with images → Markdown in which every image reference is checked.

    direct  one request to a fine-tuned model ─▶ text, checked as it comes, with its references
    staged  respond ─▶ text;  caption beside it;  then place ─▶ references

Both give deltas, and the whole answer in the end. What breaks the reference contract (`markdown.check`) is told and
repaired: a reference inside a table or code moves behind it, others are removed, HTML and links that may run something
are shown as text. Every reference that stays is traced back to its document, address and sha256.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from imageref_ray.core import markdown
from imageref_ray.core.markdown_stream import AnswerStream, Piece
from imageref_ray.core.records import Record, to_row
from imageref_ray.dataset.export import answer as answer_text
from imageref_ray.engines.base import Generate, Reply, Request
from imageref_ray.serving.answer_html import to_html
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.openai_chat import usage_object
from imageref_ray.serving.reference_work import Work
from imageref_ray.stages import parsing, prompts
from imageref_ray.stages.caption import caption
from imageref_ray.stages.place import place

Delta = dict[str, Any]
Tell = Callable[[Delta], None]

TITLE = re.compile(r"\s*# ")
"""How a response begins that needs nothing taken off its beginning."""


async def events(work: Work) -> AsyncGenerator[dict[str, Any], None]:
    """The deltas of an answer, each `{…, "delta": …}`, and the whole answer at the end.

    Nothing is given before the engine has begun to answer. Raises WireError for an unusable reply, and what the engine
    raises.
    """
    answer: dict[str, Any] = {"markdown": "", "references": [], "breaches": []}
    try:
        async with aclosing(_staged(work) if work.method == "staged" else _direct(work)) as deltas:
            async for delta in deltas:
                if "whole" in delta:
                    answer["markdown"] = delta["whole"]
                    continue
                answer["references"] += [delta["reference"]] if "reference" in delta else []
                answer["breaches"] += [delta["breach"]] if "breach" in delta else []
                yield {**work.head, "object": "reference.chunk", "delta": delta}
    except parsing.ParseError as error:
        raise WireError(f"the model's reply cannot be used: {error}", status=502) from error
    if work.body.format == "html":
        answer["html"] = await asyncio.to_thread(to_html, answer["markdown"], work.pictures(answer["references"]))
    yield {
        **work.head,
        "method": work.method,
        "finish_reason": "length" if work.cut else "stop",
        **answer,
        "citations": [{"block": one["slot"], "documents": [one["document"]]} for one in answer["references"]],
        "left_out": work.received.left_out,
        "usage": usage_object(work.usage),
    }


async def _direct(work: Work) -> AsyncGenerator[Delta, None]:
    """One request; its text is checked as it comes."""
    request = Request(prompts.answer(work.pack, work.sample, work.system), work.sampling)
    stream, begun = AnswerStream(work.sample), False
    async with aclosing(work.texts(request)) as texts:
        async for text in texts:
            if not begun:
                yield {"stage": "answer", "done": 0, "of": 1}
            begun = True
            for delta in _deltas(stream.feed(text), work):
                yield delta
    for delta in _deltas(stream.end(), work):
        yield delta
    yield {"stage": "answer", "done": 1, "of": 1}
    yield {"whole": stream.text}


def _deltas(pieces: Iterator[Piece], work: Work) -> Iterator[Delta]:
    for piece in pieces:
        yield from ({"breach": to_row(breach)} for breach in piece.breaches)
        yield from ({"reference": work.reference(reference)} for reference in piece.references)
        if piece.text:
            yield {"markdown": piece.text}


async def _staged(work: Work) -> AsyncGenerator[Delta, None]:
    """What the stages tell; they end where nobody listens any more."""
    told: asyncio.Queue[Delta | None] = asyncio.Queue()
    stages = asyncio.create_task(_stages(work, told.put_nowait))
    stages.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (delta := await told.get()) is not None:
            yield delta
        await stages
    finally:
        stages.cancel()
        await asyncio.gather(stages, return_exceptions=True)


async def _stages(work: Work, tell: Tell) -> None:
    """The stages of a build, captions beside the response; the captions become those of the references."""
    record, pack = Record(work.sample), work.pack
    images = len(work.sample.images)
    captioning = asyncio.create_task(caption(record, _counted(work, "caption", 2 * images, tell), pack, work.sampling))
    try:
        text = await _respond(work, tell)
        record = replace(await captioning, response="\n".join(markdown.lines(text)))
    finally:
        captioning.cancel()
        await asyncio.gather(captioning, return_exceptions=True)
    try:
        record = await place(record, _counted(work, "place", 1, tell), pack, work.sampling)
    except parsing.ParseError:
        if not work.cut:
            raise
    whole, references = markdown.repair(answer_text(record, "caption"), work.sample)
    for reference in references:
        tell({"reference": work.reference(reference)})
    tell({"whole": markdown.spaced(whole)})


def _counted(work: Work, stage: str, of: int, tell: Tell) -> Generate:
    done = 0

    async def generate(request: Request) -> Reply:
        nonlocal done
        reply = await work.generate(request)
        done += 1
        tell({"stage": stage, "done": done, "of": of})
        return reply

    return generate


async def _respond(work: Work, tell: Tell) -> str:
    """The text of a staged answer, told as it comes where it begins with its title. Raises ParseError as the stage."""
    stream, written, begun = AnswerStream(replace(work.sample, documents=())), "", False

    def told(pieces: Iterator[Piece]) -> None:
        for piece in pieces:
            for breach in piece.breaches:
                tell({"breach": to_row(_early(breach) if breach.k else breach)})
            if piece.text:
                tell({"markdown": piece.text})

    async with aclosing(work.texts(Request(prompts.respond(work.pack, work.sample), work.sampling))) as texts:
        async for text in texts:
            if not written:
                tell({"stage": "respond", "done": 0, "of": 1})
            written += text
            if begun or TITLE.match(written):
                told(stream.feed(text if begun else written))
                begun = True
    response = parsing.response(written)
    if not begun:
        told(stream.feed(response))
    told(stream.end())
    tell({"stage": "respond", "done": 1, "of": 1})
    return stream.text


def _early(breach: markdown.Breach) -> markdown.Breach:
    """A reference in a text that was asked for without any."""
    return replace(breach, kind="slot", message=f"IMAGE_{breach.k} was written before the pictures are placed.")
