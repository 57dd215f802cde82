"""`POST /v1/reference`: a question and documents with pictures → Markdown in which every image reference is checked.

A fine-tuned model answers in one go (`direct`); any other writes, captions and places as in a build (`staged`).
What breaks the reference contract (`markdown.check`) is taken out of the text and listed; every reference that
stays is traced back to its document, uri and sha256.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from imageref_ray.core import markdown
from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Document, Image, Record, Sample, Usage, to_row
from imageref_ray.dataset.export import answer as written
from imageref_ray.engines.base import Engine, Sampling
from imageref_ray.serving.openai_chat import WireError, costs
from imageref_ray.serving.request_images import PictureError, public_uri, receive
from imageref_ray.stages.caption import caption
from imageref_ray.stages.free_decode import decode
from imageref_ray.stages.parsing import ParseError
from imageref_ray.stages.place import place
from imageref_ray.stages.prompts import load_pack
from imageref_ray.stages.respond import respond


class SentDocument(BaseModel):
    """A document: `[Image k]` in `text` is where `images[k]` stood (k from 0)."""

    id: str | None = Field(None, min_length=1)
    title: str = ""
    text: str
    url: str = ""
    images: list[str] = []


class ReferenceBody(BaseModel):
    """A question, its documents, and how the answer is drawn (greedy where not told)."""

    question: str = Field(min_length=1)
    documents: list[SentDocument] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0, ge=0, le=2)
    seed: int | None = None
    method: Literal["direct", "staged"] | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The sample a body holds, image id → how the body named it, and which pictures could not be used."""

    sample: Sample
    uris: dict[str, str]
    left_out: list[dict[str, Any]]


def receive_documents(body: ReferenceBody, folder: Path, settings: ServeConfig) -> Received:
    """The body as a sample, pictures verified; a bad picture is left out and reported. Raises WireError."""
    names = [document.id or str(i) for i, document in enumerate(body.documents, start=1)]
    if len(set(names)) < len(names):
        raise WireError("two documents have the same id", "documents")
    if sum(len(document.images) for document in body.documents) > settings.max_images:
        raise WireError(f"more than {settings.max_images} pictures in one request", "documents")
    uris: dict[str, str] = {}
    left_out: list[dict[str, Any]] = []
    documents: list[Document] = []
    for number, (name, sent) in enumerate(zip(names, body.documents, strict=True)):
        images: list[Image] = []
        for index, url in enumerate(sent.images):
            try:
                found = receive(url, f"{name}/{index}", folder / f"{number}-{index}", settings)
            except PictureError as error:
                left_out.append({"document": name, "image": index, "reason": str(error)})
            else:
                images.append(found)
                uris[found.id] = public_uri(url, found)
        documents.append(Document(name, sent.title, sent.text, tuple(images), sent.url))
    return Received(Sample("request", body.question, tuple(documents)), uris, left_out)


async def answer(received: Received, body: ReferenceBody, engine: Engine, settings: ServeConfig) -> dict[str, Any]:
    """The response object: markdown, references, breaches, left_out, usage. Raises WireError for a useless reply."""
    sampling = Sampling(body.temperature, body.max_tokens or settings.max_tokens, seed=body.seed)
    write = _staged if (body.method or settings.method) == "staged" else _direct
    try:
        text, usage = await write(received.sample, engine, sampling, settings)
    except ParseError as error:
        raise WireError(f"the model's reply cannot be used: {error}", status=502) from error
    kept, found = checked(text, received.sample)
    return {
        "object": "reference",
        "model": settings.name,
        "markdown": kept,
        "references": [_source(ref, received) for ref in found],
        "breaches": [to_row(breach) for breach in markdown.check(text, received.sample)],
        "left_out": received.left_out,
        "usage": costs(usage),
    }


async def _direct(sample: Sample, engine: Engine, sampling: Sampling, settings: ServeConfig) -> tuple[str, Usage]:
    return await decode(sample, engine.generate, settings.system, sampling, load_pack(settings.prompts))


async def _staged(sample: Sample, engine: Engine, sampling: Sampling, settings: ServeConfig) -> tuple[str, Usage]:
    """The stages of a build; the captions become those of the image references."""
    pack = load_pack(settings.prompts)
    record = await respond(Record(sample), engine.generate, pack, sampling)
    record = await caption(record, engine.generate, pack, sampling)
    record = await place(record, engine.generate, pack, sampling)
    return written(record, "caption"), record.usage


def checked(text: str, sample: Sample) -> tuple[str, list[markdown.Reference]]:
    """The text with only those image references that keep the contract, and those references."""
    found: list[markdown.Reference] = []
    used: set[str] = set()
    for ref in markdown.references(text):
        if ref.slot and 1 <= ref.k <= len(sample.images) and sample.images[ref.k - 1].id not in used:
            used.add(sample.images[ref.k - 1].id)
            found.append(ref)
    captions = {ref.k: ref.caption for ref in found if ref.caption}
    kept = markdown.insert(markdown.strip_images(text), {ref.slot: ref.k for ref in found}, "after", captions)
    assert not markdown.check(kept, sample)
    return kept, found


def _source(ref: markdown.Reference, received: Received) -> dict[str, Any]:
    image = received.sample.images[ref.k - 1]
    return {
        "k": ref.k,
        "image": image.id,
        "document": image.id.rsplit("/", 1)[0],
        "uri": received.uris[image.id],
        "sha256": image.sha256,
        "caption": ref.caption,
        "slot": ref.slot,
    }
