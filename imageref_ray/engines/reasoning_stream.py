"""A model's reply in pieces → its answer in pieces: what it thinks before it answers is cut off (`reasoning.py`)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator

from imageref_ray.engines.base import Reply, Request
from imageref_ray.engines.reasoning import ANSWER, LEADS, MARK, answer, no_answer

_BEGINS = re.compile(rf"{MARK.pattern}|{LEADS}|<\|(?:channel|start)\|>|analysis", MARK.flags)
_MAY_BEGIN = re.compile(r"[<\[◁]|an?a?l?y?s?i?s?\Z|He?r?e?\Z|Here", re.IGNORECASE)
_LONGEST_MARK = 40
"""Characters after which it is known whether a mark begins, or what a family writes around its answer."""


async def answers_in_pieces(replies: AsyncIterator[Reply], request: Request) -> AsyncGenerator[Reply, None]:
    """The replies of one text without its reasoning; where there is none they are passed on as they come.

    Reasoning is looked for at the beginning only: what was given cannot be taken back. Raises NoAnswer as `answers`.
    """
    mark, written, begun, last = "", "", False, None
    async for reply in replies:
        if not begun:
            mark, written, last = mark or reply.thinking, written + reply.text, reply
            text = _released(mark + written)
            begun = text != ""
            reply = dataclasses.replace(reply, texts=(text,))
        yield reply
    if not begun and last is not None:
        text = answer(written if last.finish_reasons[0] != "length" else mark + written)
        if written.strip() and not text.strip():
            raise no_answer(dataclasses.replace(last, texts=(written,)), request)
        yield dataclasses.replace(last, texts=(text,))


def _released(held: str) -> str:
    """What is known to be the answer's beginning; empty while it is not known."""
    seen = held.lstrip()
    if not _BEGINS.match(seen):
        waits = len(seen) < _LONGEST_MARK and _MAY_BEGIN.match(seen)
        return held if seen and not waits else ""
    text = answer(held)
    if text == held or len(text) < _LONGEST_MARK or ANSWER.search(held):
        return ""
    return text + held[len(held.rstrip()) :]
