"""`POST /v1/instructions` over scripted engines: what is asked, what is answered and streamed, what is refused."""

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import PIL.Image
import pytest

from imageref_ray import engines
from imageref_ray.core.config import ScriptedConfig
from imageref_ray.core.records import Unit, Usage
from imageref_ray.engines.base import EngineDied, Reply, Request
from imageref_ray.serving.chat_body import OPTIONS
from imageref_ray.serving.instruction_events import events
from imageref_ray.serving.instructions import Tell
from imageref_ray.stages.parsing import QA
from tests.endpoint import Scripted, ask, chunks, endpoint
from tests.scripted import STORY, inquirer, interviewer, mumbler, storyteller, witness


def data_url(color: str = "red") -> str:
    data = io.BytesIO()
    PIL.Image.new("RGB", (20, 10), color).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


IMAGE = data_url()
QUESTION = "What is it?"


class Engine:
    """The scripted engine of a build around a function; keeps the requests."""

    options = frozenset(OPTIONS)
    context = 2048

    def __init__(self, reply: Callable[[Request], Reply | str]) -> None:
        self._engine = engines.make(ScriptedConfig(script=f"tests.scripted:{reply.__name__}"))
        self.requests = list[Request]()

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        return await self._engine.generate(request)


def post(engine: Any, pack: str = "compact", **fields: Any) -> httpx.Response:
    return ask(endpoint(engine, instruct_prompts=pack), "POST", "/v1/instructions", json={"image": IMAGE, **fields})


def instruct(engine: Any, **fields: Any) -> dict[str, Any]:
    answered = post(engine, **fields)
    assert answered.is_success, answered.text
    body: dict[str, Any] = answered.json()
    return body


