"""A dead engine is noticed by the first who meets it, and from then on nobody waits for it."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from fastapi.testclient import TestClient

from imageref_ray.core.config import ScriptedConfig, ServeConfig
from imageref_ray.engines.base import EngineDied, EngineError, Message, Reply, Request
from imageref_ray.serving.routes import create_app
from imageref_ray.serving.watched_engine import WatchedEngine

REQUEST = Request((Message("user", ("Hello",)),))
BODY = {"messages": [{"role": "user", "content": "Hello"}]}


class Mortal:
    """Answers until it is asked for the third time; counts how often it was asked."""

    def __init__(self, error: Exception) -> None:
        self.asked, self.error = 0, error

    async def generate(self, request: Request) -> Reply:
        self.asked += 1
        if self.asked > 2:
            raise self.error
        return Reply(("a b",))


class Writer(Mortal):
    """Dies after its first piece."""

    async def stream(self, request: Request) -> AsyncGenerator[Reply, None]:
        yield Reply(("a",), ("",))
        raise self.error


def client(engine: WatchedEngine) -> TestClient:
    settings = ServeConfig(engine=ScriptedConfig(script="tests.scripted:annotator"))
    return TestClient(create_app(engine, settings), raise_server_exceptions=False)


def test_death_is_told_once_and_nothing_more_is_asked() -> None:
    deaths: list[str] = []
    engine = Mortal(EngineDied("gone"))
    watched = WatchedEngine(engine, lambda: deaths.append("died"))

    async def ask() -> None:
        for _ in range(2):
            await watched.generate(REQUEST)
        assert not watched.dead
        for _ in range(3):
            with pytest.raises(EngineDied):
                await watched.generate(REQUEST)

    asyncio.run(ask())
    assert (watched.dead, deaths, engine.asked) == (True, ["died"], 3)


def test_an_error_of_another_kind_is_no_death() -> None:
    watched = WatchedEngine(Mortal(EngineError("refuses everything")), lambda: pytest.fail("it lives"))

    async def ask() -> None:
        for _ in range(2):
            await watched.generate(REQUEST)
        with pytest.raises(EngineError):
            await watched.generate(REQUEST)

    asyncio.run(ask())
    assert not watched.dead


def test_health_and_requests_are_refused_from_the_moment_the_engine_dies() -> None:
    watched = WatchedEngine(Mortal(EngineDied("gone")))
    http = client(watched)
    assert [http.post("/v1/chat/completions", json=BODY).status_code for _ in range(3)] == [200, 200, 503]
    for answered in (http.get("/health"), http.post("/v1/chat/completions", json=BODY | {"stream": True})):
        assert answered.status_code == 503
        assert answered.headers["Retry-After"]
        assert answered.json()["error"]["type"] == "server_error"


def test_health_knows_of_a_death_that_no_request_has_met() -> None:
    engine = Mortal(EngineDied("gone"))
    http = client(WatchedEngine(engine))
    assert http.get("/health").status_code == 200
    engine.died = True  # type: ignore[attr-defined]
    assert http.get("/health").status_code == 503


def test_a_stream_in_which_the_engine_dies_ends_in_an_error_event() -> None:
    http = client(WatchedEngine(Writer(EngineDied("gone"))))
    events = http.post("/v1/chat/completions", json=BODY | {"stream": True}).text.split("\n\n")
    assert '"content": "a"' in events[1]
    assert events[-2].startswith('data: {"error"')
    assert "[DONE]" not in events[-2]
