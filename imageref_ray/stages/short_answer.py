"""Annotated question about an image → the model's short answer, or how likely each of its choices is.

question ─short, turn─▶ messages ─┬▶ greedy reply                   ─▶ answer
                                  └▶ every choice in turn as prefix ─▶ its tokens' log-probabilities
"""

from __future__ import annotations

from imageref_ray.core.records import VisualQuestion
from imageref_ray.engines.base import Generate, Message, Reply, Request, Sampling
from imageref_ray.stages.ask import every
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import InstructPack

Likelihoods = tuple[tuple[float, ...], ...]
"""`[i][t]`: the log-probability (natural) of token t of choice i."""


async def answer(question: VisualQuestion, generate: Generate, pack: InstructPack, max_tokens: int) -> Reply:
    """The greedy answer, in at most `max_tokens` tokens, to the question worded for a short answer."""
    return await generate(Request(_asked(question, pack), Sampling(max_tokens=max_tokens)))


async def likelihoods(question: VisualQuestion, generate: Generate, pack: InstructPack) -> Likelihoods:
    """Every choice scored as the whole answer to the same prompt as in `answer`, without showing the others.

    Raises ValueError where the engine returns no log-probabilities.
    """
    messages = _asked(question, pack)
    requests = [Request(messages, prefix=choice, scored=True) for choice in question.choices]
    replies = await every(generate, requests)
    for choice, reply in zip(question.choices, replies, strict=True):
        if not (reply.logprobs and reply.logprobs[0]):
            raise ValueError(f"the engine returned no log-probabilities of the choice {choice!r}; use one that scores")
    return tuple(reply.logprobs[0] for reply in replies)


def _asked(question: VisualQuestion, pack: InstructPack) -> tuple[Message, ...]:
    return instruct.turn(pack, question.image, instruct.short(pack, question.question))
