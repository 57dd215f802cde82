"""`/v1/reference`: what a stream says and what the whole answer says, cut answers, languages, clients that leave."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import PIL.Image
import pytest
from fastapi import FastAPI
from hypothesis import given, settings

from imageref_ray.core import markdown
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import EngineDied, Reply, Request
from imageref_ray.stages.prompts import predictions
from tests.endpoint import Scripted, ask, chunks, endpoint
from tests.scripted import RESPONSE, annotator
from tests.sweeps import sweep
from tests.unit.test_markdown_stream import TEXTS


def data_url(color: str) -> str:
    data = io.BytesIO()
    PIL.Image.new("RGB", (20, 10), color).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


RED, BLUE = data_url("red"), data_url("blue")
DOCUMENTS = [
    {"id": "n1", "title": "Boats", "text": "Boats came.\n[Image 0]\nEnd.", "images": [RED]},
    {"id": "n2", "text": "A port.", "images": [BLUE]},
]
ANSWER = "# Boats\nThree boats came in.\n![Two boats](IMAGE_1)\n### Port\nMara <img src=x> came.\nIMAGE_9\nThe end."


def asked(app: FastAPI, **fields: Any) -> httpx.Response:
    body = {"question": "What happened?", "documents": DOCUMENTS, **fields}
    return ask(app, "POST", "/v1/reference", json=body)


def told(answered: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The deltas of a stream, and the whole answer at its end."""
    *pieces, last = chunks(answered)
    assert answered.text.endswith("data: [DONE]\n\n")
    assert {piece["object"] for piece in pieces} == {"reference.chunk"}
    assert {(piece["id"], piece["created"], piece["model"]) for piece in pieces} == {
        (last["id"], last["created"], last["model"])
    }
    return [piece["delta"] for piece in pieces], last


def joined(deltas: list[dict[str, Any]]) -> str:
    return "".join(delta.get("markdown", "") for delta in deltas)


def only(kind: str, deltas: list[dict[str, Any]]) -> list[Any]:
    return [delta[kind] for delta in deltas if kind in delta]


def unnamed(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("id", "created")}


def test_a_direct_answer_comes_in_pieces_and_every_reference_right_before_its_text() -> None:
    app = endpoint(Scripted(lambda request: ANSWER))
    deltas, last = told(asked(app, stream=True))
    assert joined(deltas) == last["markdown"]
    assert len(only("markdown", deltas)) > 8, "text comes word by word"
    at = next(i for i, delta in enumerate(deltas) if "reference" in delta)
    assert deltas[at + 1]["markdown"].endswith("![Two boats](IMAGE_1)")
    assert only("reference", deltas) == last["references"]
    assert only("breach", deltas) == last["breaches"]
    assert {breach["kind"] for breach in last["breaches"]} == {"exists", "html"}
    assert unnamed(last) == unnamed(asked(app).json())


def test_an_answer_says_who_made_it_and_on_what_its_blocks_rest() -> None:
    answer = asked(endpoint(Scripted(lambda request: ANSWER))).json()
    assert answer["id"].startswith("ref-") and answer["created"] > 10**9
    assert (answer["object"], answer["model"], answer["method"]) == ("reference", "imageref", "direct")
    assert (answer["finish_reason"], answer["citations"]) == ("stop", [{"block": 1, "documents": ["n1"]}])
    (reference,) = answer["references"]
    assert reference == {
        "k": 1,
        "id": "n1/0",
        "url": f"sha256:{reference['sha256']}",
        "alt": "",
        "document": "n1",
        "sha256": reference["sha256"],
        "slot": 1,
        "caption": "Two boats",
    }
    assert "html" not in answer


@settings(max_examples=sweep(15))
@given(TEXTS)
def test_whatever_a_model_writes_the_stream_is_the_answer_and_the_contract_holds(text: str) -> None:
    app = endpoint(Scripted(lambda request: text))
    answered = asked(app, stream=True)
    if answered.status_code != 200:  # NUL is no answer of an engine's
        return
    deltas, last = told(answered)
    assert joined(deltas) == last["markdown"]
    assert only("reference", deltas) == last["references"]
    assert markdown.check_references(last["markdown"], ["n1/0", "n2/0"]) == []


def test_a_staged_answer_gives_progress_then_text_then_references_at_their_slots() -> None:
    app = endpoint(Scripted(annotator))
    deltas, last = told(asked(app, method="staged", stream=True))
    progress = [(one["stage"], one["done"], one["of"]) for one in deltas if "stage" in one]
    assert [one for one in progress if one[0] == "respond"] == [("respond", 0, 1), ("respond", 1, 1)]
    assert [one for one in progress if one[0] == "caption"] == [("caption", done, 4) for done in (1, 2, 3, 4)]
    assert progress[-1] == ("place", 1, 1)
    assert joined(deltas) == markdown.spaced(RESPONSE)
    found = only("reference", deltas)
    assert [(one["k"], one["slot"], one["caption"]) for one in found] == [(k, k, "Two red boats.") for k in (1, 2)]
    captions = {one["k"]: one["caption"] for one in found}
    placed = markdown.insert(joined(deltas), {one["slot"]: one["k"] for one in found}, "after", captions)
    assert last["markdown"] == markdown.spaced(placed)
    assert unnamed(last) == unnamed(asked(app, method="staged").json())


