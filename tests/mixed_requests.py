"""Requests as an open endpoint gets them: good ones, wrong ones, and clients that leave in the middle.

    imageref serve --config serve/config.yaml &
    python tests/mixed_requests.py http://127.0.0.1:8000 --requests 10000 --process $!

Every good request must be answered whole, every wrong one with an error object that has its kind of status. At the end
nothing may be running or waiting. With --process, memory, open files and threads of the process and all below it are
told twenty times.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

CHAT, REFERENCE = "/v1/chat/completions", "/v1/reference"
EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
AT_ONCE = 24
WORDS = ("boat", "dog", "house", "tree", "clock", "kite")


@dataclass
class Seen:
    """What became of the requests, by kind, and of each that was not answered as it must be, what came instead."""

    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    looks: list[dict[str, float]] = field(default_factory=list)


Client = httpx.AsyncClient
Kind = Callable[[Client, random.Random], Awaitable[str | None]]
"""Sends one request; what is wrong with the answer, or None."""


def chat(rng: random.Random, **fields: Any) -> dict[str, Any]:
    asked = f"Request {rng.randrange(10**9)}: what is a {rng.choice(WORDS)}?"
    return {
        "messages": [{"role": "user", "content": asked}],
        "max_tokens": rng.randint(1, 12),
        "temperature": 0,
    } | fields


def say(rng: random.Random, *parts: dict[str, Any]) -> dict[str, Any]:
    return chat(rng, messages=[{"role": "user", "content": list(parts)}])


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def picture(rng: random.Random, **fields: Any) -> dict[str, Any]:
    shown = image(rng.choice(("1-0.jpg", "2-0.jpg", "2-1.jpg")))
    return say(rng, shown, {"type": "text", "text": "\nDescribe the picture."}) | fields


def _whole(answered: httpx.Response, n: int) -> str | None:
    """What is wrong with an unstreamed answer of `n` choices."""
    ends = [choice["finish_reason"] for choice in answered.json().get("choices", ())]
    if answered.status_code == 200 and len(ends) == n and {"stop", "length"}.issuperset(ends):
        return None
    return f"{answered.status_code} {answered.text[:300]}"


async def plain(http: Client, rng: random.Random) -> str | None:
    n = rng.randint(1, 3)
    body = chat(rng, n=n, temperature=0.7, logprobs=rng.random() < 0.5)
    return _whole(await http.post(CHAT, json=body), n)


async def with_picture(http: Client, rng: random.Random) -> str | None:
    return _whole(await http.post(CHAT, json=picture(rng)), 1)


async def guided(http: Client, rng: random.Random) -> str | None:
    guide = {"structured_outputs": {"choice": ["yes", "no"]}}
    return _whole(await http.post(CHAT, json=chat(rng, max_tokens=8, **guide)), 1)


async def streamed(http: Client, rng: random.Random) -> str | None:
    body = rng.choice((chat, picture))(rng, stream=True, stream_options={"include_usage": True})
    answered = await http.post(CHAT, json=body)
    events = [line.removeprefix("data: ") for line in answered.text.split("\n\n") if line]
    if answered.status_code != 200 or events[-1:] != ["[DONE]"] or '"usage":{' not in events[-2].replace(" ", ""):
        return f"{answered.status_code} {answered.text[-300:]}"
    return None


async def reference(http: Client, rng: random.Random) -> str | None:
    body = json.loads((EXAMPLE / "request.json").read_text(encoding="utf-8"))
    answered = await http.post(REFERENCE, json=body | {"max_tokens": 40, "question": f"Question {rng.random()}"})
    # What the model writes within 40 tokens may be of no use (502): the stages' parsers say so.
    return None if answered.status_code in (200, 502) else f"{answered.status_code} {answered.text[:300]}"


async def models(http: Client, rng: random.Random) -> str | None:
    answered = await http.get(rng.choice(("/v1/models", "/health", "/version", "/metrics")))
    return None if answered.status_code == 200 else f"{answered.status_code} {answered.text[:300]}"


WRONG: tuple[tuple[int, Callable[[random.Random], dict[str, Any]]], ...] = (
    (400, lambda rng: {"json": chat(rng, tempratur=1)}),
    (400, lambda rng: {"json": chat(rng, temperature=-1)}),
    (400, lambda rng: {"json": chat(rng, max_tokens=10**6)}),
    (400, lambda rng: {"json": chat(rng, response_format={"type": "json_schema", "json_schema": "x"})}),
    (400, lambda rng: {"json": chat(rng, structured_outputs={"regex": "(a{1000}){1000}"})}),
    (400, lambda rng: {"json": picture(rng)["messages"]}),
    (400, lambda rng: {"content": b'{"messages": [{"role": "user", "content": "\ud83d"}]}'}),
    (400, lambda rng: {"content": b'{"messages": NaN}'}),
    (400, lambda rng: {"content": rng.randbytes(200)}),
    (400, lambda rng: {"json": say(rng, image("data:image/png;base64,AAAA"))}),
    (400, lambda rng: {"json": say(rng, image("../../etc/passwd"))}),
    (404, lambda rng: {"json": chat(rng, model="another")}),
    (404, lambda rng: {"url": "/v1/completions", "json": {"prompt": "x"}}),
    (405, lambda rng: {"url": "/v1/models", "json": {}}),
)
"""The status that each must get, and the request."""


async def refused(http: Client, rng: random.Random) -> str | None:
    status, make = rng.choice(WRONG)
    answered = await http.post(**{"url": CHAT, **make(rng)})
    told = answered.json().get("error", {})
    if answered.status_code != status or not told.get("request_id") or not told.get("message"):
        return f"{answered.status_code} instead of {status}: {answered.text[:300]}"
    return None


async def leaves_a_stream(http: Client, rng: random.Random) -> str | None:
    async with http.stream("POST", CHAT, json=picture(rng, max_tokens=60, stream=True)) as answered:
        async for _ in answered.aiter_raw():
            break
    return None


async def leaves_before_the_answer(http: Client, rng: random.Random) -> str | None:
    path, body = rng.choice(((CHAT, picture(rng, max_tokens=60)), (REFERENCE, (EXAMPLE / "request.json").read_text())))
    content = body if isinstance(body, str) else json.dumps(body)
    try:
        await http.post(path, content=content, timeout=rng.uniform(0.01, 0.5))
    except httpx.TimeoutException:
        return None
    return None


async def sends_half_a_body(http: Client, rng: random.Random) -> str | None:
    _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b'{"messages": [')
    await writer.drain()
    writer.close()
    return None


OFTEN: dict[Kind, int] = {plain: 6, with_picture: 4, guided: 2, streamed: 6, reference: 1, models: 2}
OFTEN |= {refused: 8, leaves_a_stream: 3, leaves_before_the_answer: 2, sends_half_a_body: 1}
"""How often each comes."""


async def send(url: str, count: int, seed: int, look: Callable[[], dict[str, float]] | None = None) -> Seen:
    """`count` requests, `AT_ONCE` at a time; `look` is called every twentieth of them."""
    seen, rng = Seen(), random.Random(seed)
    kinds = iter(rng.choices(list(OFTEN), list(OFTEN.values()), k=count))
    limits = httpx.Limits(max_connections=None)

    async def client(number: int) -> None:
        own = random.Random(f"{seed} {number}")
        async with Client(base_url=url, timeout=600, limits=limits) as http:
            for kind in kinds:
                try:
                    problem = await kind(http, own)
                except (httpx.HTTPError, ValueError) as error:
                    problem = f"{type(error).__name__}: {error}"
                seen.answered[kind.__name__] += 1
                seen.wrong += [f"{kind.__name__}: {problem}"] if problem else []
                if look and seen.answered.total() % max(1, count // 20) == 0:
                    seen.looks.append(await asyncio.to_thread(look))

    await asyncio.gather(*(client(number) for number in range(AT_ONCE)))
    return seen


async def idle(url: str, seconds: float = 60) -> str | None:
    """None once the endpoint runs nothing and nothing waits; else what its metrics say after this time."""
    end = time.monotonic() + seconds
    async with Client(base_url=url, timeout=60) as http:
        while True:
            metrics = (await http.get("/metrics")).text
            told = re.findall(r"^imageref_requests_in_flight\{.*", metrics, re.MULTILINE)
            if told and all(line.endswith(" 0.0") for line in told):
                return None
            if time.monotonic() > end:
                return "\n".join(told) or "no such metric"
            await asyncio.sleep(0.5)


def _look(process: psutil.Process) -> dict[str, float] | None:
    try:
        memory = process.memory_full_info().uss / 2**20
        return {"memory_mib": memory, "files": process.num_fds(), "threads": process.num_threads()}
    except psutil.NoSuchProcess:  # one that read a page has ended meanwhile
        return None


def watched(pid: int) -> Callable[[], dict[str, float]]:
    """Looks at the memory (unique to the processes, in MiB), open files and threads of a process and all below it."""

    def look() -> dict[str, float]:
        root = psutil.Process(pid)
        looks = [_look(process) for process in (root, *root.children(recursive=True))]
        return {name: round(sum(one[name] for one in looks if one), 1) for name in ("memory_mib", "files", "threads")}

    return look


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--process", type=int, help="number of the endpoint's process")
    options = parser.parse_args()
    look = watched(options.process) if options.process else None
    began = time.perf_counter()
    seen = asyncio.run(send(options.url, options.requests, options.seed, look))
    left = asyncio.run(idle(options.url))
    result = {"requests": dict(seen.answered), "seconds": round(time.perf_counter() - began), "looks": seen.looks}
    print(json.dumps({**result, "wrong": seen.wrong, "still_running": left}, indent=1))
    sys.exit(1 if seen.wrong or left else 0)


if __name__ == "__main__":
    main()
