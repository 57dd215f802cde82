"""A guided reply fits its guide whether or not the endpoint knows guides: checked, corrected once, or an error."""

import asyncio
from typing import Any

import pytest

from imageref_ray.core.config import OpenAIConfig
from imageref_ray.core.config.engine import RateLimitConfig
from imageref_ray.engines.base import Guide, Message, Reply, Request, RequestError
from imageref_ray.engines.openai import structured_output
from imageref_ray.engines.openai.engine import OpenAIEngine
from tests.loopback import Loopback, fails, loopback, says

SCHEMA = {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"], "additionalProperties": False}
NUMBER = Request((Message("user", ("Which?",)),), guide=Guide("json", SCHEMA))
LINE = Request((Message("user", ("Where?",)),), guide=Guide("regex", r"(IMAGE_[12]\n|###)?"), prefix="# Boats\n")
WORD = Request((Message("user", ("Really?",)),), guide=Guide("choice", ("yes", "no")))


def ask(server: Loopback, *requests: Request, **config: Any) -> list[Reply]:
    """One after another on one engine."""

    async def in_turn() -> list[Reply]:
        settings = OpenAIConfig(model="m", base_url=server.url, rate_limit=RateLimitConfig(first_wait_s=0.01), **config)
        engine = OpenAIEngine(settings)
        try:
            return [await engine.generate(request) for request in requests]
        finally:
            await engine.close()

    return asyncio.run(in_turn())


def test_a_reply_that_breaks_the_schema_is_corrected_once() -> None:
    with loopback(says('{"k": "one"}'), says('{"k": 1}')) as server:
        (reply,) = ask(server, NUMBER)
    assert reply.text == '{"k": 1}'
    assert (reply.usage.requests, reply.usage.prompt_tokens, reply.usage.generated_tokens) == (2, 14, 4)
    first, second = server.asked
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert second["messages"][:-2] == first["messages"]
    assert second["messages"][-2] == {"role": "assistant", "content": '{"k": "one"}'}
    assert "breaks the schema at $.k: \"'one' is not of type 'integer'\"" in second["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("request_", "bad", "words"),
    [
        (NUMBER, "no idea", "it is no JSON"),
        (NUMBER, '{"k": 1, "l": 2}', "'l' was unexpected"),
        (LINE, "IMAGE_3", "'IMAGE_3' is not what may be written here"),
        (WORD, "perhaps", "'perhaps' is not what may be written here"),
    ],
)
def test_a_reply_that_never_fits_is_the_requests_fault(request_: Request, bad: str, words: str) -> None:
    with loopback(says(bad), says(bad)) as server, pytest.raises(RequestError, match="nor does its correction") as told:
        ask(server, request_)
    assert words in str(told.value)
    assert told.value.usage.requests == len(server.asked) == 2


@pytest.mark.parametrize(
    ("request_", "text", "kept"),
    [
        (NUMBER, 'Sure:\n```json\n{"k": 1}\n```', '{"k": 1}'),
        (NUMBER, 'The number is {"k": 1}. Good?', '{"k": 1}'),
        (LINE, "IMAGE_2", "IMAGE_2\n"),
        (LINE, "", ""),
        (LINE, None, ""),
        (WORD, " yes\n", "yes"),
    ],
)
def test_what_stands_around_a_fitting_reply_is_taken_off(request_: Request, text: str | None, kept: str) -> None:
    with loopback(says(text)) as server:
        assert ask(server, request_)[0].text == kept
    assert len(server.asked) == 1


def test_a_correction_closes_the_open_turn() -> None:
    with loopback(says("IMAGE_3"), says("IMAGE_1")) as server:
        assert ask(server, LINE)[0].text == "IMAGE_1\n"
    first, second = server.asked
    assert first["continue_final_message"] is True
    assert "continue_final_message" not in second
    assert [turn["role"] for turn in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][1]["content"] == "# Boats\nIMAGE_3"


@pytest.mark.parametrize(
    ("request_", "field", "refusal"),
    [
        (NUMBER, "response_format", fails(400, "Invalid schema for response_format 'reply': no prefixItems")),
        (NUMBER, "response_format", fails(422, "json_schema is not supported")),
        (LINE, "structured_outputs", fails(400, "Unrecognized request argument supplied: structured_outputs")),
    ],
)
def test_an_endpoint_without_guides_is_asked_for_none_again(request_: Request, field: str, refusal: Any) -> None:
    text = '{"k": 1}' if field == "response_format" else "IMAGE_1"
    with loopback(otherwise=lambda body: refusal if field in body else says(text)) as server:
        ask(server, request_, request_)
    assert [field in body for body in server.asked] == [True, False, False]


def test_a_refusal_that_only_mentions_a_guide_teaches_nothing() -> None:
    with loopback(fails(400, "response_format: bad"), fails(400, "too long"), says('{"k": 1}')) as server:
        with pytest.raises(RequestError, match="too long"):
            ask(server, NUMBER)
        ask(server, NUMBER)
    assert "response_format" in server.asked[2]


def test_a_field_that_the_user_set_is_never_dropped() -> None:
    wanted = {"type": "json_object"}
    free = Request((Message("user", ("Which?",)),))
    with loopback(fails(400, "no response_format here")) as server, pytest.raises(RequestError):
        ask(server, free, args={"response_format": wanted})
    assert [body["response_format"] for body in server.asked] == [wanted]


@pytest.mark.parametrize("request_", [NUMBER, WORD])
def test_guides_can_be_checked_only(request_: Request) -> None:
    with loopback(says('{"k": 1}' if request_ is NUMBER else "no")) as server:
        ask(server, request_, guides="validate")
    assert server.asked[0].keys().isdisjoint({"response_format", "structured_outputs"})


def test_a_reply_that_was_cut_off_is_left_to_the_stage() -> None:
    with loopback(says('{"k": ', reason="length")) as server:
        (reply,) = ask(server, NUMBER)
    assert (reply.text, reply.finish_reasons) == ('{"k": ', ("length",))


def test_only_the_answers_that_do_not_fit_are_corrected() -> None:
    two = Request(WORD.messages, guide=WORD.guide, n=3)
    with loopback(says("yes", "maybe", "no "), says("no")) as server:
        (reply,) = ask(server, two)
    assert reply.texts == ("yes", "no", "no")
    assert (reply.usage.requests, [body["n"] for body in server.asked]) == (2, [3, 1])


@pytest.mark.parametrize("guide", [Guide("regex", "(IMAGE"), Guide("json", {"type": "boat"})])
def test_a_broken_guide_costs_no_call(guide: Guide) -> None:
    with loopback() as server, pytest.raises(RequestError, match=f"the {guide.kind} guide is invalid"):
        ask(server, Request(WORD.messages, guide=guide))
    assert not server.asked


def test_a_correction_repeats_a_short_guide_and_leaves_out_a_long_one() -> None:
    misfit = structured_output.Misfit("'x' is wrong")
    short = structured_output.correction(WORD, "x", misfit).messages[-1].parts[0]
    assert short == (
        "Your last reply cannot be used: 'x' is wrong.\nThe reply is exactly one of these lines:\nyes\nno\n"
        "Write the whole reply again so that it fits. Write nothing before it and nothing after it."
    )
    many = Request(WORD.messages, guide=Guide("choice", tuple(map(str, range(3000)))))
    assert len(str(structured_output.correction(many, "x", misfit).messages[-1].parts[0])) < 200


@pytest.mark.parametrize(
    ("request_", "text", "kept"),
    [
        (NUMBER, "<think>{\"k\": 7}? no</think>\n{'k': 1,}", '{"k": 1}'),
        (NUMBER, "so {</think>```json\n{k: 1} // one\n```", '{"k": 1}'),
        (LINE, "<think>the second</think>\n\nIMAGE_2", "IMAGE_2\n"),
        (WORD, "<think>no, wait</think>yes", "yes"),
    ],
)
def test_a_guided_reply_is_what_comes_after_the_reasoning(request_: Request, text: str, kept: str) -> None:
    with loopback(says(text)) as server:
        assert ask(server, request_)[0].text == kept
    assert len(server.asked) == 1
