"""Who may ask the endpoint and how much: keys, other machines, limits, sizes, times; and what every answer says."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.types import Message as AsgiMessage

from imageref_ray.commands import cli
from imageref_ray.core.config import ConfigError, KeyConfig
from imageref_ray.engines.base import Request
from imageref_ray.serving.admission import Admission
from imageref_ray.serving.arguments import read_settings
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.keys import check_exposed, digest, make_key, parse_keys
from tests.endpoint import Scripted, ask, chat, endpoint

KEY, SUM = make_key()
BEARER = {"authorization": f"Bearer {KEY}"}
ELSEWHERE = ("10.1.2.3", 40_000)


def keyed(**limits: Any) -> list[dict[str, Any]]:
    return [{"name": "news-team", "sha256": SUM, **limits}]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {SUM}"},
        {"authorization": "Bearer "},
        {"authorization": b"Bearer \xff\xfe"},
        [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer other")],
    ],
)
def test_without_a_valid_key_no_route_answers_but_health_and_ping(headers: Any) -> None:
    app = endpoint(keys=keyed())
    routes = [("GET", path) for path in ("/v1/models", "/v1/models/imageref", "/version", "/metrics", "/openapi.json")]
    posts = [("POST", f"/v1/{name}") for name in ("chat/completions", "reference", "instructions")]
    for method, path in [*routes, *posts]:
        answered = ask(app, method, path, headers=headers)
        assert answered.status_code == 401, path
        assert answered.json()["error"]["code"] == "invalid_api_key"
        assert answered.headers["www-authenticate"] == "Bearer"
    for path in ("/health", "/ping"):
        assert ask(app, "GET", path, headers=headers).is_success


@pytest.mark.parametrize(
    "path",
    [
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/V1/models",
        "/v1/%6dodels",
        "/health/../v1/models",
        "/v1/models%00",
    ],
)
def test_no_spelling_of_a_path_leads_around_the_key(path: str) -> None:
    answered = ask(endpoint(keys=keyed()), "GET", path)
    assert answered.status_code in (401, 404)
    assert ask(endpoint(keys=keyed()), "GET", "/v1/models", headers={"host": "endpoint/health?"}).status_code == 401


def test_a_valid_key_is_enough_from_anywhere() -> None:
    app = endpoint(keys=keyed())
    assert ask(app, "GET", "/v1/models", ELSEWHERE, headers=BEARER).is_success
    assert ask(app, "GET", "/v1/models", ELSEWHERE, headers={"authorization": f"bearer  {KEY}"}).is_success


def test_the_key_is_checked_before_the_body_is_read() -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{"

    answered = ask(endpoint(keys=keyed()), "POST", "/v1/chat/completions", content=body())
    assert (answered.status_code, read) == (401, [])


def test_without_keys_only_this_machine_is_answered_unless_the_operator_says_so() -> None:
    for client in (("127.0.0.1", 1), ("::1", 1), ("::ffff:127.0.0.1", 1)):
        assert ask(endpoint(), "GET", "/v1/models", client).is_success
    for client in (ELSEWHERE, ("::ffff:10.1.2.3", 1), ("2001:db8::1", 1)):
        refused = ask(endpoint(), "GET", "/v1/models", client)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_keys")
        assert ask(endpoint(), "GET", "/health", client).is_success
        assert ask(endpoint(insecure=True), "GET", "/v1/models", client).is_success


def test_an_address_that_others_reach_needs_keys_or_the_word_insecure() -> None:
    open_, closed = read_settings({}), read_settings({"keys": keyed()})
    for host in ("0.0.0.0", "10.0.0.1", "::", "example.org"):
        with pytest.raises(ConfigError, match=r"imageref serve key .* --insecure"):
            check_exposed(host, open_)
        check_exposed(host, closed)
        check_exposed(host, read_settings({"insecure": True}))
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_exposed(host, open_)


def test_the_command_makes_keys_that_the_endpoint_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secrets" / "keys.yaml"
    made = {}
    for name, more in (("news", ["--per-minute", "60"]), ("maps", [])):
        assert cli.main(["serve", "key", "--name", name, "--out", str(file), *more]) == 0
        made[name] = capsys.readouterr().out.strip()
    assert made["news"] not in file.read_text(encoding="utf-8"), "the key itself is stored nowhere"
    settings = read_settings({"keys_file": str(file)})
    assert settings.keys == (
        KeyConfig(name="news", sha256=digest(made["news"].encode()), per_minute=60),
        KeyConfig(name="maps", sha256=digest(made["maps"].encode())),
    )
    assert cli.main(["serve", "key", "--name", "news", "--out", str(file)]) == 2
    assert cli.main(["serve", "key", "--name", "alone"]) == 0
    printed, _, lines = capsys.readouterr().out.partition("\n\n")
    (alone,) = parse_keys(lines, "printed")
    assert alone.sha256 == digest(printed.encode())


def test_keys_come_from_the_environment_too_and_travel_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEREF_KEYS", yaml.safe_dump(keyed()))
    settings = read_settings({})
    assert [key.name for key in settings.keys] == ["news-team"]
    assert ask(endpoint(keys=settings.keys), "GET", "/v1/models", headers=BEARER).is_success
    monkeypatch.delenv("IMAGEREF_KEYS")
    assert ask(endpoint(keys=settings.keys), "GET", "/v1/models").status_code == 401


@pytest.mark.parametrize("text", ["keys: [{name: a, sha256: secret-in-clear}]", "a: [", "keys: 5", "keys: []"])
def test_a_broken_file_of_keys_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"keys\.yaml") as refused:
        read_settings({"keys_file": str(tmp_path / "keys.yaml")})
    assert "secret-in-clear" not in str(refused.value)


def test_a_key_has_its_requests_a_minute_which_fill_up_again() -> None:
    now = [0.0]
    admission = Admission(1, 0, lambda: now[0])
    key = KeyConfig(name="a", sha256=SUM, per_minute=6)
    for _ in range(6):
        admission.enter(key)
    with pytest.raises(WireError, match="more than 6 requests a minute") as refused:
        admission.enter(key)
    assert (refused.value.status_code, refused.value.headers) == (429, {"retry-after": "10"})
    now[0] = 10
    admission.enter(key)
    with pytest.raises(WireError):
        admission.enter(key)
    admission.enter(KeyConfig(name="b", sha256=SUM, per_minute=1))


def test_a_keys_requests_at_once_and_the_queue_are_bounded() -> None:
    class Slow(Scripted):
        go = asyncio.Event()

        async def generate(self, request: Request) -> Any:
            await self.go.wait()
            return await super().generate(request)

    async def several(settings: dict[str, Any], headers: dict[str, str]) -> list[Any]:
        engine = Slow()
        engine.go = asyncio.Event()
        app = endpoint(engine, **settings)
        app_settings = {"messages": [{"role": "user", "content": "Hi"}]}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", headers=headers) as http:
            tasks = [asyncio.create_task(http.post("/v1/chat/completions", json=app_settings)) for _ in range(40)]
            while sum(task.done() for task in tasks) < 36:
                await asyncio.sleep(0.01)
            engine.go.set()
            return await asyncio.gather(*tasks)

    answers = asyncio.run(several({"max_queued_requests": 1, "concurrency": 3}, {}))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(answers) - len(refused), refused[0].json()["error"]["code"]) == (4, "queue_full")
    answers = asyncio.run(several({"keys": keyed(concurrency=4)}, BEARER))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(answers) - len(refused), refused[0].headers["retry-after"]) == (4, "1")


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    app = endpoint(max_body_bytes=1000)
    pieces = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            pieces.append(1)
            yield b" " * 400

    chunked = ask(app, "POST", "/v1/chat/completions", content=endless(), headers={"content-type": "application/json"})
    assert (chunked.status_code, len(pieces)) == (413, 3)
    declared = ask(app, "POST", "/v1/chat/completions", content=b" " * 1001)
    assert (declared.status_code, declared.json()["error"]["request_id"]) == (413, declared.headers["x-request-id"])
    lied = ask(app, "POST", "/v1/chat/completions", content=b"{}", headers={"content-length": "9" * 5000})
    assert lied.status_code == 413


def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    headers = {"content-type": "application/json"}
    answered = ask(endpoint(body_timeout=0.05), "POST", "/v1/chat/completions", content=slow(), headers=headers)
    assert (answered.status_code, answered.json()["error"]["type"]) == (408, "invalid_request_error")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "body"),
        (b"{", "not valid JSON"),
        (b'{"messages": [], "n": NaN}', "NaN"),
        (b'{"messages": [], "n": 1e999}', "1e999"),
        (b'{"model": "a", "model": "a"}', "'model' twice"),
        (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', "half a character"),
        (b'{"messages": [{"role": "user", "content": "\\u0000"}]}', "NUL"),
        (b'{"\\udc00": 1}', "half a character"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "digits"),
        (b"[" + b"0," * 500_001 + b"0]", "more than 500000 values"),
        (b'"text"', "body"),
    ],
)
def test_what_is_no_plain_json_is_a_400(body: bytes, told: str) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/v1/chat/completions", "/v1/reference"):
        answered = ask(endpoint(), "POST", path, content=body, headers=headers)
        assert answered.status_code == 400
        assert told in answered.json()["error"]["message"]


def test_a_body_of_another_type_and_unknown_routes_have_the_same_form() -> None:
    app = endpoint()
    for method, path, status in (
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/%ed%a0%bd", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/chat/completions", 405),
    ):
        answered = ask(app, method, path)
        assert answered.status_code == status
        error = answered.json()["error"]
        assert error["message"] and error["request_id"] == answered.headers["x-request-id"]
    text = ask(app, "POST", "/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert (text.status_code, "application/json" in text.json()["error"]["message"]) == (400, True)


def test_a_clients_own_request_id_is_kept_if_it_is_plain() -> None:
    app = endpoint()
    assert ask(app, "GET", "/health", headers={"x-request-id": "trace-1.a_b"}).headers["x-request-id"] == "trace-1.a_b"
    for odd in ("a b", "x" * 129, 'a"b', ""):
        assert ask(app, "GET", "/health", headers={"x-request-id": odd}).headers["x-request-id"].startswith("req-")


def test_pages_of_listed_origins_may_ask() -> None:
    app = endpoint(cors_origins=["https://app.example.org"], keys=keyed())
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for origin, allowed in (("https://app.example.org", "https://app.example.org"), ("https://evil.example", None)):
        answered = ask(app, "OPTIONS", "/v1/chat/completions", headers={"origin": origin, **asked})
        assert answered.headers.get("access-control-allow-origin") == allowed


def test_every_request_is_one_line_without_its_content(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    app = endpoint(Scripted(lambda request: "hidden answer"), request_log=log, keys=keyed())
    secret = {"messages": [{"role": "user", "content": "hidden question"}]}
    ask(app, "POST", "/v1/chat/completions", json=secret, headers=BEARER)
    ask(app, "POST", "/v1/chat/completions", json={**secret, "stream": True}, headers=BEARER)
    ask(app, "POST", "/v1/chat/completions", json=secret)
    ask(app, "GET", "/hidden/path?hidden=query")
    text = log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["status"], line["key"], line["route"], line["stream"]) for line in lines] == [
        (200, "news-team", "/v1/chat/completions", False),
        (200, "news-team", "/v1/chat/completions", True),
        (401, None, "/v1/chat/completions", False),
        (404, None, "none", False),
    ]
    assert (lines[0]["prompt_tokens"], lines[0]["generated_tokens"], lines[0]["bytes_in"]) == (12, 2, 58)
    assert "hidden" not in text and KEY not in text


def test_a_full_disk_of_the_log_costs_no_answer_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    app = endpoint(Scripted(lambda request: "answer"), request_log=Path("/dev/full"))
    with caplog.at_level(logging.ERROR, "ray.serve"):
        for _ in range(3):
            assert chat(app).status_code == 200
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "/dev/full cannot be written: No space left on device"
    ]


def test_metrics_count_what_happened_by_route_and_replica() -> None:
    app = endpoint(Scripted(lambda request: "# A\n\nText.\n\nIMAGE_7\n"))
    chat(app)
    chat(app, stream=True)
    chat(app, n=99)
    ask(app, "POST", "/v1/reference", json={"question": "?", "documents": [{"text": "x"}]})
    answered = ask(app, "GET", "/metrics")
    assert answered.headers["content-type"].startswith("text/plain")
    for line in (
        'imageref_requests_total{replica="r1",route="/v1/chat/completions",status="200"} 2.0',
        'imageref_requests_total{replica="r1",route="/v1/chat/completions",status="400"} 1.0',
        'imageref_time_to_first_token_seconds_count{replica="r1",route="/v1/chat/completions"} 1.0',
        'imageref_request_seconds_count{replica="r1",route="/v1/reference"} 1.0',
        'imageref_tokens_total{kind="prompt",replica="r1"} 36.0',
        'imageref_cache_hits_total{replica="r1"} 3.0',
        'imageref_breaches_total{kind="exists",replica="r1"} 1.0',
        'imageref_requests_in_flight{replica="r1",state="running"} 0.0',
    ):
        assert line in answered.text, line


def test_models_say_their_context_and_the_version_is_the_packages() -> None:
    app = endpoint(name="team/boats")
    (listed,) = ask(app, "GET", "/v1/models").json()["data"]
    assert (listed["id"], listed["max_model_len"], listed["created"] > 0) == ("team/boats", 512, True)
    assert ask(app, "GET", "/v1/models/team/boats").json() == listed
    assert ask(app, "GET", "/version").json().keys() == {"version"}
    assert ask(app, "GET", "/ping").json() == {"status": "ok"}


def test_a_failure_outside_the_routes_is_an_error_object_too() -> None:
    """Middleware, encoding of an answer: whatever it is, the client gets JSON and no word about the inside."""

    async def run() -> list[AsgiMessage]:
        sent: list[AsgiMessage] = []
        app = endpoint()

        @app.get("/broken")
        async def broken() -> Any:
            return {"an object": object()}

        async def send(message: AsgiMessage) -> None:
            sent.append(message)

        async def receive() -> AsgiMessage:
            return {"type": "http.request"}

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/broken",
            "headers": [],
            "query_string": b"",
            "root_path": "",
        }
        await app(scope, receive, send)
        return sent

    start, body = asyncio.run(run())
    assert start["status"] == 500
    assert json.loads(body["body"])["error"]["code"] == "internal_error"


def test_settings_of_keys_are_checked() -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        read_settings({"keys": keyed(concurrency=0)})
