"""Events on their way out: nothing lost, few writes, the first at once, and an error where an answer is cut."""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.engines.base import EngineDied
from imageref_ray.serving.errors import error_event
from imageref_ray.serving.event_stream import joined
from tests.sweeps import sweep


def failed(error: BaseException) -> str:
    return error_event(error, "r")


async def gave(events: AsyncGenerator[str, None], seconds: float) -> list[str]:
    return [text async for text in joined(events, seconds, failed)]


@settings(max_examples=sweep(20))
@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.integers(0, 3)), min_size=1, max_size=20))
def test_every_event_leaves_once_and_in_order(told: list[tuple[str, int]]) -> None:
    async def events() -> AsyncGenerator[str, None]:
        for text, yields in told:
            yield text
            for _ in range(yields):
                await asyncio.sleep(0)

    texts = asyncio.run(gave(events(), 0.001))
    assert "".join(texts) == "".join(text for text, _ in told)
    assert all(texts)


def test_the_first_token_does_not_wait_for_others_and_the_end_waits_for_nobody() -> None:
    go = asyncio.Event()

    async def events() -> AsyncGenerator[str, None]:
        yield "role "
        yield "first "
        await go.wait()
        yield "second "
        yield "end"

    async def read() -> list[str]:
        texts = []
        async for text in joined(events(), 3600, failed):
            texts.append(text)
            go.set()
        return texts

    assert asyncio.run(asyncio.wait_for(read(), 60)) == ["role first ", "second end"]


def test_an_answer_that_is_cut_ends_in_an_error_of_openais_form() -> None:
    async def events() -> AsyncGenerator[str, None]:
        yield "data: {}\n\n"
        raise EngineDied("the vLLM engine died: gone")

    _, last = asyncio.run(gave(events(), 0.001))
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["type"] == "server_error"
    assert (error["code"], error["request_id"]) == ("engine_failed", "r")
    assert "gone" not in error["message"]


def test_an_unexpected_error_ends_the_stream_and_says_nothing_of_the_inside() -> None:
    async def events() -> AsyncGenerator[str, None]:
        yield "data: {}\n\n"
        raise KeyError("/secret/path")

    _, last = asyncio.run(gave(events(), 0.001))
    assert "secret" not in last
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error"


def test_what_fails_before_the_first_event_is_raised_since_the_status_is_not_sent_yet() -> None:
    async def events() -> AsyncGenerator[str, None]:
        raise EngineDied("gone")
        yield ""

    with pytest.raises(EngineDied):
        asyncio.run(gave(events(), 0.001))


def test_a_reader_that_goes_away_ends_what_is_being_written() -> None:
    ended: list[bool] = []

    async def events() -> AsyncGenerator[str, None]:
        try:
            yield "a"
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def read() -> None:
        texts = joined(events(), 0.001, failed)
        await anext(texts)
        await texts.aclose()

    asyncio.run(read())
    assert ended == [True]
