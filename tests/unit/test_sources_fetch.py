"""Images from anywhere, over real sockets: fetched once, within limits, and never from a forbidden host."""

import gzip
import io
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.core.config import FetchConfig
from imageref_ray.core.images import Problem
from imageref_ray.sources import ssrf_guard
from imageref_ray.sources.fetch import fetch

MAX_BYTES = 20_000
HERE = "127.0.0.1"


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()


@dataclass
class Server:
    """A real server on the loopback; `asked` counts requests by path."""

    port: int
    asked: Counter[str] = field(default_factory=Counter)

    def url(self, path: str, host: str = HERE) -> str:
        return f"http://{host}:{self.port}/{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path's first word."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        name = self.path[1:]
        self.server.notes.asked[name] += 1
        word, _, rest = name.partition("/")
        getattr(self, f"{word.partition('.')[0]}_page", self.missing_page)(rest)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def good_page(self, _: str) -> None:
        self.send(PICTURE)

    def missing_page(self, _: str) -> None:
        self.send(b"gone", 404)

    def html_page(self, _: str) -> None:
        self.send(b"<html>please log in</html>", Content_Type="image/png")

    def huge_page(self, announced: str) -> None:
        """More than is allowed, with or without saying so before."""
        self.send_response(200)
        self.send_header(*(("Content-Length", "9000000") if announced else ("Connection", "close")))
        self.end_headers()
        self.close_connection = True
        try:
            for _ in range(9000):
                self.wfile.write(bytes(1000))
        except OSError:
            self.server.notes.asked["hung up on"] += 1

    def half_page(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        self.wfile.write(PICTURE[: len(PICTURE) // 2])
        self.close_connection = True

    def silent_page(self, _: str) -> None:
        self.server.stop.wait(5)

    def drip_page(self, _: str) -> None:
        """A head that never ends, always a little before a read time-out."""
        try:
            while not self.server.stop.wait(0.05):
                self.wfile.write(b"X")
        except OSError:
            pass

    def busy_page(self, rest: str) -> None:
        """Busy until it has been asked as often as the path says."""
        if self.server.notes.asked[self.path[1:]] < int(rest):
            self.send(b"busy", 503, Retry_After="0")
        else:
            self.send(PICTURE)

    def to_page(self, target: str) -> None:
        self.send(b"", 302, Location=target.replace("PORT", str(self.server.server_port)))

    def loop_page(self, _: str) -> None:
        self.send(b"", 301, Location="/loop")

    def bucket_page(self, key: str) -> None:
        """What an S3 server answers to a request for an object."""
        if key != "a/pic.png":
            missing = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>'
            self.send(missing, 404, Content_Type="application/xml")
        else:
            self.send(PICTURE, ETag='"1"', Last_Modified="Mon, 01 Jan 2024 00:00:00 GMT")


@pytest.fixture
def server() -> Iterator[Server]:
    running = ThreadingHTTPServer((HERE, 0), Handler)
    running.daemon_threads = True
    running.notes = Server(running.server_port)  # type: ignore[attr-defined]
    running.stop = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
    thread.start()
    yield running.notes  # type: ignore[attr-defined]
    running.stop.set()  # type: ignore[attr-defined]
    running.shutdown()
    running.server_close()
    thread.join()


def get(uri: str, folder: Path, resolve: ssrf_guard.Resolve = ssrf_guard.resolve, **settings: Any) -> Path | Problem:
    config = FetchConfig(**{"allow_hosts": (HERE,), "attempts": 1, "deadline_s": 30, **settings})
    return fetch(uri, folder / "data", folder / "images", config, MAX_BYTES, resolve)


def problem(found: Path | Problem, *words: str) -> str:
    """The class of a problem whose message holds all of `words`."""
    assert isinstance(found, Problem)
    for word in words:
        assert word in found.message
    return found.error


def test_an_image_is_kept_by_its_content_and_asked_for_once(server: Server, tmp_path: Path) -> None:
    one = get(server.url("good/a?size=2"), tmp_path)
    other = get(server.url("good/b"), tmp_path)
    assert isinstance(one, Path) and one == other
    assert one.read_bytes() == PICTURE
    assert one.parent.parent == tmp_path / "images" and one.suffix == ".png" and one.stem[:2] == one.parent.name
    assert get(server.url("good/a?size=2"), tmp_path) == one
    assert server.asked == {"good/a?size=2": 1, "good/b": 1}


def test_many_at_once_ask_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: get(server.url("good"), tmp_path), range(16)))
    assert len(found) == 1
    assert server.asked == {"good": 1}


@pytest.mark.parametrize("torn", [b"", b'{"file": "ab/c', b'{"file": "ab/gone.png", "uri": ""}\n'])
def test_what_a_kill_leaves_is_fetched_again(server: Server, tmp_path: Path, torn: bytes) -> None:
    path = get(server.url("good"), tmp_path)
    (note,) = (note for note in (tmp_path / "images" / "index").rglob("*") if note.is_file())
    assert json.loads(note.read_bytes())["uri"] == server.url("good")
    note.write_bytes(torn)
    assert get(server.url("good"), tmp_path) == path
    assert server.asked["good"] == 2
    assert get(server.url("good"), tmp_path) == path
    assert server.asked["good"] == 2


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("gone", "MissingImage", "answered 404 Not Found"),
        ("html", "NotAnImage", "is text, not an image"),
        ("huge/announced", "ImageTooLarge", "has 9000000 bytes"),
        ("huge/", "ImageTooLarge", "more than the 20000 bytes"),
        ("half", "ConnectionFailed", "could not be downloaded"),
        ("busy/9", "RefusedImage", "503 Service Unavailable"),
        ("loop", "TooManyRedirects", "more than 5 times"),
        ("to/file:///etc/passwd", "ForbiddenAddress", "not an http(s) address"),
        ("to/http://[::1]:PORT/good", "ForbiddenAddress", "::1, which is not public"),
        ("to/http://127.0.0.2:PORT/good", "ForbiddenAddress", "127.0.0.2, which is not public"),
        ("to/http://169.254.169.254/latest", "ForbiddenAddress", "169.254.169.254"),
    ],
)
def test_what_goes_wrong_is_a_value_with_a_true_reason(
    server: Server, tmp_path: Path, path: str, error: str, words: str
) -> None:
    found = get(server.url(path), tmp_path)
    assert problem(found, server.url(path), words) == error
    assert not list((tmp_path / "images").rglob("*.*"))


