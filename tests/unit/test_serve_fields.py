"""Every field of a chat request is honoured, or refused by its name: nothing is left out silently."""

import time
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from imageref_ray.core.config import OpenAIConfig
from imageref_ray.engines.base import Guide, Message, Reply, Request, Sampling
from imageref_ray.engines.openai import protocol
from imageref_ray.serving import guides
from imageref_ray.serving.chat_body import IGNORED, ChatBody
from imageref_ray.serving.chat_body import OPTIONS as FIELDS
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.guides import written_out
from tests.endpoint import Scripted, ask, chat, chunks, endpoint
from tests.sweeps import sweep

APP = endpoint()

HONOURED: dict[str, Any] = {
    "presence_penalty": 0.5,
    "frequency_penalty": -2,
    "repetition_penalty": 1.3,
    "top_k": 5,
    "min_p": 0.1,
    "logit_bias": {"7": -100},
    "stop_token_ids": [3],
    "allowed_token_ids": [4, 5],
    "bad_words": ["ship"],
    "ignore_eos": True,
    "include_stop_str_in_output": True,
    "skip_special_tokens": False,
}


def refusal(answered: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error object of a refusal, which must be whole."""
    assert answered.status_code == status, answered.text
    error: dict[str, Any] = answered.json()["error"]
    assert error.keys() == {"message", "type", "param", "code", "request_id"}
    assert error["request_id"] == answered.headers["x-request-id"]
    return error


def test_sampling_parameters_reach_the_engine() -> None:
    assert HONOURED.keys() == FIELDS.keys()
    engine = Scripted()
    answered = chat(endpoint(engine), **HONOURED, min_tokens=2, seed=1, temperature=0.5, stop=["x"], n=2)
    assert answered.status_code == 200
    (request,) = engine.requests
    given = request.sampling
    assert given.options == HONOURED
    assert (given.min_tokens, given.seed, given.temperature, given.stop, request.n) == (2, 1, 0.5, ("x",), 2)


def test_a_parameter_that_the_engine_has_not_is_refused_unless_it_changes_nothing() -> None:
    class Plain:
        async def generate(self, request: Request) -> Reply:
            assert request.sampling.options == {}
            return Reply(("yes",))

    app = endpoint(Plain())
    for name, value in {**HONOURED, "logprobs": True}.items():
        assert refusal(chat(app, **{name: value}))["param"] == name
    neutral = {name: value for name, value in FIELDS.items() if value is not None}
    assert chat(app, **neutral, logprobs=False).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tempratur": 1}, "tempratur"),
        ({"tempratur": None}, "tempratur"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"use_beam_search": 0}, "use_beam_search"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 512}, "max_tokens"),
        ({"max_tokens": 2**70}, "max_tokens"),
        ({"max_completion_tokens": 9000}, "max_completion_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"n": 17}, "n"),
        ({"top_k": -2}, "top_k"),
        ({"logit_bias": {"boat": 1}}, "logit_bias.boat"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
        ({"structured_outputs": {"choice": 5}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"grammar": "root ::= x"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"regex": None}}, "structured_outputs"),
        ({"response_format": {"type": "json_schema", "json_schema": "x"}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}}, "response_format.json_schema.schema"),  # noqa: E501
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refusal(chat(APP, **fields))
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param.split(".")[-1].split("[")[0] in error["message"]


def test_fields_about_the_caller_and_those_that_ask_for_nothing_are_accepted() -> None:
    fields: dict[str, Any] = dict.fromkeys(IGNORED, "any")
    assert chat(APP, **fields, tools=[], tool_choice="none", modalities=["text"], reasoning_effort=None).is_success


def test_lengths_are_compared_with_the_context_in_numbers() -> None:
    error = refusal(chat(APP, max_tokens=600))
    assert (error["code"], "600" in error["message"], "512" in error["message"]) == (
        "context_length_exceeded",
        True,
        True,
    )
    engine = Scripted()
    assert chat(endpoint(engine), max_tokens=511).is_success and chat(endpoint(engine)).is_success
    assert [request.must_fit for request in engine.requests] == [True, False]


def test_logprobs_have_openais_form_in_answer_and_stream() -> None:
    engine = Scripted(lambda request: "Grüße an")
    whole = chat(endpoint(engine), logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert whole[0] == {
        "token": "Grüße",
        "logprob": -0.5,
        "bytes": [71, 114, 195, 188, 195, 159, 101],
        "top_logprobs": [
            {"token": "Grüße0", "logprob": -0.5, "bytes": list("Grüße0".encode())},
            {"token": "Grüße1", "logprob": -1.5, "bytes": list("Grüße1".encode())},
        ],
    }
    streamed = chunks(chat(endpoint(engine), logprobs=True, top_logprobs=2, stream=True))
    pieces = [choice["logprobs"] for chunk in streamed for choice in chunk["choices"] if choice["logprobs"]]
    assert [token for piece in pieces for token in piece["content"]] == whole
    assert chat(endpoint(engine)).json()["choices"][0]["logprobs"] is None
    bare = chat(endpoint(engine), logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in bare] == [[], []]


def test_the_projects_own_client_reads_them() -> None:
    config = OpenAIConfig(model="imageref", base_url="http://endpoint/v1")
    request = Request((Message("user", ("Hi",)),), Sampling(max_tokens=5), logprobs=1, n=2)
    body = protocol.body(request, [{"role": "user", "content": "Hi"}], config, frozenset())
    answered = ask(APP, "POST", "/v1/chat/completions", json=body)
    reply = protocol.read(answered.text, request)
    assert reply.logprobs == ((-0.5, -0.5, -0.5),) * 2
    assert reply.openings[0] == {"two0": -0.5, "two": -0.5}


def test_several_choices_are_streamed_side_by_side() -> None:
    streamed = chunks(chat(APP, n=3, stream=True, stream_options={"include_usage": True}))
    texts = ["", "", ""]
    ends = [""] * 3
    for chunk in streamed:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
            ends[choice["index"]] = choice["finish_reason"] or ends[choice["index"]]
    assert (texts, ends) == (["two red boats"] * 3, ["stop"] * 3)
    assert streamed[-1]["usage"]["completion_tokens"] == 9


def test_an_answer_that_broke_off_is_an_error_and_not_an_answer() -> None:
    engine = Scripted()
    engine.reason = "error"
    assert refusal(chat(endpoint(engine)), 500)["type"] == "server_error"
    last = chunks(chat(endpoint(engine), stream=True))[-1]
    assert last["error"]["type"] == "server_error"


def nested(depth: int) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"enum": ["x" * 70_000]}, "bytes, more than"),
        ({"properties": {f"p{i}": {} for i in range(501)}}, "501 properties"),
        ({"enum": list(range(2001))}, "2001 enumerated values"),
        (nested(17), "nested more than 32 deep"),
        ({"type": "strin"}, "is not a JSON Schema"),
        ({"type": "string", "pattern": "([a-z]{1,500}){1,500}"}, "is too much"),
        ({"type": "string", "maxLength": 300}, "maxLength 300 is too much"),
        ({"properties": {f"p{i}": {"minLength": i} for i in range(30)}}, "is too much"),
        ({"items": {"pattern": "^.{0,300}$"}}, "pattern ^.{0,300}$ is too much"),
        ({"patternProperties": {"(?:[^x]|\\\\\\\\u1){9,999}": {}}}, "is too much"),
        ({"allOf": [{"pattern": f"^{'x' * 60}.{{0,120}}{end}$"} for end in "ab"]}, "is too much"),
        ({"maxLength": 300, "const": {"minLength": -100}}, "maxLength 300 is too much"),
        ({"propertyNames": {"maxLength": 1e300}}, "is too much"),
        ({"$ref": "http://127.0.0.1/schema"}, "only references within it"),
    ],
)
def test_a_schema_is_bounded_before_it_is_compiled(schema: dict[str, JsonValue], told: str) -> None:
    for fields in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"structured_outputs": {"json": schema}},
    ):
        assert told in refusal(chat(APP, **fields))["message"]


def test_a_megabyte_of_schema_is_refused_at_once() -> None:
    schema = {"type": "object", "properties": {f"property_{i}": {"type": "string"} for i in range(30_000)}}
    body = ChatBody.model_validate(
        {"messages": [{"role": "user", "content": "x"}], "structured_outputs": {"json": schema}}
    )
    before = time.process_time()
    with pytest.raises(WireError, match="bytes, more than"):
        guides.guide_of(body)
    assert time.process_time() - before < 5, "the compiler needs a minute"


def test_what_stays_within_the_bounds_is_passed_on() -> None:
    engine = Scripted()
    assert chat(endpoint(engine), structured_outputs={"json": nested(15)}).is_success
    titles = {"properties": {f"p{i}": {"minLength": 1, "maxLength": 200, "pattern": "^[A-Z]"} for i in range(50)}}
    assert chat(endpoint(engine), structured_outputs={"json": titles}).is_success  # equal bounds count once
    assert chat(endpoint(engine), structured_outputs={"regex": r"\d{4}-\d{2}-\d{2}"}).is_success
    assert chat(endpoint(engine), structured_outputs={"choice": ["yes", "no"]}).is_success
    assert [request.guide.kind for request in engine.requests if request.guide] == ["json", "json", "regex", "choice"]
    assert engine.requests[3].guide == Guide("choice", ("yes", "no"))


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("abc", 3),
        ("a{5}", 5),
        ("a{2,}", 2),
        ("(ab){3}c", 7),
        ("(ab{2}){3}c", 28),
        ("((a{10}){10}){10}", 100_000),
        ("[{5}]", 1),
        (r"\{5\}", 3),
        ("(a|b{3})*", 4),
        ("(?:a{4}){,5}", 125),
        (".{0,100}", 1600),
        ("(.|x){100}", 1700),
        (r"[^\"]{10}\S", 176),
        (r"[\s\S]{10}", 160),
        ("[ -~]{10}", 160),
        (r"[0-9a-f]{64}[\w.-]\d", 66),
    ],
)
def test_a_regular_expression_is_measured_with_its_repetitions(pattern: str, size: int) -> None:
    assert written_out(pattern) == size


@settings(max_examples=sweep(80))
@given(st.text(alphabet="ab()[]{},0123456789\\|*+?.^$-", max_size=40))
def test_no_regular_expression_is_too_much_for_the_measure(pattern: str) -> None:
    assert written_out(pattern) >= 1