def deltas(answered: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The deltas of a stream, and the whole answer at its end."""
    assert answered.is_success and answered.text.endswith("data: [DONE]\n\n"), answered.text
    *pieces, whole = chunks(answered)
    assert {(piece["object"], piece["id"], piece["model"]) for piece in pieces} == {
        ("instruction.chunk", whole["id"], "imageref")
    }
    return [piece["delta"] for piece in pieces], whole


def test_an_answer_tells_what_became_of_each_unit_and_how_probable_it_was() -> None:
    answer = instruct(Engine(witness), question=QUESTION, correction="verify", steps=5)
    assert (answer["object"], answer["task"], answer["question"]) == ("instruction", "conversation", QUESTION)
    assert answer["draft"] == answer["one_pass"] == STORY.strip()
    units = answer["units"]
    assert [unit["outcome"] for unit in units] == ["kept", "kept", "kept", "rewritten", "kept"]
    assert units[0] == {
        "index": 0,
        "text": " Two red boats lie here.",
        "outcome": "kept",
        "became": None,
        "probability": pytest.approx(0.75),
        "retry": None,
    }
    assert units[3]["became"] == "\n\nA cat sleeps on the pier."
    assert units[3]["probability"] == pytest.approx(0.25)
    assert units[3]["retry"] == {"text": units[3]["became"], "probability": pytest.approx(0.75)}
    assert answer["answer"] == "".join(unit["became"] or unit["text"] for unit in units).strip()
    assert (answer["ended"], answer["finish_reason"]) == ("end", "stop")


def test_what_the_image_does_not_bear_out_twice_is_dropped_with_what_was_tried() -> None:
    answer = instruct(Engine(witness), question=QUESTION, correction="verify", threshold=0.8, steps=1)
    assert (answer["answer"], answer["ended"]) == ("", "steps")
    (unit,) = answer["units"]
    assert (unit["outcome"], unit["became"]) == ("dropped", None)
    assert unit["retry"] == {"text": " A cat sleeps on the pier.", "probability": pytest.approx(0.75)}


def test_where_the_engine_gives_no_probability_none_is_made_up() -> None:
    answer = instruct(Engine(storyteller), question=QUESTION, correction="verify")
    assert [unit["outcome"] for unit in answer["units"]] == ["kept", "kept", "kept", "rewritten"]
    assert {unit["probability"] for unit in answer["units"]} == {None} == {answer["units"][3]["retry"]["probability"]}


def test_without_a_question_the_model_asks_one_and_the_draft_is_what_came_with_it() -> None:
    engine = Engine(inquirer)
    answer = instruct(engine, correction="continue")
    assert (answer["question"], answer["draft"]) == ("What is shown?", "A boat.")
    assert answer["one_pass"] == answer["answer"] == "Two red boats. They lie at the harbour."
    assert len(engine.requests) == 2 and {request.images[0].width for request in engine.requests} == {20}
    only = instruct(engine, correction="none")
    assert (only["answer"], only["draft"], only["one_pass"]) == ("A boat.", "A boat.", None)
    assert (only["units"], only["ended"], only["candidates"]) == ([], None, [])
    assert len(engine.requests) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"correction": "verify", "question": QUESTION},
        {"correction": "after", "question": QUESTION, "last_all": True, "steps": 2},
        {"correction": "continue", "question": QUESTION, "unit": "section", "style": "vic"},
        {"correction": "continue", "question": QUESTION, "max_tokens": 5},
    ],
)
def test_a_stream_tells_the_same_piece_by_piece(fields: dict[str, Any]) -> None:
    told, whole = deltas(post(Engine(witness), **fields, stream=True))
    unstreamed = instruct(Engine(witness), **fields)
    assert {**unstreamed, "id": whole["id"], "created": whole["created"]} == whole
    names = [next(iter(delta)) for delta in told]
    drafts, units = [*filter("draft".__eq__, names)], [*filter("unit".__eq__, names)]
    assert names == ["question", *drafts, *units, "answer"] and len(drafts) > 1
    assert told[0]["question"] == QUESTION
    assert "".join(delta.get("draft", "") for delta in told) == whole["draft"]
    assert [delta["unit"] for delta in told if "unit" in delta] == whole["units"]
    assert told[-1]["answer"] == whole["answer"]


def test_a_question_of_the_models_own_is_streamed_before_its_draft() -> None:
    told, whole = deltas(post(Engine(inquirer), stream=True))
    assert told[0] == {"question": "What is shown?"} and [*told[1]] == ["draft"]
    assert "".join(delta.get("draft", "") for delta in told) == whole["draft"] == "A boat."


def test_what_was_sent_of_a_draft_that_proves_wrong_begins_anew() -> None:
    async def work(tell: Tell) -> dict[str, Any]:
        for pair in (QA("Old?", "It"), QA("Old?", "It is"), QA("New?", "No"), QA("New?", "Yes"), QA("New?", "Yes")):
            tell(pair)
        tell(Unit(" Yes", "dropped"))
        return {"answer": ""}

    async def told() -> list[dict[str, Any]]:
        return [piece async for piece in events(work, "m")]

    pieces = asyncio.run(told())
    first = [{"question": "Old?"}, {"draft": "It"}, {"draft": " is"}]
    anew = [{"question": "New?"}, {"draft": "No"}, {"question": "New?"}, {"draft": "Yes"}]
    assert [piece["delta"] for piece in pieces[:7]] == first + anew
    assert pieces[7]["delta"]["unit"]["outcome"] == "dropped"


def test_the_sampling_of_a_request_reaches_every_text_and_no_verdict() -> None:
    engine = Engine(storyteller)
    further = {"top_k": 5, "min_p": 0.1, "presence_penalty": 0.5, "frequency_penalty": -1, "repetition_penalty": 1.2}
    lengths = {"max_tokens": 90, "min_tokens": 2}
    fields = {"question": QUESTION, "correction": "verify", "temperature": 0.5, "top_p": 0.9, "seed": 7}
    instruct(engine, **fields, **lengths, **further)
    texts = [request.sampling for request in engine.requests if not request.guide]
    assert texts and all(sampling.options == further for sampling in texts)
    assert {(s.temperature, s.top_p, s.seed, s.max_tokens, s.min_tokens) for s in texts} == {(0.5, 0.9, 7, 90, 2)}
    verdicts = [request.sampling for request in engine.requests if request.guide]
    assert verdicts and {(s.temperature, s.max_tokens, len(s.options)) for s in verdicts} == {(0, 8, 0)}
    instruct(greedy := Engine(storyteller), question=QUESTION)
    assert {(r.sampling.temperature, r.sampling.seed, r.sampling.max_tokens) for r in greedy.requests} == {
        (0, None, 1024)
    }


def test_the_same_seed_draws_the_same_and_without_one_draws_differ() -> None:
    seeds: list[dict[str, int]] = [{"seed": 3}, {"seed": 3}, {}, {}]
    questions = [instruct(Engine(interviewer), pack="en", temperature=1, **seed)["question"] for seed in seeds]
    assert questions[0] == questions[1] and len(set(questions)) == 3


def test_the_best_of_n_is_chosen_for_every_text() -> None:
    class Two(Engine):
        async def generate(self, request: Request) -> Reply:
            self.requests.append(request)
            return Reply((" A ship.", " A boat."), ("stop",) * 2, Usage(1, 5), ((-3.0,), (-0.1, -0.1)))

    answer = instruct(engine := Two(witness), question=QUESTION, correction="continue", n=2, temperature=1)
    assert (answer["draft"], answer["answer"]) == ("A boat.", "A boat.") and engine.requests[0].n == 2
    refused = post(Engine(storyteller), question=QUESTION, n=2, temperature=1)
    assert refused.status_code == 400 and "ask for one" in refused.json()["error"]["message"]


def test_a_knowledge_question_gets_weighted_answers() -> None:
    engine = Engine(interviewer)
    answer = instruct(engine, pack="en", task="okvqa", question=QUESTION, n=6)
    assert (engine.requests[0].n, engine.requests[0].sampling.temperature) == (6, 1)
    assert engine.requests[0].sampling.max_tokens == 10
    weights = [candidate["weight"] for candidate in answer["candidates"]]
    assert answer["answer"] == answer["candidates"][0]["text"] and weights == sorted(weights, reverse=True)
    assert (answer["draft"], answer["units"], answer["one_pass"]) == (None, [], None)
    told, whole = deltas(post(Engine(interviewer), pack="en", task="a_okvqa", stream=True))
    assert [next(iter(delta)) for delta in told][-1] == "answer" and "question" in told[0]
    assert whole["candidates"] and whole["draft"] == "A boat."
    greedy = Engine(interviewer)
    instruct(greedy, pack="en", task="okvqa", question=QUESTION, temperature=0)
    assert greedy.requests[0].n == 1, "several greedy answers are all the same"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"pages": 3}, "pages"),
        ({"task": "poem"}, "task"),
        ({"question": " \n"}, "question"),
        ({"correction": "before"}, "correction"),
        ({"correction": "none", "question": QUESTION}, "correction"),
        ({"correction": "none", "steps": 3}, "steps"),
        ({"correction": "after", "threshold": 0.4}, "threshold"),
        ({"threshold": 0.4}, "threshold"),
        ({"task": "okvqa", "correction": "verify"}, "correction"),
        ({"task": "okvqa", "unit": "section"}, "unit"),
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"steps": "4"}, "steps"),
        ({"threshold": 1.5, "correction": "verify"}, "threshold"),
        ({"n": 2}, "n"),
        ({"n": 17, "temperature": 1}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 2048}, "max_tokens"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({"task": "okvqa", "min_tokens": 11}, "min_tokens"),
        ({"image": "https://example.org/a.png"}, "image"),
        ({"image": "data:image/png;base64,aGVsbG8="}, "image"),
        ({"image": None}, "image"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    answered = post(engine := Engine(witness), **fields)
    assert answered.status_code == 400, answered.text
    assert answered.json()["error"]["param"] == param
    assert engine.requests == []


def test_a_parameter_that_the_engine_has_not_and_another_model_are_refused() -> None:
    class Plain(Engine):
        options = frozenset[str]()

    refused = post(Plain(witness), repetition_penalty=1.2)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "repetition_penalty")
    assert post(Plain(witness), question=QUESTION, repetition_penalty=1.0).is_success
    assert post(Engine(witness), model="other").status_code == 404


def test_a_reply_that_is_no_question_is_a_502_also_for_a_stream() -> None:
    for stream in (False, True):
        answered = post(Engine(mumbler), stream=stream)
        assert answered.status_code == 502 and "'hm'" in answered.json()["error"]["message"]
    cut = Scripted(lambda request: "Question: Why? Answer: Because")
    cut.reason = "length"
    assert "raise max_tokens" in post(cut).json()["error"]["message"]


def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_an_error() -> None:
    class Dying(Engine):
        async def generate(self, request: Request) -> Reply:
            if request.guide:
                raise EngineDied("gone")
            return await super().generate(request)

    answered = post(Dying(witness), question=QUESTION, correction="verify", stream=True)
    *_, last = chunks(answered)
    assert last["error"]["code"] == "engine_failed" and answered.text.endswith("data: [DONE]\n\n")
    assert post(Dying(witness), question=QUESTION, correction="verify").status_code == 503


async def test_the_work_ends_with_its_reader() -> None:
    ended = asyncio.Event()

    async def work(tell: Tell) -> dict[str, Any]:
        tell(QA("Why?", "So"))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    stream = events(work, "m")
    assert (await anext(stream))["delta"] == {"question": "Why?"}
    await stream.aclose()
    assert ended.is_set()


def test_its_requests_are_counted_like_any_other() -> None:
    app = endpoint(engine := Engine(witness))
    answered = ask(app, "POST", "/v1/instructions", json={"image": IMAGE, "question": QUESTION, "correction": "verify"})
    metrics = ask(app, "GET", "/metrics").text
    assert 'imageref_requests_total{replica="r1",route="/v1/instructions",status="200"} 1.0' in metrics
    generated = answered.json()["usage"]["completion_tokens"]
    assert f'imageref_tokens_total{{kind="generated",replica="r1"}} {float(generated)}' in metrics
    assert len(engine.requests) > 5 and 'imageref_requests_in_flight{replica="r1",state="running"} 0.0' in metrics
