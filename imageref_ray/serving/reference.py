"""`POST /v1/reference`: a question and documents with images → Markdown in which every image reference is checked.

A fine-tuned model answers in one step (`direct`); any other responds, captions and places as in a build (`staged`).
What breaks the reference contract (`markdown.check`) is listed and repaired: a reference inside a table or code moves
behind it, others are removed, HTML and links that may run something are shown as text. Every reference that stays is
traced back to its document, uri and sha256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from imageref_ray.core import markdown
from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Document, Image, Record, Sample, Usage, to_row
from imageref_ray.dataset.export import answer as answer_text
from imageref_ray.engines.base import Engine, Sampling
from imageref_ray.engines.reasoning import answers
from imageref_ray.serving.chat_body import Strict
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.openai_chat import usage_object
from imageref_ray.serving.request_images import ImageError, public_uri, receive_image
from imageref_ray.stages.caption import caption
from imageref_ray.stages.free_decode import decode
from imageref_ray.stages.parsing import ParseError
from imageref_ray.stages.place import place
from imageref_ray.stages.prompts import load_pack
from imageref_ray.stages.respond import respond


class SentDocument(Strict):
    """A document: `[Image k]` in `text` marks the position of `images[k]` (k from 0)."""

    id: str | None = Field(None, min_length=1)
    title: str = ""
    text: str
    url: str = ""
    images: list[str] = Field(default_factory=list)


class ReferenceBody(Strict):
    """A question, its documents, and the sampling of the answer (greedy by default)."""

    question: str = Field(min_length=1)
    documents: list[SentDocument] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0, ge=0, le=2)
    seed: int | None = None
    method: Literal["direct", "staged"] | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The sample of a request, image id → uri for the answer, and which images could not be used."""

    sample: Sample
    uris: dict[str, str]
    left_out: list[dict[str, Any]]


def receive_documents(body: ReferenceBody, settings: ServeConfig) -> Received:
    """The body as a sample with verified images; unusable ones are left out and reported. Raises WireError."""
    names = [document.id or str(i) for i, document in enumerate(body.documents, start=1)]
    if len(set(names)) < len(names):
        raise WireError("two documents have the same id", "documents")
    if sum(len(document.images) for document in body.documents) > settings.max_images:
        raise WireError(f"more than {settings.max_images} images in one request", "documents")
    uris: dict[str, str] = {}
    left_out: list[dict[str, Any]] = []
    documents: list[Document] = []
    for name, sent in zip(names, body.documents, strict=True):
        images: list[Image] = []
        for index, url in enumerate(sent.images):
            try:
                image = receive_image(url, f"{name}/{index}", settings)
            except ImageError as error:
                left_out.append({"document": name, "image": index, "reason": str(error)})
            else:
                images.append(image)
                uris[image.id] = public_uri(url, image)
        documents.append(Document(name, sent.title, sent.text, tuple(images), sent.url))
    return Received(Sample("request", body.question, tuple(documents)), uris, left_out)


async def answer(
    received: Received, body: ReferenceBody, engine: Engine, settings: ServeConfig
) -> tuple[dict[str, Any], Usage]:
    """The response object (markdown, references, breaches, left_out, usage) and what it cost.

    Raises WireError for an unusable reply.
    """
    sampling = Sampling(body.temperature, body.max_tokens or settings.max_tokens, seed=body.seed)
    generate_answer = _staged if (body.method or settings.method) == "staged" else _direct
    try:
        text, usage = await generate_answer(received.sample, engine, sampling, settings)
    except ParseError as error:
        raise WireError(f"the model's reply cannot be used: {error}", status=502) from error
    checked, references = keep_valid_references(text, received.sample)
    response = {
        "object": "reference",
        "model": settings.name,
        "markdown": checked,
        "references": [_reference_object(reference, received) for reference in references],
        "breaches": [to_row(breach) for breach in markdown.check(text, received.sample)],
        "left_out": received.left_out,
        "usage": usage_object(usage),
    }
    return response, usage


async def _direct(sample: Sample, engine: Engine, sampling: Sampling, settings: ServeConfig) -> tuple[str, Usage]:
    return await decode(sample, answers(engine.generate), settings.system, sampling, load_pack(settings.prompts))


async def _staged(sample: Sample, engine: Engine, sampling: Sampling, settings: ServeConfig) -> tuple[str, Usage]:
    """Answer by the stages of a build; the captions become those of the image references."""
    pack, generate = load_pack(settings.prompts), answers(engine.generate)
    record = await respond(Record(sample), generate, pack, sampling)
    record = await caption(record, generate, pack, sampling)
    record = await place(record, generate, pack, sampling)
    return answer_text(record, "caption"), record.usage


def keep_valid_references(text: str, sample: Sample) -> tuple[str, list[markdown.Reference]]:
    """The text as the contract wants it (`markdown.repair`), and the image references in it."""
    checked, valid = markdown.repair(text, sample)
    assert not markdown.check(checked, sample)
    return checked, valid


def _reference_object(reference: markdown.Reference, received: Received) -> dict[str, Any]:
    image = received.sample.images[reference.k - 1]
    return {
        "k": reference.k,
        "image": image.id,
        "document": image.id.rsplit("/", 1)[0],
        "uri": received.uris[image.id],
        "sha256": image.sha256,
        "caption": reference.caption,
        "slot": reference.slot,
    }
