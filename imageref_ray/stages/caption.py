"""Record → record with `captions`: every image described by itself, then captioned in its document.

Both requests are shared: an image is described once per run and captioned once per document, however many use it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from imageref_ray.core import tokens
from imageref_ray.core.records import Caption, Document, Image, Record, Usage
from imageref_ray.core.tokens import Count
from imageref_ray.engines.base import Generate, Request, Sampling
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
) -> Record:
    """Two requests an image (paper stage 2), all images at once; captions in the order of `IMAGE_k`.

    `context_tokens` bounds the text on each side of an image, by `count`. Raises ParseError for an empty or cut reply.
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
    captions, usage = [], record.usage
    for result in results:
        if isinstance(result, BaseException):
            raise result
        captions.append(result[0])
        usage += result[1]
    return replace(record, captions=tuple(captions), usage=usage)
