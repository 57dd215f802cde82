"""The HTTP routes over a scripted engine: wire formats, refusals, and the reference contract on the way out."""

import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from fastapi.testclient import TestClient

from imageref_ray.core.config import ScriptedConfig, ServeConfig
from imageref_ray.core.images import open_rgb
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import BrokenReply, EngineError, Guide, Reply, Request, RequestError
from imageref_ray.serving.routes import create_app
from tests.scripted import annotator

ANSWER = """# Boats in Velmora
IMAGE_1
Three boats came in.
IMAGE_2
### The harbour
Mara Holt watched them.
![Two red boats](IMAGE_1)
IMAGE_1
And IMAGE_7 too."""


class Engine:
    """Answers with a function of the request and records the requests."""

    def __init__(self, reply: Callable[[Request], str]) -> None:
        self.reply = reply
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Reply:
        self.requests.append(request)
        for image in request.images:
            open_rgb(image.uri)
        text = self.reply(request)
        return Reply((text,) * request.n, ("stop",) * request.n, Usage(1, 12, 4, 3, len(text.split())))


class StreamingEngine(Engine):
    """The same, word by word."""

    async def stream(self, request: Request) -> AsyncIterator[Reply]:
        words = self.reply(request).split(" ")
        for i, word in enumerate(words, start=1):
            yield Reply((word + " " * (i < len(words)),), ("length" if i == len(words) else "",), Usage(1, 12, 4, 3, i))


def client(engine: Engine, **settings: Any) -> TestClient:
    config = ServeConfig(engine=ScriptedConfig(script="tests.scripted:annotator"), **settings)
    return TestClient(create_app(engine, config), raise_server_exceptions=False)


def png(color: str = "red", size: tuple[int, int] = (20, 10)) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", size, color).save(data, "PNG")
    return data.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_chat_with_an_image_reaches_the_engine_in_order() -> None:
    engine = Engine(lambda request: "a red box")
    parts = [{"type": "text", "text": "Look: "}, image_part(data_url(png())), {"type": "text", "text": " what?"}]
    body = chat(parts, model="imageref", temperature=0, max_tokens=7, stop="\n", seed=3)
    answered = client(engine).post("/v1/chat/completions", json=body).json()
    (request,) = engine.requests
    (message,) = request.messages
    assert [part if isinstance(part, str) else (part.width, part.height) for part in message.parts] == [
        "Look: ",
        (20, 10),
        " what?",
    ]
    assert (request.sampling.temperature, request.sampling.max_tokens, request.sampling.stop) == (0, 7, ("\n",))
    assert answered["choices"][0]["message"] == {"role": "assistant", "content": "a red box"}
    assert answered["usage"]["total_tokens"] == 15
    assert not Path(request.images[0].uri).exists(), "a request leaves no files behind"


@pytest.mark.parametrize("kind", [Engine, StreamingEngine])
def test_a_stream_adds_up_to_the_reply_and_ends_with_usage(kind: type[Engine]) -> None:
    body = chat("Hello", stream=True, stream_options={"include_usage": True})
    answered = client(kind(lambda request: "two red boats")).post("/v1/chat/completions", json=body)
    lines = [line.removeprefix("data: ") for line in answered.text.split("\n\n") if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    assert answered.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "[DONE]"
    assert "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"]) == "two red boats"
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert chunks[-2]["choices"][0]["finish_reason"] == ("stop" if kind is Engine else "length")


def test_several_choices_and_guides_are_passed_on() -> None:
    engine = Engine(lambda request: "yes")
    schema = {"type": "object", "properties": {"k": {"type": "integer"}}}
    formats = [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "yes|no"}},
        {"structured_outputs": {"choice": ["yes", "no"]}},
    ]
    for given in formats:
        answered = client(engine).post("/v1/chat/completions", json=chat("?", n=2, **given)).json()
        assert [choice["index"] for choice in answered["choices"]] == [0, 1]
    assert [request.guide for request in engine.requests] == [
        Guide("json", schema),
        Guide("json", {"type": "object"}),
        Guide("regex", "yes|no"),
        Guide("choice", ("yes", "no")),
    ]


