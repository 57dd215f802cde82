"""An endpoint is asked patiently; what goes wrong is the request's fault or the endpoint's, and says so."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import engines
from imageref_ray.config import ConfigError, EngineConfig
from imageref_ray.engines.base import EngineError, Guide, Message, Reply, Request, RequestError, Sampling
from imageref_ray.engines.openai import HARMLESS, OpenAIEngine
from imageref_ray.engines.pace import Pace
from imageref_ray.records import Image
from tests.loopback import HTML, NOTHING, Loopback, Step, fails, loopback, says

QUICK = Pace(first_wait_s=0.01, longest_wait_s=0.02, window_s=0.01)
WHAT = Request((Message("user", ("What?",)),))
POISON = Request((Message("user", ("poison",)),))
USELESS = {
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


def engine(url: str, **config: Any) -> OpenAIEngine:
    return OpenAIEngine(EngineConfig(kind="openai", model="m", base_url=url, **config), QUICK)


def ask(server: Loopback | str, *requests: Request, **config: Any) -> list[Reply]:
    """All at once; the first error is raised when all have ended."""

    async def together() -> list[Any]:
        asked = engine(server if isinstance(server, str) else server.url, **config)
        found = await asyncio.gather(*map(asked.generate, requests), return_exceptions=True)
        await asked.close()
        return found

    found = asyncio.run(together())
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


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
    with loopback(fails(status, "too many pictures")) as server, pytest.raises(RequestError, match="too many pictures"):
        ask(server, WHAT)
    assert len(server.asked) == 1


@pytest.mark.parametrize("step", [fails(401), fails(403), fails(404), fails(402), fails(429, "insufficient_quota")])
def test_an_endpoint_that_does_not_serve_us_ends_the_run_at_once(step: Step) -> None:
    with loopback(step) as server, pytest.raises(EngineError, match="does not serve us"):
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
    while not server.asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await asyncio.gather(first, asked.generate(WHAT))
    await asked.close()


def test_a_wait_that_is_too_long_ends_the_run_and_says_for_how_long() -> None:
    with loopback(fails(429, retry_after="3600")) as server, pytest.raises(EngineError, match="for 3600 s, longer"):
        ask(server, WHAT)
    assert len(server.asked) == 1


@pytest.mark.parametrize("kind", USELESS)
def test_a_useless_answer_is_asked_for_again(kind: str) -> None:
    with loopback(USELESS[kind], says("a boat")) as server:
        assert ask(server, WHAT)[0].text == "a boat"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("half a body", "connection failed: peer closed connection"),
        ("nothing", "connection failed: Server disconnected"),
        ("HTML", "no JSON: Please sign in"),
        ("an error", "200 with an error: upstream is gone"),
        ("no choices", "choices: List should have at least 1 item"),
        ("no text", "holds no text"),
    ],
)
def test_a_request_that_never_gets_a_useful_answer_fails_alone_with_the_true_reason(kind: str, words: str) -> None:
    with loopback(otherwise=poisoned(USELESS[kind])) as server:
        with pytest.raises(RequestError, match=words):
            ask(server, POISON, patience_s=0.05)
        assert server.asked[-1]["messages"][0]["content"] == HARMLESS.messages[0].parts[0]


def test_a_bad_request_is_given_up_as_soon_as_others_are_answered() -> None:
    async def scenario(server: Loopback) -> None:
        asked = engine(server.url)
        bad = asyncio.create_task(asked.generate(POISON))
        while len(server.asked) < QUICK.attempts + 1:
            await asyncio.sleep(0.01)
        assert not bad.done(), "nobody was answered yet: it may be the endpoint's fault"
        await asked.generate(WHAT)
        with pytest.raises(RequestError, match=r"500: boom \(in \d+ attempts\)"):
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
        with pytest.raises(EngineError, match="answers nobody any more"):
            await first
        await asked.close()

    with loopback(otherwise=dying) as server:
        asyncio.run(scenario(server))


def test_a_request_that_an_endpoint_never_has_room_for_is_given_up_late() -> None:
    async def scenario(server: Loopback) -> None:
        asked = engine(server.url)
        bad = asyncio.create_task(asked.generate(POISON))
        while not server.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await asked.generate(WHAT)
        with pytest.raises(RequestError, match="429: tokens per minute"):
            await bad
        await asked.close()

    with loopback(otherwise=poisoned(fails(429, "tokens per minute"))) as server:
        asyncio.run(scenario(server))
    assert len(server.asked) > QUICK.busy_attempts > QUICK.attempts


def test_a_dead_endpoint_ends_the_run_with_what_was_seen() -> None:
    with (
        loopback(otherwise=lambda body: fails(503, "restarting")) as server,
        pytest.raises(EngineError, match=r"\d+ failures and no answer in \d+ s \(\d+ x 503; the last: .*restarting"),
    ):
        ask(server, WHAT, WHAT, WHAT, patience_s=0.2)


def test_an_address_where_nobody_listens_ends_the_run() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(EngineError, match=r"\d+ x connection; the last: the connection failed: .+"):
        ask(url, WHAT, patience_s=0.1)


def test_an_endpoint_that_refuses_everything_ends_the_run_without_waiting() -> None:
    requests = [WHAT] * QUICK.failures
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
        ask_in_turn(server, [POISON] * (2 * QUICK.failures))
    assert len(server.asked) == 2 * QUICK.failures + 2


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


def test_failed_attempts_that_were_answered_are_counted() -> None:
    with loopback(says(None), fails(500), says("a boat")) as server:
        (reply,) = ask(server, WHAT)
    assert (reply.usage.requests, reply.usage.prompt_tokens, reply.usage.generated_tokens) == (2, 14, 4)


def test_an_error_tells_what_its_attempts_cost() -> None:
    refusal = b'{"choices": [{"message": {"content": null, "refusal": "I will not"}}], "usage": {"prompt_tokens": 7}}'
    with loopback(Step(refusal)) as server, pytest.raises(RequestError, match="I will not") as declined:
        ask(server, WHAT)
    assert (declined.value.usage.requests, declined.value.usage.prompt_tokens) == (1, 7)


def test_an_endpoint_without_token_counts_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with loopback(says("a", usage=False), says("b", usage=False)) as server:
        replies = ask(server, WHAT, WHAT)
    assert [reply.usage.requests for reply in replies] == [1, 1]
    assert [record.message.partition(" ")[2] for record in caplog.records if "token counts" in record.message] == [
        "tells no token counts; they stand as 0 in this run's usage"
    ]


def test_a_reply_that_ends_in_thinking_is_cut_off_and_not_missing() -> None:
    with loopback(says(None, reason="length")) as server:
        (reply,) = ask(server, WHAT)
    assert (reply.text, reply.finish_reasons) == ("", ("length",))


def test_fewer_answers_than_asked_for_are_an_error() -> None:
    with loopback(says("one")) as server, pytest.raises(RequestError, match="2 answers asked for, 1 given"):
        ask(server, Request(WHAT.messages, n=2))


def test_a_prompt_that_is_too_long_fails_with_its_numbers() -> None:
    told = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    with loopback(fails(400, told)) as server, pytest.raises(RequestError, match=r"prompt is too long.*8192.*9000"):
        ask(server, WHAT)


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    with loopback(otherwise=lambda body: says("ok", delay_s=0.02)) as server:
        ask(server, *[WHAT] * 20, concurrency=3)
    assert server.busiest == 3


def test_the_new_name_of_the_token_limit_is_learned_once() -> None:
    told = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    with loopback(otherwise=lambda body: fails(400, told) if "max_tokens" in body else says("ok")) as server:
        ask(server, WHAT, WHAT, concurrency=1)
    assert [body.get("max_completion_tokens") for body in server.asked] == [None, 1024, 1024]


def test_settings_headers_and_the_key_reach_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "abc\n")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "boats")
    monkeypatch.setenv("SECRET", "xyz")
    args = {"top_k": 5, "temperature": None, "extra_body": {"min_p": 0.1}}
    headers = {"OpenAI-Organization": "harbour", "api-key": "$SECRET"}
    with loopback() as server:
        ask(server, WHAT, api_key_env="SOME_KEY", args=args, headers=headers)
    (body,), (sent,) = server.asked, server.headers
    assert (body["top_k"], body["min_p"], body["max_tokens"]) == (5, 0.1, 1024)
    assert "temperature" not in body
    assert "extra_body" not in body
    assert (sent["authorization"], sent["api-key"]) == ("Bearer abc", "xyz")
    assert (sent["openai-organization"], sent["openai-project"]) == ("harbour", "boats")


def test_pictures_guides_and_an_open_turn_reach_the_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    PIL.Image.new("RGB", (4, 4)).save(path)
    message = Message("user", ("Look: ", Image("d/0.png", str(path)), "\nWhere?"))
    request = Request((message,), Sampling(max_tokens=5, stop=("\n",), seed=3), Guide("regex", "IMAGE_[12]"), "Here: ")
    with loopback(says("IMAGE_1")) as server:
        ask(server, request)
    (sent,) = server.asked
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["text", "image_url", "text"]
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert sent["messages"][1] == {"role": "assistant", "content": "Here: "}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert sent["structured_outputs"] == {"regex": "IMAGE_[12]"}
    assert (sent["max_tokens"], sent["stop"], sent["seed"]) == (5, ["\n"], 3)


def test_log_probabilities_come_back() -> None:
    body = json.loads(says("yes").body)
    body["choices"][0]["logprobs"] = {"content": [{"token": "yes", "logprob": -0.25, "top_logprobs": []}]}
    with loopback(Step(json.dumps(body).encode())) as server:
        (reply,) = ask(server, Request(WHAT.messages, logprobs=2))
    assert reply.logprobs == ((-0.25,),)
    assert (server.asked[0]["logprobs"], server.asked[0]["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"base_url": "localhost:8000/v1"}, "expected an address like http"),
        ({"base_url": "http://here/v1/chat/completions"}, "give the part before"),
        ({"args": {"stream": True}}, "engine.args sets stream"),
        ({"args": {"extra_body": {"n": 2}}}, "engine.args sets n"),
        ({"args": {"extra_body": "top_k"}}, "expected `field: value` lines"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_a_run(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        engines.check(EngineConfig(kind="openai", model="m", **config))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"base_url": None}, "no API key: set NO_SUCH_KEY"),
        ({"headers": {"api-key": "$NO_SUCH_SECRET"}}, "engine.headers.api-key is .NO_SUCH_SECRET, which is not set"),
        ({"headers": {"x": "boat\nname: y"}}, "engine.headers.x holds characters"),
    ],
)
def test_what_the_environment_lacks_is_named(config: dict[str, Any], words: str) -> None:
    given = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": "NO_SUCH_KEY", **config}
    with pytest.raises(ConfigError, match=words):
        engines.make(EngineConfig(kind="openai", model="m", **given))
