"""Engines are found by name, wrong models are refused before anything starts, endpoints are asked patiently."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import PIL.Image
import pytest

from imageref_ray import engines
from imageref_ray.config import ConfigError, EngineConfig
from imageref_ray.engines.base import EngineError, Guide, Message, Reply, Request, RequestError, Sampling
from imageref_ray.records import Image


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "has no config.json"),
        ("{", "not valid JSON"),
        ('{"architectures": ["Qwen2ForCausalLM"]}', "is Qwen2ForCausalLM, not an InternVL"),
        ("{}", "of no named architecture"),
    ],
)
def test_a_folder_that_is_no_internvl_is_refused(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=words):
        engines.check_model(str(tmp_path))


@pytest.mark.parametrize("model", ["runs/gone", "./gone", "/gone/model", "gone"])
def test_a_missing_model_is_refused(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match="does not exist"):
        engines.check_model(model)


def test_a_hub_name_is_taken_at_its_word() -> None:
    engines.check_model("OpenGVLab/InternVL3-8B-hf")


@pytest.mark.parametrize("script", [None, "nonsense", "tests.scripted:nothing", "not.there:at_all"])
def test_a_script_that_is_not_there_is_refused(script: str | None) -> None:
    with pytest.raises(ConfigError, match="expected package"):
        engines.check(EngineConfig(kind="scripted", model="none", script=script))


class Endpoint(BaseHTTPRequestHandler):
    """Answers with what `plan` says, in turn: a status, or the completion's text."""

    plan: ClassVar[list[int | str]] = []
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        step = self.plan.pop(0)
        message = {"role": "assistant", "content": step}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        done = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps({"error": {"message": "no"}} if isinstance(step, int) else done).encode()
        self.send_response(step if isinstance(step, int) else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *values: Any) -> None:
        return


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    Endpoint.plan, Endpoint.asked = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def ask(url: str, request: Request) -> Reply:
    async def once() -> Reply:
        engine = engines.make(EngineConfig(kind="openai", model="m", base_url=url))
        reply = await engine.generate(request)
        await engine.close()  # type: ignore[attr-defined]
        return reply

    return asyncio.run(once())


def test_a_busy_endpoint_is_asked_again(endpoint: str) -> None:
    Endpoint.plan = [429, 503, "a boat"]
    reply = ask(endpoint, Request((Message("user", ("What?",)),)))
    assert (reply.text, reply.usage.prompt_tokens, reply.usage.generated_tokens) == ("a boat", 7, 2)
    assert len(Endpoint.asked) == 3


@pytest.mark.parametrize(("status", "kind"), [(400, RequestError), (401, EngineError), (404, EngineError)])
def test_a_refusal_is_the_requests_or_the_endpoints_fault(endpoint: str, status: int, kind: type[Exception]) -> None:
    Endpoint.plan = [status]
    with pytest.raises(kind):
        ask(endpoint, Request((Message("user", ("What?",)),)))
    assert len(Endpoint.asked) == 1


def test_pictures_guides_and_an_open_turn_reach_the_endpoint(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    PIL.Image.new("RGB", (4, 4)).save(path)
    Endpoint.plan = ["IMAGE_1"]
    message = Message("user", ("Look: ", Image("d/0.png", str(path)), "\nWhere?"))
    ask(endpoint, Request((message,), Sampling(max_tokens=5), Guide("regex", "IMAGE_[12]"), prefix="Here: "))
    sent = Endpoint.asked[0]
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["text", "image_url", "text"]
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert sent["messages"][1] == {"role": "assistant", "content": "Here: "}
    assert sent["continue_final_message"] is True
    assert sent["structured_outputs"] == {"regex": "IMAGE_[12]"}
    assert sent["max_tokens"] == 5


def test_a_json_guide_is_a_response_format(endpoint: str) -> None:
    Endpoint.plan = ["{}"]
    ask(endpoint, Request((Message("user", ("?",)),), guide=Guide("json", {"type": "object"})))
    assert Endpoint.asked[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
