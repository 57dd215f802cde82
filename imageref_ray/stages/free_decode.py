"""Sample → answer with images, end to end: one request, whatever text the model writes."""

from __future__ import annotations

from imageref_ray.core.records import Sample, Usage
from imageref_ray.engines.base import Generate, Request, Sampling
from imageref_ray.stages import prompts
from imageref_ray.stages.prompts import Pack


async def decode(
    sample: Sample, generate: Generate, system: str, sampling: Sampling, pack: Pack | None = None
) -> tuple[str, Usage]:
    """The text as the model wrote it (also where the token limit cut it off), and what it cost.

    `system` is the training system prompt, empty for none; without a pack the wording is that of training data.
    """
    messages = prompts.answer(pack or prompts.load_pack("compact"), sample, system)
    reply = await generate(Request(messages, sampling))
    return reply.text, reply.usage