def test_reading_stops_at_the_limit(server: Server, tmp_path: Path) -> None:
    get(server.url("huge/"), tmp_path)
    until(lambda: server.asked["hung up on"] == 1)


@pytest.mark.parametrize(("path", "settings"), [("silent", {"read_timeout_s": 0.2}), ("drip", {"deadline_s": 0.4})])
def test_neither_silence_nor_dripping_holds_an_image_up(
    server: Server, tmp_path: Path, path: str, settings: dict[str, float]
) -> None:
    # The server hangs up on silence after five seconds, and never ends a head that drips: who waits for that sees no
    # time-out, or never comes back.
    assert problem(get(server.url(path), tmp_path, **settings), "timed out") == "TimedOut"


def test_what_passes_is_tried_again_and_what_stays_is_not(server: Server, tmp_path: Path) -> None:
    assert isinstance(get(server.url("busy/3"), tmp_path, attempts=3), Path)
    assert isinstance(get(server.url("gone"), tmp_path, attempts=3), Problem)
    assert server.asked == {"busy/3": 3, "gone": 1}


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    assert isinstance(get(server.url(f"to/{server.url('to//good')}"), tmp_path), Path)


@pytest.mark.parametrize("host", [HERE, "localhost", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"])
def test_no_spelling_of_this_machine_is_asked(server: Server, tmp_path: Path, host: str) -> None:
    assert problem(get(server.url("good", host), tmp_path, allow_hosts=())) in ("ForbiddenAddress", "UnknownHost")
    assert not server.asked


def test_a_name_is_resolved_once_and_connected_to_where_it_was_checked(server: Server, tmp_path: Path) -> None:
    answers = iter([[HERE], ["127.0.0.9"]])
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return next(answers)

    uri = server.url("good", "Pictures.example")
    assert isinstance(get(uri, tmp_path, resolve, allow_hosts=("pictures.EXAMPLE",)), Path)
    assert asked == ["pictures.example"]
    assert problem(get(uri + "2", tmp_path, resolve, allow_hosts=())) == "ForbiddenAddress"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::5db8:d822", True),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("192.0.0.8", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("fd00::1", False),
        ("fe80::1%1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_only_public_addresses_are_public(text: str, public: bool) -> None:
    assert ssrf_guard.is_public(text) is public


def test_one_private_address_bars_the_host_and_unknown_hosts_are_named() -> None:
    found = ssrf_guard.allowed_addresses("x.example", 80, (), lambda *_: ["93.184.216.34", "10.0.0.1"])
    assert isinstance(found, Problem) and found.error == "ForbiddenAddress"

    def unknown(*_: object) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    found = ssrf_guard.allowed_addresses("x.example", 80, (), unknown)
    assert isinstance(found, Problem) and (found.error, found.retry_s) == ("UnknownHost", 1.0)


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("ftp://x.example/a.png", "ForbiddenAddress"),
        ("data:image/png;base64,AAAA", "ForbiddenAddress"),
        ("http:///a.png", "ForbiddenAddress"),
        ("http://127.0.0.1:99999/a.png", "BrokenAddress"),
        ("http://x.example/a.png", "UnknownHost"),
        ("http://[::1/a.png", "BrokenAddress"),
        ("http://a..b/a.png", "UnknownHost"),
        ("file://host/a.png", "BrokenAddress"),
        ("a\0.png", "BrokenAddress"),
        ("s3://bucket/a.png", "ForbiddenAddress"),
    ],
)
def test_strange_addresses_are_refused(tmp_path: Path, uri: str, error: str) -> None:
    found = get(uri, tmp_path, lambda host, _: [host] if host == HERE else [])
    assert isinstance(found, Problem) and found.error == error


def test_messages_keep_signatures_and_passwords_to_themselves(server: Server, tmp_path: Path) -> None:
    uri = f"http://user:secret@{HERE}:{server.port}/gone?signature=secret"
    found = get(uri, tmp_path)
    assert isinstance(found, Problem) and "secret" not in found.message


def test_local_images_stay_where_they_are_but_inside_the_root(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for folder in (data, other):
        folder.mkdir()
        (folder / "a b.png").write_bytes(PICTURE)
    (data / "link.png").symlink_to(other / "a b.png")
    (data / "circle").symlink_to(data / "circle")
    assert get(str(data / "a b.png"), tmp_path) == data / "a b.png"
    assert get(f"file://{data}/a%20b.png", tmp_path) == data / "a b.png"
    for outside in (other / "a b.png", data / ".." / "other" / "a b.png", data / "link.png"):
        assert problem(get(str(outside), tmp_path), "fetch.allow_roots") == "ForbiddenAddress"
        assert get(str(outside), tmp_path, allow_roots=(str(other),)) == outside
    assert isinstance(get(str(data / "circle" / "a.png"), tmp_path), Problem | Path)
    assert not (tmp_path / "images").exists()


def test_a_compressed_answer_that_was_not_requested_is_not_an_image(tmp_path: Path) -> None:
    from imageref_ray.sources.download_cache import fetch_once

    assert isinstance(fetch_once(tmp_path, "u", lambda: gzip.compress(PICTURE)), Problem)
    assert isinstance(fetch_once(tmp_path, "u", lambda: b""), Problem)
    assert isinstance(fetch_once(tmp_path, "u", lambda: PICTURE), Path)


def test_a_folder_that_cannot_be_written_is_a_problem_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "images").touch()
    assert problem(get(server.url("good"), tmp_path), "cannot be stored") == "NotKept"


@pytest.mark.parametrize(
    ("key", "error"), [("a/pic.png", ""), ("a/gone.png", "MissingImage"), ("other/pic.png", "ForbiddenAddress")]
)
def test_objects_come_through_the_real_client_from_allowed_buckets_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, error: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = {"s3_endpoint": f"http://{HERE}:{server.port}", "s3_region": "us-east-1", "anonymous": True}
    found = get(f"s3://bucket/{key}", tmp_path, allow_roots=("s3://bucket/a",), **settings)
    assert (found.error if isinstance(found, Problem) else "") == error
    if not error:
        assert isinstance(found, Path) and found.read_bytes() == PICTURE
    assert bool(server.asked) is (error != "ForbiddenAddress")


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