def test_an_open_turn_is_continued_and_not_repeated() -> None:
    engine = Engine(lambda request: " came in.")
    turns = [{"role": "user", "content": "What happened?"}, {"role": "assistant", "content": "Three boats"}]
    body = {"messages": turns, "continue_final_message": True, "add_generation_prompt": False}
    answered = client(engine).post("/v1/chat/completions", json=body).json()
    assert answered["choices"][0]["message"]["content"] == " came in."
    assert ([message.role for message in engine.requests[0].messages], engine.requests[0].prefix) == (
        ["user"],
        "Three boats",
    )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"messages": []}, 400, "messages"),
        (chat("x", temperature=9), 400, "temperature"),
        (chat("x", model="gpt"), 404, "use `imageref`"),
        (chat("x", tools=[{"type": "function"}]), 400, "`tools` is not supported"),
        (chat([{"type": "input_audio"}]), 400, "messages[0].content[0]"),
        (chat([image_part("https://example.org/a.png")]), 400, "not fetched"),
        (chat([image_part("a.png")]), 400, "no folder is configured"),
        (chat([image_part("data:image/png;base64,@@@")]), 400, "not valid base64"),
        (chat([image_part(data_url(b"just text"))]), 400, "is text, not an image"),
        (chat([image_part(data_url(b"x" * 5000))]), 400, "more than the 3000 allowed"),
        (chat([image_part(data_url(png(size=(300, 300))))]), 400, "more than the 40000 allowed"),
        (chat([image_part(data_url(png()))] * 3), 400, "more than 2 images"),
        (chat("x", structured_outputs={"regex": "a", "choice": ["b"]}), 400, "exactly one of"),
        (chat("x", response_format={"type": "xml"}), 400, "response_format: "),
        (chat("x", continue_final_message=True), 400, "continue_final_message needs several messages"),
    ],
)
def test_what_cannot_be_answered_is_an_openai_error(body: dict[str, Any], status: int, message: str) -> None:
    small = client(Engine(lambda request: "x"), max_images=2, max_image_bytes=3000, max_image_pixels=40_000)
    answered = small.post("/v1/chat/completions", json=body)
    assert answered.status_code == status
    assert message in answered.json()["error"]["message"]
    assert answered.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (RequestError("too long: /tmp/imageref-x/chat-0"), 400, "too long: (a file)"),
        (BrokenReply("tensor on cuda:3"), 500, "failed at this request"),
        (EngineError("dead in /opt/engine.py"), 503, "try again"),
        (ZeroDivisionError("in /opt/routes.py"), 500, "failed at this request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_engines_error_is_a_status_even_for_a_stream(error: Exception, status: int, told: str, stream: bool) -> None:
    def fail(request: Request) -> str:
        raise error

    for engine in (Engine(fail), StreamingEngine(fail)):
        answered = client(engine).post("/v1/chat/completions", json=chat("x", stream=stream))
        assert answered.status_code == status
        assert told in answered.json()["error"]["message"]
        assert "/opt/" not in answered.text and "cuda" not in answered.text
        assert answered.json()["error"]["request_id"] == answered.headers["x-request-id"]


def test_paths_are_served_from_the_configured_folder_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.png").write_bytes(png())
    (tmp_path / "out.png").write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "out.png")
    served = client(Engine(lambda request: "ok"), images=root)
    statuses = {
        name: served.post("/v1/chat/completions", json=chat([image_part(name)])).status_code
        for name in ("in.png", "file://in.png", "../out.png", "link.png", str(tmp_path / "out.png"), "none.png")
    }
    assert statuses == {"in.png": 200, "file://in.png": 200, **dict.fromkeys(list(statuses)[2:], 400)}


def test_a_reference_answer_holds_only_checked_references_with_their_sources(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("blue"))
    engine = Engine(lambda request: ANSWER)
    documents = [
        {"id": "n1", "title": "Boats", "text": "Boats came.\n[Image 0]\nEnd.", "images": [data_url(png())]},
        {"title": "Port", "text": "A port.\n[Image 0]", "images": ["a.png", "missing.png"]},
    ]
    body = {"question": "What happened?", "documents": documents}
    answered = client(engine, images=tmp_path).post("/v1/reference", json=body).json()
    assert answered["markdown"] == (
        "# Boats in Velmora\n\nThree boats came in.\n\nIMAGE_2\n\n### The harbour\n\nMara Holt watched them.\n\n"
        "![Two red boats](IMAGE_1)\n\nAnd too."
    )
    first, second = answered["references"]
    assert (first["k"], first["document"], first["url"], first["slot"]) == (2, "2", "a.png", 1)
    assert (second["k"], second["document"], second["caption"]) == (1, "n1", "Two red boats")
    assert second["url"] == f"sha256:{second['sha256']}"
    assert {breach["kind"] for breach in answered["breaches"]} == {"slot", "once", "exists"}
    assert answered["left_out"] == [{"document": "2", "image": 1, "reason": "does not exist"}]
    parts = engine.requests[0].messages[-1].parts
    assert parts[0] == "What happened?\n# Boats\nBoats came.\nIMAGE_1: "


def test_a_model_that_was_not_fine_tuned_answers_in_stages() -> None:
    document = {"id": "n1", "title": "Boats", "text": "Boats came.\n[Image 0]", "images": [data_url(png())]}
    body = {"question": "What happened?", "documents": [document], "method": "staged"}
    answered = client(Engine(annotator)).post("/v1/reference", json=body).json()
    assert "What happened in short.\n\n![Two red boats.](IMAGE_1)\n\n### The harbour" in answered["markdown"]
    assert answered["usage"]["prompt_tokens"] == 4 * 12, "respond, describe, caption, place"
    broken = client(Engine(lambda request: "")).post("/v1/reference", json=body)
    assert (broken.status_code, broken.json()["error"]["type"]) == (502, "server_error")


def test_documents_with_one_id_are_refused() -> None:
    document = {"id": "same", "text": "x"}
    body = {"question": "?", "documents": [document, document]}
    answered = client(Engine(lambda request: "x")).post("/v1/reference", json=body)
    assert answered.status_code == 400
    assert "same id" in answered.json()["error"]["message"]


def test_models_health_and_unknown_routes() -> None:
    served = client(Engine(lambda request: "x"), name="boats")
    assert [model["id"] for model in served.get("/v1/models").json()["data"]] == ["boats"]
    assert served.get("/health").json() == {"status": "ok"}
    assert served.get("/nowhere").json()["error"]["message"] == "Not Found"
