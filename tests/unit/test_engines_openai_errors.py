"""An endpoint is asked patiently; what goes wrong is the request's fault or the endpoint's, and says so."""

import asyncio
import math
from typing import Any

import pytest

from imageref_ray.engines.base import EngineError, Message, Reply, Request, RequestError
from imageref_ray.engines.openai.engine import HARMLESS
from imageref_ray.engines.openai.verdict import Limits
from tests.loopback import HTML, NOTHING, Loopback, Step, deaf_port, fails, loopback, says
from tests.openai_engine import WHAT, ask, engine

POISON = Request((Message("user", ("poison",)),))
UNUSABLE = {
    "half a body": Step(says("a boat").body, sent=60),
    "nothing": NOTHING,
    "half a JSON": Step(says("a boat").body[:60]),
    "HTML": HTML,
    "a list": Step(b"[]"),
    "an error": Step(b'{"error": {"message": "upstream is gone"}}'),
    "no choices": Step(b'{"choices": [], "usage": {"prompt_tokens": 7}}'),
    "no message": Step(b'{"choices": [{}]}'),
    "no text": says(None),
}


def poisoned(step: Step) -> Any:
    """Answers everything but POISON, which gets `step`."""
    return lambda body: step if body["messages"][0]["content"] == "poison" else says("ok")


@pytest.mark.parametrize("status", [408, 429, 500, 503, 529])
def test_an_endpoint_that_fails_for_a_while_is_asked_again(status: int) -> None:
    with loopback(fails(status), fails(status), says("a boat")) as server:
        (reply,) = ask(server, WHAT)
    assert (reply.text, reply.usage.prompt_tokens, reply.usage.generated_tokens) == ("a boat", 7, 2)
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_its_own_fault(status: int) -> None:
    with loopback(fails(status, "too many images")) as server, pytest.raises(RequestError, match="too many images"):
        ask(server, WHAT)
    assert len(server.asked) == 1


@pytest.mark.parametrize("step", [fails(401), fails(403), fails(404), fails(402), fails(429, "insufficient_quota")])
def test_an_endpoint_that_does_not_accept_our_requests_ends_the_run_at_once(step: Step) -> None:
    with loopback(step) as server, pytest.raises(EngineError, match="does not accept our requests"):
        ask(server, WHAT)
    assert len(server.asked) == 1


def test_retry_after_holds_back_everybody() -> None:
    with loopback(fails(429, retry_after="0.3")) as server:
        asyncio.run(_one_after_another(server))
    assert server.times[1] - server.times[0] >= 0.3
    assert len(server.asked) == 3


async def _one_after_another(server: Loopback) -> None:
    asked = engine(server.url)
    first = asyncio.create_task(asked.generate(WHAT))
    while asked._gate._opens_at == -math.inf:  # until the first was told to wait
        await asyncio.sleep(0.001)
    await asyncio.gather(first, asked.generate(WHAT))
    await asked.close()


def test_a_wait_that_is_too_long_ends_the_run_and_says_for_how_long() -> None:
    with (
        loopback(fails(429, retry_after="3600")) as server,
        pytest.raises(EngineError, match="asks to wait 3600 s, longer"),
    ):
        ask(server, WHAT)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_answer_is_asked_for_again(kind: str) -> None:
    with loopback(UNUSABLE[kind], says("a boat")) as server:
        assert ask(server, WHAT)[0].text == "a boat"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("half a body", "connection failed: peer closed connection"),
        ("nothing", "connection failed: Server disconnected"),
        ("HTML", "not JSON: Please sign in"),
        ("an error", "200 with an error: upstream is gone"),
        ("no choices", "choices: List should have at least 1 item"),
        ("no text", "has no text"),
    ],
)
def test_a_request_that_never_gets_a_useful_answer_fails_alone_with_the_true_reason(kind: str, words: str) -> None:
    with loopback(otherwise=poisoned(UNUSABLE[kind])) as server:
        with pytest.raises(RequestError, match=words):
            ask(server, POISON, patience_s=0.05)
        assert server.asked[-1]["messages"][0]["content"] == HARMLESS.messages[0].parts[0]


def test_a_bad_request_is_given_up_as_soon_as_others_are_answered() -> None:
    async def scenario(server: Loopback) -> None:
        asked = engine(server.url)
        bad = asyncio.create_task(asked.generate(POISON))
        while len(server.asked) < Limits().tries + 1:
            await asyncio.sleep(0.01)
        assert not bad.done(), "nobody was answered yet: it may be the endpoint's fault"
        await asked.generate(WHAT)
        with pytest.raises(RequestError, match=r"500: boom \(in \d+ tries\)"):
            await bad
        await asked.close()

    with loopback(otherwise=poisoned(fails(500, "boom"))) as server:
        asyncio.run(scenario(server))


