"""What the endpoint adds to the engine: requests/s and waiting times beside vLLM's own server, on one machine.

    python benchmarks/serving.py [--requests 192] [--rounds 5] [--streams 1 8 32 64] [--out results.json]

Four servers over the embedded checkpoint with equal engine settings: `endpoint` (`imageref serve`), `python` (the same
with Ray Serve's own proxy in place of HAProxy), `routes` (the same routes under plain uvicorn) and `vllm` (vLLM's own
OpenAI server). Each round asks every server the same requests, a picture with a line of text each, in another order of
servers than the round before: streamed, with so many in flight, and unstreamed with 32. A request's text is its own,
so that no reply's beginning is in a prefix cache; the first round's numbers are thrown away. Ratios are taken within a
round, the result is their median: a machine that others use too slows all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from setting import ARGS, ENV, MODEL, tell
from speed import free_port, vllm_server, wait_for

from imageref_ray.core.config import ServeConfig, VllmConfig
from imageref_ray.engines import make
from imageref_ray.picturenews import corpus
from imageref_ray.serving.routes import create_app

SERVERS = ("endpoint", "python", "routes", "vllm")
UNSTREAMED = 32
"""Requests in flight that are not streamed."""

MAX_TOKENS = 48
ENGINE: dict[str, Any] = {"kind": "vllm", "model": MODEL, "concurrency": 128, "args": ARGS, "env": ENV}


@dataclass(frozen=True)
class Asked:
    """One request: seconds to its first token (None: unstreamed) and to its end, and its generated tokens."""

    first_s: float | None
    whole_s: float
    tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=192, help="requests a server, way and round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--uvicorn", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.uvicorn:
        serve_routes(options.uvicorn)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end too
    ways = [(str(streams), streams, True) for streams in options.streams] + [("unstreamed", UNSTREAMED, False)]
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        way: {name: [] for name in options.servers} for way, *_ in ways
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        urls = {name: stack.enter_context(STARTS[name](Path(folder))) for name in options.servers}
        pictures, numbers = data_urls(Path(folder), options.requests), itertools.count()
        for turn, (way, streams, streamed) in itertools.product(range(options.rounds + 1), ways):
            bodies = [body(picture, next(numbers), streamed) for picture in pictures]
            names = list(options.servers)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                measured = asyncio.run(ask(urls[name], bodies, streams))
                if turn:
                    found[way][name].append(measured)
                print(f"{turn} {way:>10} {name:>8} {json.dumps(measured)}", file=sys.stderr, flush=True)
    tell(
        {"requests": options.requests, "rounds": options.rounds, "ways": {way: summary(found[way]) for way in found}},
        options.out,
    )


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians over the rounds, and those of each round's ratios to vLLM's own server."""
    result: dict[str, Any] = {}
    for name, rounds in found.items():
        result[name] = {key: round(statistics.median(one[key] for one in rounds), 4) for key in rounds[0]}
        for key in ("requests_per_second", "p50_s") if name != "vllm" and "vllm" in found else ():
            ratios = [one[key] / other[key] for one, other in zip(rounds, found["vllm"], strict=True)]
            result[name][f"{key}_ratio"] = round(statistics.median(ratios), 3)
    return result


async def ask(url: str, bodies: list[bytes], at_once: int) -> dict[str, float]:
    """All requests, so many in flight: throughput and waiting times."""
    waiting = iter(bodies)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        asked: list[Asked] = []

        async def worker() -> None:
            for one in waiting:
                asked.append(await ask_one(session, url, one))

        await asyncio.gather(*(worker() for _ in range(at_once)))
    seconds = time.perf_counter() - began
    firsts, wholes = [one.first_s for one in asked if one.first_s is not None], [one.whole_s for one in asked]
    result = {
        "requests_per_second": len(asked) / seconds,
        "tokens_per_second": sum(one.tokens for one in asked) / seconds,
        "p50_s": statistics.median(wholes),
        "p95_s": statistics.quantiles(wholes, n=20)[-1],
    }
    return result | ({"first_token_p50_s": statistics.median(firsts)} if firsts else {})


async def ask_one(session: aiohttp.ClientSession, url: str, content: bytes) -> Asked:
    """One chat completion. Raises RuntimeError for any other answer."""
    began, first, usage = time.perf_counter(), None, None
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/v1/chat/completions", data=content, headers=headers) as response:
        if response.status != 200:
            raise RuntimeError(f"{url} answered {response.status}: {await response.text()}")
        if response.content_type != "text/event-stream":
            usage = (await response.json())["usage"]
        else:
            async for line in response.content:
                if first is None and b'"content":' in line and b'"content":""' not in line.replace(b" ", b""):
                    first = time.perf_counter() - began
                if b'"usage":{' in line.replace(b" ", b""):
                    usage = json.loads(line.removeprefix(b"data: "))["usage"]
    if usage is None:
        raise RuntimeError(f"{url} cut an answer")
    return Asked(first, time.perf_counter() - began, usage["completion_tokens"])


def body(picture: str, number: int, streamed: bool) -> bytes:
    parts = [
        {"type": "text", "text": f"Request {number}.\n"},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "\nDescribe the picture."},
    ]
    asked = {"model": "imageref", "messages": [{"role": "user", "content": parts}], "temperature": 0}
    streaming = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    return json.dumps({**asked, "max_tokens": MAX_TOKENS, **streaming}).encode()


def data_urls(folder: Path, count: int) -> list[str]:
    """The first pictures of the embedded corpus."""
    corpus.write(folder / "news", count // 3 + 1, corpus.SEEDS["test"])
    files = sorted((folder / "news" / "image").rglob("*.jpg"))[:count]
    assert len(files) == count
    return [f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}" for file in files]


def serve_routes(port: int) -> None:
    """The endpoint's routes without Ray."""
    engine = VllmConfig.model_validate(ENGINE)
    uvicorn.run(create_app(make(engine), ServeConfig(engine=engine)), port=port, log_level="warning", access_log=False)


@contextmanager
def endpoint(folder: Path, haproxy: bool = True) -> Iterator[str]:
    """`imageref serve`."""
    port, name = free_port(), "endpoint" if haproxy else "python"
    application = {"name": "imageref", "import_path": "imageref_ray.serving.app:build", "args": {"engine": ENGINE}}
    config = folder / f"{name}.yaml"
    config.write_text(json.dumps({"http_options": {"port": port}, "applications": [application]}), encoding="utf-8")
    command = [sys.executable, "-m", "imageref_ray", "serve", f"--config={config}"]
    with server(command, port, folder / f"{name}.log", {} if haproxy else {"RAY_SERVE_ENABLE_HA_PROXY": "0"}):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def routes(folder: Path) -> Iterator[str]:
    port = free_port()
    with server([sys.executable, __file__, f"--uvicorn={port}"], port, folder / "routes.log", {}):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def own(folder: Path) -> Iterator[str]:
    with vllm_server(MODEL, folder / "vllm.log") as url:
        yield url.removesuffix("/v1")


@contextmanager
def server(command: list[str], port: int, log: Path, variables: dict[str, str]) -> Iterator[None]:
    """A server while it runs, from when it answers."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **ENV, **variables}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield
    finally:
        process.terminate()
        process.wait()


STARTS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "endpoint": endpoint,
    "python": partial(endpoint, haproxy=False),
    "routes": routes,
    "vllm": own,
}

if __name__ == "__main__":
    main()
