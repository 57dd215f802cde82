"""Record → record with `response`: the textual answer to a sample, written without seeing its images."""

from __future__ import annotations

from dataclasses import replace

from imageref_ray import parsing, prompts
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.prompts import Pack
from imageref_ray.records import Record


async def respond(record: Record, generate: Generate, pack: Pack, sampling: Sampling) -> Record:
    """One request (paper stage 1). Raises ParseError for a reply that is cut off or is no Markdown response."""
    reply = await generate(Request(prompts.respond(pack, record.sample), sampling))
    text = parsing.response(whole(reply, "response", sampling))
    return replace(record, response=text, usage=record.usage + reply.usage)


def whole(reply: Reply, what: str, sampling: Sampling) -> str:
    """The reply's text; raises ParseError where the token limit cut it off."""
    if reply.finish_reasons[0] == "length":
        raise parsing.ParseError(
            f"the {what} was cut off at {sampling.max_tokens} tokens; raise max_tokens: {reply.text[:80]!r}"
        )
    return reply.text
