"""Several draws of a text → the likeliest: what beam search is for, where an engine only draws."""

from __future__ import annotations

import math
from dataclasses import replace

from imageref_ray.engines.base import Generate, Reply, Request, RequestError


def best_of(generate: Generate, count: int) -> Generate:
    """`generate` whose text is, of `count` draws, the one with the highest mean log-probability of its tokens.

    Requests with a guide, and those for several texts or for none, are passed on as they are. Raises RequestError where
    the engine returns no log-probabilities.
    """
    if count == 1:
        return generate

    async def best(request: Request) -> Reply:
        if request.guide or request.scored or request.n > 1:
            return await generate(request)
        reply = await generate(replace(request, n=count, logprobs=request.logprobs or 0, until=None))
        if len(reply.logprobs) != count:
            message = f"the engine returned no log-probabilities, so the best of {count} texts is unknown; ask for one"
            raise RequestError(message, reply.usage)
        at = max(range(count), key=lambda i: math.fsum(reply.logprobs[i]) / max(1, len(reply.logprobs[i])))
        return replace(
            reply,
            texts=(reply.texts[at],),
            finish_reasons=(reply.finish_reasons[at],),
            logprobs=(reply.logprobs[at],),
            openings=(),
            tokens=(),
        )

    return best
