"""Record → record with `captions`: every image described by itself, then captioned in its document.

Both requests are shared: an image is described once per run and captioned once per document, however many use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from imageref_ray.core import tokens
from imageref_ray.core.records import Caption, Document, Failure, Image, Record, Usage
from imageref_ray.core.tokens import Count
from imageref_ray.engines.base import Generate, ImageRefused, Request, Sampling
from imageref_ray.stages import parsing, prompts
from imageref_ray.stages.prompts import NO_EXAMPLES, CaptionExample, Examples, Pack


async def caption(
    record: Record,
    generate: Generate,
    pack: Pack,
    sampling: Sampling,
    examples: Examples[CaptionExample] = NO_EXAMPLES,
    context_tokens: int = 4096,
    count: Count = tokens.estimate,
    left_out: list[Failure] | None = None,
) -> Record:
    """Two requests an image (paper stage 2), all images at once; captions in the order of `IMAGE_k`.

    `context_tokens` bounds the text on each side of an image, by `count`. Raises ParseError for an empty or cut reply.
    With `left_out` an image that the engine refuses leaves the record, and its failure is added there, unless all do.
    Examples by likeness are chosen by the image's document; a description sees no text and gets the first examples.
    """
    shown = {document.id: examples.like(prompts.document_text(document)) for document in record.sample.documents}

    async def one(document: Document, image: Image) -> tuple[Caption, Usage]:
        described = await generate(Request(prompts.describe(pack, image, examples.first), sampling, shared=True))
        description = parsing.caption(parsing.whole(described, f"description of {image.id}", sampling))
        turns = prompts.caption(pack, document, image, description, shown[document.id], context_tokens, count)
        captioned = await generate(Request(turns, sampling, shared=True))
        text = parsing.caption(parsing.whole(captioned, f"caption of {image.id}", sampling))
        return Caption(image.id, description, text), described.usage + captioned.usage

    pairs = [(document, image) for document in record.sample.documents for image in document.images]
    # All are awaited before the first failure is raised: no request outlives its record.
    results = await asyncio.gather(*(one(document, image) for document, image in pairs), return_exceptions=True)
    captions, usage, refused = [], record.usage, dict[str, ImageRefused]()
    for (_, image), result in zip(pairs, results, strict=True):
        if isinstance(result, ImageRefused) and image in result.images and left_out is not None:
            refused[image.id] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            captions.append(result[0])
            usage += result[1]
    if refused and not captions:
        raise next(iter(refused.values()))
    record = replace(record, captions=tuple(captions), usage=usage)
    return _without(record, refused, left_out) if refused and left_out is not None else record


def _without(record: Record, refused: Mapping[str, ImageRefused], left_out: list[Failure]) -> Record:
    """The record without these images, as if its source had not been able to read them."""
    left_out += [Failure(record.id, "caption", "ImageRefused", str(why), item=id) for id, why in refused.items()]
    documents = tuple(
        replace(document, images=tuple(image for image in document.images if image.id not in refused))
        for document in record.sample.documents
    )
    return replace(record, sample=replace(record.sample, documents=documents))
