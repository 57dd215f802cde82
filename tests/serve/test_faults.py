"""The endpoint when something dies under 8 streams and 4 plain requests: real Ray Serve, a slow scripted model.

They are about what HAProxy asks again, and are skipped where there is none.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.mortal import WORDS

STREAMS, PLAIN = 8, 4
pytestmark = pytest.mark.skipif("RAY_SERVE_ENABLE_HA_PROXY" not in os.environ, reason="needs HAProxy before Serve")


@dataclass
class Endpoint:
    """The running endpoint, and the file that says which replica's engine is to die."""

    url: str
    dies: Path

    def deploy(self, replicas: int, **settings: Any) -> None:
        """The application with so many replicas, once they answer."""
        from ray import serve

        from serve.app import build

        engine = {"kind": "scripted", "script": "tests.mortal:writer", "cpus": 0.1, "env": {"DIES": str(self.dies)}}
        serve.run(build({"engine": {**engine, "actors": [replicas, replicas]}, **settings}), name="imageref")


@dataclass
class Seen:
    """What became of the requests: process → whole answers, and streams that it writes now; how often one was cut,
    and what else came."""

    whole: Counter[str] = field(default_factory=Counter)
    writing: Counter[str] = field(default_factory=Counter)
    told: int = 0
    severed: int = 0
    failed: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def endpoint(own_serve: str, tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    dies = tmp_path_factory.mktemp("faults") / "dies"
    dies.write_text("nobody")
    return Endpoint(own_serve, dies)


@contextlib.asynccontextmanager
async def load(endpoint: Endpoint, seen: Seen) -> AsyncIterator[None]:
    """Clients that ask again and again, each until its answer is there; begun answers are waited for at the end."""
    going = True

    async def client(streamed: bool) -> None:
        async with httpx.AsyncClient(timeout=120) as http:
            while going:
                await ask(http, endpoint.url, streamed, seen)

    clients = [asyncio.create_task(client(number < STREAMS)) for number in range(STREAMS + PLAIN)]
    try:
        await until(lambda: len(seen.whole) > 0 and seen.whole.total() >= STREAMS, seen)
        yield
    finally:
        going = False
        await asyncio.gather(*clients)


async def ask(http: httpx.AsyncClient, url: str, streamed: bool, seen: Seen) -> None:
    """One request; its answer is counted by what it is. A status other than 200 or none at all is a failure."""
    body = {"messages": [{"role": "user", "content": "Write."}], "stream": streamed}
    begun, text, writer = False, "", ""
    try:
        async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answered:
            if answered.status_code != 200:
                seen.failed.append(f"{answered.status_code} {(await answered.aread())[:200]!r}")
                await asyncio.sleep(0.2)
                return
            begun = True
            async for piece in answered.aiter_text():
                text += piece
                if streamed and not writer and (begins := re.search(r'"content": ?"(\d+) ', text)):
                    writer = begins[1]
                    seen.writing[writer] += 1
    except httpx.TransportError as error:
        if begun:
            seen.severed += 1
        else:
            seen.failed.append(repr(error))
            await asyncio.sleep(0.2)
        return
    finally:
        seen.writing[writer] -= 1
    if streamed and '"error"' in text.rsplit("data: ", 1)[-1]:
        seen.told += 1
        return
    words = spoken(text, streamed).split()
    assert len(words) == WORDS + 1, text
    assert not streamed or text.endswith("data: [DONE]\n\n"), text
    seen.whole[words[0]] += 1


def spoken(text: str, streamed: bool) -> str:
    """What an answer says."""
    if not streamed:
        return str(json.loads(text)["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


async def until(true: Any, seen: Seen, seconds: float = 120) -> float:
    """Wait until it is true; the seconds it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + seconds, seen
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def test_with_two_replicas_a_killed_one_costs_no_request_that_had_not_begun(endpoint: Endpoint) -> None:
    endpoint.deploy(2)
    seen = Seen()

    async def run() -> None:
        async with load(endpoint, seen):
            await until(lambda: len(seen.whole) == 2, seen)
            killed = next(iter(seen.whole))
            await until(lambda: seen.writing[killed] > 0, seen)
            os.kill(int(killed), signal.SIGKILL)
            seen.whole.clear()
            await until(lambda: seen.whole.total() > 2 * STREAMS, seen)

    asyncio.run(run())
    assert seen.failed == []
    assert 0 < seen.severed + seen.told <= STREAMS


def test_a_killed_proxy_is_replaced_and_no_answer_is_cut_in_silence(endpoint: Endpoint) -> None:
    endpoint.deploy(2)
    seen = Seen()

    async def run() -> None:
        async with load(endpoint, seen):
            for process in proxies(endpoint.url):
                process.kill()
            await until(lambda: len(seen.failed) > 0, seen)
            seen.whole.clear()
            await until(lambda: seen.whole.total() > STREAMS, seen)

    asyncio.run(run())
    # No connection, or for a moment one to a HAProxy that has not heard of the replicas yet.
    assert {failure[:3] for failure in seen.failed if "Error" not in failure} <= {"404"}, seen
    assert seen.told == 0


def proxies(url: str) -> list[psutil.Process]:
    """Who listens at an address."""
    port = int(url.rpartition(":")[2])
    listening = {
        c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port
    }
    return [psutil.Process(pid) for pid in listening if pid]


def test_with_two_replicas_a_dead_engine_costs_no_request_and_its_streams_say_so(endpoint: Endpoint) -> None:
    endpoint.deploy(2)
    seen = Seen()

    async def run() -> None:
        async with load(endpoint, seen):
            await until(lambda: len(seen.whole) == 2, seen)
            endpoint.dies.write_text(next(iter(seen.whole)))
            await until(lambda: len(seen.whole) == 3, seen)  # the one that takes its place

    asyncio.run(run())
    assert seen.failed == []
    assert 0 < seen.told <= STREAMS
    assert seen.severed == 0


def test_another_checkpoint_is_taken_up_under_load_and_nothing_is_lost(endpoint: Endpoint) -> None:
    endpoint.deploy(2)
    seen = Seen()

    async def run() -> None:
        async with load(endpoint, seen):
            await until(lambda: len(seen.whole) == 2, seen)
            await asyncio.to_thread(endpoint.deploy, 2, name="other")
            await until(lambda: len(seen.whole) == 4, seen)

    asyncio.run(run())
    assert (seen.failed, seen.told, seen.severed) == ([], 0, 0)
    assert [model["id"] for model in httpx.get(f"{endpoint.url}/v1/models").json()["data"]] == ["other"]


def test_with_one_replica_health_says_so_until_another_answers_and_few_requests_fail(endpoint: Endpoint) -> None:
    endpoint.deploy(1)
    seen, healthy = Seen(), []

    async def ask_health() -> None:
        async with httpx.AsyncClient(timeout=120) as http:
            while len(seen.whole) < 2:
                with contextlib.suppress(httpx.TransportError):
                    healthy.append((await http.get(f"{endpoint.url}/health")).status_code == 200)
                await asyncio.sleep(0.05)

    async def run() -> None:
        async with load(endpoint, seen):
            endpoint.dies.write_text(next(iter(seen.whole)))
            await until(lambda: seen.told > 0, seen)
            await ask_health()

    asyncio.run(run())
    # It says no, or what the new replica says: once healthy, it stays so.
    assert healthy == sorted(healthy)
    assert len(seen.failed) < 20


def test_what_has_begun_is_answered_before_the_application_ends(endpoint: Endpoint) -> None:
    from ray import serve

    endpoint.deploy(2)
    seen = Seen()

    async def run() -> None:
        async with load(endpoint, seen):
            await until(lambda: len(seen.whole) == 2, seen)
            ending = asyncio.create_task(asyncio.to_thread(serve.delete, "imageref"))
            await asyncio.sleep(0.5)
        await ending

    asyncio.run(run())
    assert (seen.told, seen.severed) == (0, 0)
    assert all(failure.startswith(("404", "503", "500")) for failure in seen.failed)