def test_a_request_that_failed_while_the_endpoint_died_is_not_to_blame() -> None:
    answered: list[Step] = []

    def dying(body: dict[str, Any]) -> Step:
        if body["messages"][0]["content"] == "What?" and not answered:
            answered.append(says("ok"))
            return answered[0]
        return fails(500, "gone")

    async def scenario(server: Loopback) -> None:
        asked = engine(server.url, patience_s=1)
        first = asyncio.create_task(asked.generate(POISON))
        while len(server.asked) < 2:
            await asyncio.sleep(0.001)
        await asked.generate(WHAT)
        with pytest.raises(EngineError, match="answers no requests"):
            await first
        await asked.close()

    with loopback(otherwise=dying) as server:
        asyncio.run(scenario(server))


def test_a_request_that_an_endpoint_never_has_room_for_is_given_up_late() -> None:
    async def scenario(server: Loopback) -> None:
        asked = engine(server.url)
        bad = asyncio.create_task(asked.generate(POISON))
        while not asked._circuit._counts:  # until the first has failed once
            await asyncio.sleep(0.001)
        await asked.generate(WHAT)
        with pytest.raises(RequestError, match="429: tokens per minute"):
            await bad
        await asked.close()

    with loopback(otherwise=poisoned(fails(429, "tokens per minute"))) as server:
        asyncio.run(scenario(server))
    assert len(server.asked) > Limits().busy_tries > Limits().tries


def test_a_dead_endpoint_ends_the_run_with_what_was_seen() -> None:
    with (
        loopback(otherwise=lambda body: fails(503, "restarting")) as server,
        pytest.raises(EngineError, match=r"\d+ failures and no answer in \d+ s \(\d+ x 503; the last: .*restarting"),
    ):
        ask(server, WHAT, WHAT, WHAT, patience_s=0.2)


def test_an_address_where_nobody_listens_ends_the_run() -> None:
    told = r"\d+ x connection; the last: the connection failed: .+"
    with deaf_port() as port, pytest.raises(EngineError, match=told):
        ask(f"http://127.0.0.1:{port}/v1", WHAT, patience_s=0.1)


def test_an_endpoint_that_refuses_everything_ends_the_run_without_waiting() -> None:
    requests = [WHAT] * Limits().failures
    answers = loopback(otherwise=lambda body: fails(400, "unknown field top_k"))
    with answers as server, pytest.raises(EngineError, match="unknown field top_k"):
        ask_in_turn(server, requests)
    assert len(server.asked) == len(requests) + 1


def ask_in_turn(server: Loopback, requests: list[Request]) -> None:
    """One after another, as records come: a refused one is let go."""

    async def in_turn() -> None:
        asked = engine(server.url)
        try:
            for request in requests:
                try:
                    await asked.generate(request)
                except RequestError:
                    continue
        finally:
            await asked.close()

    asyncio.run(in_turn())


def test_many_bad_requests_do_not_end_a_run() -> None:
    with loopback(otherwise=poisoned(fails(400, "refused"))) as server:
        ask_in_turn(server, [POISON] * (2 * Limits().failures))
    assert len(server.asked) == 2 * Limits().failures + 2


def test_an_endpoint_that_comes_back_is_asked_again() -> None:
    async def scenario(server: Loopback) -> Reply:
        asked = engine(server.url, patience_s=0.05)
        with pytest.raises(EngineError):
            await asked.generate(WHAT)
        answers.append(says("back"))
        reply = await asked.generate(WHAT)
        await asked.close()
        return reply

    answers = [fails(500)]
    with loopback(otherwise=lambda body: answers[-1]) as server:
        assert asyncio.run(scenario(server)).text == "back"


def test_a_403_for_one_request_is_its_own_fault_where_others_are_answered() -> None:
    async def scenario(server: Loopback) -> None:
        asked = engine(server.url)
        await asked.generate(WHAT)
        with pytest.raises(RequestError, match="403: flagged"):
            await asked.generate(POISON)
        await asked.close()

    with loopback(otherwise=poisoned(fails(403, "flagged"))) as server:
        asyncio.run(scenario(server))
    assert len(server.asked) == 3


@pytest.mark.parametrize("slow", [says("late", delay_s=2), says("late", drip_s=0.1)])
def test_a_call_has_a_time_out_as_a_whole(slow: Step) -> None:
    with loopback(slow, otherwise=lambda body: says("in time")) as server:
        assert ask(server, WHAT, timeout_s=0.4)[0].text == "in time"
    assert len(server.asked) > 1


def test_failed_tries_that_were_answered_are_counted() -> None:
    with loopback(says(None), fails(500), says("a boat")) as server:
        (reply,) = ask(server, WHAT)
    assert (reply.usage.requests, reply.usage.prompt_tokens, reply.usage.generated_tokens) == (2, 14, 4)


def test_an_error_holds_what_its_tries_cost() -> None:
    refusal = b'{"choices": [{"message": {"content": null, "refusal": "I will not"}}], "usage": {"prompt_tokens": 7}}'
    with loopback(Step(refusal)) as server, pytest.raises(RequestError, match="I will not") as declined:
        ask(server, WHAT)
    assert (declined.value.usage.requests, declined.value.usage.prompt_tokens) == (1, 7)
