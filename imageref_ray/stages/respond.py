"""Record → record with `response`: the textual answer to a sample, written without seeing its images."""

from __future__ import annotations

from dataclasses import replace

from imageref_ray.core.records import Record
from imageref_ray.engines.base import Generate, Request, Sampling
from imageref_ray.stages import parsing, prompts
from imageref_ray.stages.prompts import Pack


async def respond(record: Record, generate: Generate, pack: Pack, sampling: Sampling) -> Record:
    """One request (paper stage 1). Raises ParseError for a reply that is cut off or is no Markdown response."""
    reply = await generate(Request(prompts.respond(pack, record.sample), sampling))
    text = parsing.response(parsing.whole(reply, "response", sampling))
    return replace(record, response=text, usage=record.usage + reply.usage)
