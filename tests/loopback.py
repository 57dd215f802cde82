"""A real HTTP server on this machine that answers as it is told and remembers what it was asked."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imageref_ray.engines.base import Message, Request


@dataclass(frozen=True)
class Step:
    """One answer: a body, how long it takes to come (and then to arrive), how much of it does (None: all), and how many
    must have asked at once before any is answered (for whom at most CROWD_S is waited)."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0
    drip_s: float = 0
    sent: int | None = None
    together: int = 1


CROWD_S = 20
NOTHING = Step(b"", sent=0)
HTML = Step(b"<html><body>Please <b>sign in</b></body></html>", headers={"Content-Type": "text/html"})


def says(
    *texts: str | None, reason: str = "stop", usage: bool = True, cost: tuple[int, int] = (7, 2), **step: Any
) -> Step:
    """A completion with these texts that cost so many prompt and generated tokens."""
    choices = [
        {"index": i, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    costs: dict[str, Any] = {"prompt_tokens": cost[0], "completion_tokens": cost[1], "total_tokens": sum(cost)}
    costs |= {"prompt_tokens_details": None}
    done = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    return Step(json.dumps(done | ({"usage": costs} if usage else {})).encode(), **step)


def fails(status: int, message: str = "no", **headers: str) -> Step:
    """An error object; `retry_after="1"` is a header."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": None}}).encode()
    return Step(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def request_of(body: dict[str, Any]) -> Request:
    """The request that a chat completion's body stands for, without its images."""
    return Request(tuple(Message(turn["role"], tuple(_texts(turn["content"]))) for turn in body["messages"]))


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]


@dataclass
class Loopback:
    """A running server: its address, the bodies, headers and times (seconds) of all requests, and the most at once."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    busiest: int = 0


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port of this machine at which nobody listens, and which nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class _Files(SimpleHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, *values: Any) -> None:
        return


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """The address at which the files of a folder are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def loopback(*plan: Step, otherwise: Callable[[dict[str, Any]], Step] = lambda body: says("ok")) -> Iterator[Loopback]:
    """Answers with the steps of `plan` in turn, then with what `otherwise` makes of a request's body."""
    seen, steps, lock, over = Loopback(), list(plan), threading.Condition(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                seen.asked.append(body)
                seen.headers.append({name.lower(): value for name, value in self.headers.items()})
                seen.times.append(time.monotonic())
                seen.at_once += 1
                seen.busiest = max(seen.busiest, seen.at_once)
                step = steps.pop(0) if steps else otherwise(body)
                lock.notify_all()
                lock.wait_for(lambda: seen.busiest >= step.together, CROWD_S)
            over.wait(step.delay_s)
            with lock:
                seen.at_once -= 1
            if step is not NOTHING:
                self.answer(step)

        def answer(self, step: Step) -> None:
            self.send_response(step.status)
            for name, value in {"Content-Type": "application/json", **step.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(step.body)))
            self.end_headers()
            sent = step.body[: step.sent]
            for start in range(0, len(sent), -(-len(sent) // 10)):
                self.wfile.write(sent[start : start - (-len(sent) // 10)])
                over.wait(step.drip_s)

        def log_message(self, *values: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *values: Any) -> None:
            return  # a client that gave up

    server = Server(("127.0.0.1", 0), Handler)
    seen.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