def test_what_a_staged_answer_wrote_too_early_or_may_not_write_is_told() -> None:
    response = "# A day\nBoats came.\nIMAGE_1\n### End\n<script>x</script> fish."

    def reply(request: Request) -> str:
        return response if request.guide is None and not request.images else annotator(request)

    def place(request: Request) -> str:
        return predictions([None, None]) if request.guide else reply(request)

    deltas, last = told(asked(endpoint(Scripted(place)), method="staged", stream=True))
    assert [breach["kind"] for breach in only("breach", deltas)] == ["slot", "html"]
    assert last["breaches"] == only("breach", deltas)
    assert "<script" not in last["markdown"]
    assert "IMAGE_1" not in joined(deltas)


class Cutting(Scripted):
    """Cuts the replies of one stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(annotator)
        self.stage = stage

    async def generate(self, request: Request) -> Reply:
        stage = "place" if request.guide else "caption" if request.images else "respond"
        reply = await super().generate(request)
        if stage != self.stage:
            return reply
        return Reply((reply.text[: len(reply.text) // 2],), ("length",), reply.usage)

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        yield await self.generate(request)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stage", ["respond", "caption", "place"])
def test_an_answer_of_which_any_part_was_cut_says_so(stage: str, stream: bool) -> None:
    answered = asked(endpoint(Cutting(stage)), method="staged", stream=stream)
    answer = told(answered)[1] if stream else answered.json()
    assert answer["finish_reason"] == "length"
    assert answer["markdown"].startswith("# A day out")


@pytest.mark.parametrize("stream", [False, True])
def test_a_direct_answer_that_was_cut_says_so_and_holds_no_half_of_a_reference(stream: bool) -> None:
    engine = Scripted(lambda request: "# Boats\nThree boats came in.\n![Two boats](IMAG")
    engine.reason = "length"
    answered = asked(endpoint(engine), stream=stream)
    answer = told(answered)[1] if stream else answered.json()
    assert (answer["finish_reason"], answer["references"]) == ("length", [])


def test_reasoning_is_cut_off_a_stream_too() -> None:
    text = "<think>IMAGE_1 shows\n# boats?</think>\n# Boats\nThree boats came in, one after the other, and stayed."
    deltas, _ = told(asked(endpoint(Scripted(lambda request: text)), stream=True))
    assert joined(deltas) == "# Boats\n\nThree boats came in, one after the other, and stayed."
    refused = asked(endpoint(Scripted(lambda request: "<think>hm")), stream=True)
    assert "nothing but reasoning" in refused.text


@pytest.mark.parametrize("method", ["direct", "staged"])
def test_the_language_goes_into_the_prompts_of_a_pack_that_takes_one(method: str) -> None:
    engine = Scripted(annotator)
    app = endpoint(engine, prompts="default-en", system="Be brief.")
    asked(app, method=method, language="pt-BR")
    systems = [str(request.messages[0].parts[0]) for request in engine.requests if request.guide is None]
    assert systems and all("Write in Portuguese (Brazil)" in system for system in systems)
    engine.requests.clear()
    asked(app, method=method, language="Klingon")
    assert "Write in Klingon" in str(engine.requests[0].messages[0])


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"language": "German"}, "language", "take no `language`"),
        ({"langauge": "German"}, "langauge", "not a field"),
        ({"format": "pdf"}, "format", "'markdown' or 'html'"),
        ({"documents": [{"text": "x", "names": []}]}, "documents[0].names", "with `format` markdown or html"),
        (
            {"documents": [{"text": "x", "format": "html", "images": [RED], "names": []}]},
            "documents[0].names",
            "0 `names` of 1 `images`",
        ),
        ({"documents": [{"text": "x", "picture": 1}]}, "documents[0].picture", "not a field"),
        ({"max_tokens": 600}, "max_tokens", "the model's context is 512"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(fields: dict[str, Any], param: str, says: str) -> None:
    answered = asked(endpoint(), **fields)
    assert (answered.status_code, answered.json()["error"]["param"]) == (400, param)
    assert says in answered.json()["error"]["message"]


def test_no_code_of_a_language_is_refused_by_its_name() -> None:
    answered = asked(endpoint(prompts="default-en"), language="xx")
    assert (answered.status_code, answered.json()["error"]["param"]) == (400, "language")


def test_a_stream_that_fails_ends_with_the_error() -> None:
    class Dying(Scripted):
        async def stream(self, request: Request) -> AsyncIterator[Reply]:
            yield Reply(("# Boats\n",), ("",), Usage(1))
            raise EngineDied("gone")

    answered = asked(endpoint(Dying()), stream=True)
    assert answered.status_code == 200
    assert chunks(answered)[-1]["error"]["code"] == "engine_failed"
    assert answered.text.endswith("data: [DONE]\n\n")


class Hanging(Scripted):
    """Begins to answer and never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.ended = asyncio.Event(), 0

    async def generate(self, request: Request) -> Reply:
        self.asked.set()
        try:
            return await asyncio.Future[Reply]()
        finally:
            self.ended += 1

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        yield Reply(("# Boats\n",), ("",), Usage(1))
        yield await self.generate(request)


@pytest.mark.parametrize(
    ("stream", "method"), [(False, "direct"), (False, "staged"), (True, "direct"), (True, "staged")]
)
def test_the_work_ends_when_the_client_leaves(stream: bool, method: str) -> None:
    engine = Hanging()
    app = endpoint(engine)
    body = json.dumps({"question": "?", "documents": DOCUMENTS, "stream": stream, "method": method}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/v1/reference",
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await engine.asked.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    async def run() -> None:
        await asyncio.wait_for(app(scope, receive, send), 60)
        going_on = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*going_on, return_exceptions=True), 60)

    asyncio.run(run())
    assert engine.ended >= 1
