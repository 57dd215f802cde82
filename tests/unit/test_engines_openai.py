"""What is asked reaches the endpoint as it wants it, its answers come back whole, bad settings are refused early."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import engines
from imageref_ray.core.config import ConfigError, OpenAIConfig
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Guide, Message, Request, RequestError, Sampling, UnsupportedError
from imageref_ray.engines.openai import protocol
from tests.loopback import Step, fails, loopback, says
from tests.openai_engine import WHAT, ask


def test_an_endpoint_without_token_counts_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with loopback(says("a", usage=False), says("b", usage=False)) as server:
        replies = ask(server, WHAT, WHAT)
    assert [reply.usage.requests for reply in replies] == [1, 1]
    assert [record.message.partition(" ")[2] for record in caplog.records if "token counts" in record.message] == [
        "returns no token counts; this run's usage shows 0"
    ]


def test_a_reply_that_ends_in_thinking_is_cut_off_and_not_missing() -> None:
    with loopback(says(None, reason="length")) as server:
        (reply,) = ask(server, WHAT)
    assert (reply.text, reply.finish_reasons) == ("", ("length",))


def test_fewer_answers_than_asked_for_are_an_error() -> None:
    with loopback(says("one")) as server, pytest.raises(RequestError, match="2 answers requested, 1 returned"):
        ask(server, Request(WHAT.messages, n=2))


def test_a_prompt_that_is_too_long_fails_with_its_numbers() -> None:
    message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    with loopback(fails(400, message)) as server, pytest.raises(RequestError, match=r"prompt is too long.*8192.*9000"):
        ask(server, WHAT)


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    with loopback(otherwise=lambda body: says("ok", delay_s=0.02, together=3)) as server:
        ask(server, *[WHAT] * 20, concurrency=3)
    assert server.busiest == 3


def test_the_new_name_of_the_token_limit_is_learned_once() -> None:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    with loopback(otherwise=lambda body: fails(400, message) if "max_tokens" in body else says("ok")) as server:
        ask(server, WHAT, WHAT, concurrency=1)
    assert [body.get("max_completion_tokens") for body in server.asked] == [None, 1024, 1024]


BEGUN = Request(WHAT.messages, prefix="It is")


def test_a_refused_continuation_is_asked_for_once() -> None:
    refusal = fails(400, "Unrecognized request argument supplied: continue_final_message")
    refused = pytest.raises(UnsupportedError, match=r"cannot continue an answer that has begun: .*Unrecognized")
    with loopback(refusal) as server, refused:
        ask(server, BEGUN, BEGUN, WHAT, concurrency=1)
    assert ["continue_final_message" in body for body in server.asked] == [True, False]


def test_an_endpoint_that_is_said_to_begin_anew_is_not_asked_to_continue() -> None:
    with loopback() as server, pytest.raises(UnsupportedError):
        ask(server, BEGUN, prefill="never")
    assert server.asked == []


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


def test_images_guides_and_an_open_turn_reach_the_endpoint(tmp_path: Path) -> None:
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
        engines.check(OpenAIConfig(model="m", **config))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"base_url": None}, "no API key: set NO_SUCH_KEY"),
        ({"headers": {"api-key": "$NO_SUCH_SECRET"}}, "engine.headers.api-key is .NO_SUCH_SECRET, which is not set"),
        ({"headers": {"x": "boat\nname: y"}}, "engine.headers.x contains characters"),
    ],
)
def test_what_the_environment_lacks_is_named(config: dict[str, Any], words: str) -> None:
    given = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": "NO_SUCH_KEY", **config}
    with pytest.raises(ConfigError, match=words):
        engines.make(OpenAIConfig(model="m", **given))


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", [None, "", []])
def test_reasoning_that_the_endpoint_took_out_is_not_lost_where_nothing_follows_it(name: str, content: Any) -> None:
    def body(**message: Any) -> str:
        usage: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 12}
        usage |= {"prompt_tokens_details": {"image_tokens": 0}}
        return json.dumps({"choices": [{"finish_reason": "length", "message": message}], "usage": usage})

    request = Request((Message("user", ("Hi",)),))
    reply = protocol.read(body(content=content, **{name: "I wonder"}), request)
    assert (reply.text, reply.finish_reasons, reply.images_counted) == ("<think>I wonder", ("length",), True)
    assert reply.usage.generated_tokens == 5  # the total counts what the completion does not
    assert protocol.read(body(content="A boat \ud83d.", **{name: "I wonder"}), request).text == "A boat \ufffd."
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "I wonder"}]}
    assert protocol.read(body(content=[part]), request).text.startswith("<think>")
    assert protocol.read(body(content=[part, {"type": "text", "text": "A boat."}]), request).text == "A boat."
