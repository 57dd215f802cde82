"""A streamed reply without its reasoning, however it is cut into pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.engines.base import Reply, Request
from imageref_ray.engines.reasoning import NoAnswer, answer
from imageref_ray.engines.reasoning_stream import answers_in_pieces

LONG = "# Boats\n\nThree boats came in, one after the other, and stayed until the evening."


def pieces(texts: Sequence[str], thinking: str = "", reason: str = "stop") -> list[str]:
    async def replies() -> AsyncIterator[Reply]:
        for i, text in enumerate(texts, start=1):
            yield Reply((text,), (reason if i == len(texts) else "",), thinking=thinking if i == 1 else "")

    async def read() -> list[str]:
        return [reply.text async for reply in answers_in_pieces(replies(), Request(()))]

    return asyncio.run(read())


THOUGHTS = [
    "<think>two\n# boats</think>\n",
    "[THINK]two[/THINK]",
    "◁think▷two◁/think▷",
    "",
    "<b>",
    "Here ",
    "Here are my reasoning steps:\ntwo\n[BEGIN FINAL RESPONSE]\n",
    "Here is my thought process: two\nHere is my response:",
    "<analysis>two, which is not much of a thought, but longer than a mark</analysis>",
    "<analysis>two</analysis><think>boats, which is not much of a thought, but longer than a mark</think>",
]


@given(
    st.sampled_from(THOUGHTS),
    st.sampled_from([LONG, "Two boats.", "<answer>Two boats.</answer>", "  Two\n"]),
    st.lists(st.integers(0, 200), max_size=9),
)
def test_the_pieces_are_the_answer_however_they_are_cut(thought: str, told: str, places: list[int]) -> None:
    text = thought + told
    ends = [0, *sorted(place % len(text) for place in places), len(text)]
    given_out = "".join(pieces([text[a:b] for a, b in itertools.pairwise(ends)]))
    assert given_out.strip() == answer(text).strip()


def test_an_answer_is_not_waited_for_longer_than_needed() -> None:
    assert pieces(["Two", " boats", "."]) == ["Two", " boats", "."]
    assert pieces(["<think>", "a", "</think>", LONG, " End."]) == ["", "", "", LONG, " End."]


def test_reasoning_that_the_prompt_began_is_cut_off() -> None:
    assert "".join(pieces(["two ", "boats</think>", LONG], thinking="<think>")) == LONG
    assert "".join(pieces(["Two boats."], thinking="<think>")) == "Two boats.", "the model has not reasoned"
    with pytest.raises(NoAnswer, match="raise max_tokens"):
        pieces(["two ", "boats"], thinking="<think>", reason="length")
