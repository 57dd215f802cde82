"""s3: and gs: pictures through Arrow's own clients: signed requests to moto's S3, one GET to Google."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from urllib.request import Request, urlopen

import boto3
import PIL.Image
import pytest
from moto.server import ThreadedMotoServer

from imageref_ray.commands.instruct_work import prepare, to_work
from imageref_ray.core.config import ConfigError, FetchConfig, ImagesConfig, check
from imageref_ray.core.images import Problem
from imageref_ray.core.records import Image, from_row
from imageref_ray.sources import image_sets
from imageref_ray.sources.fetch import fetch
from imageref_ray.sources.fetch_object_store import names
from tests.loopback import deaf_port

HERE = "127.0.0.1"
MAX_BYTES = 20_000
KEY = "a/red boat.png"


def png() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), "red").save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()
OBJECTS = {KEY: PICTURE, "a/large.png": PICTURE + bytes(MAX_BYTES)}


def get(uri: str, folder: Path, **settings: Any) -> Path | Problem:
    config = FetchConfig(**{"attempts": 1, "deadline_s": 30, "allow_roots": (uri.rpartition("/")[0],), **settings})
    return fetch(uri, folder / "data", folder / "images", config, MAX_BYTES)


def problem(found: Path | Problem, *words: str) -> str:
    """The class of a problem whose message holds all of `words`."""
    assert isinstance(found, Problem)
    for word in words:
        assert word in found.message
    return found.error


class Answers(BaseHTTPRequestHandler):
    """A store of objects, short of what it answers."""

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *values: Any) -> None:
        return


@contextmanager
def serving(handler: type[Answers]) -> Iterator[str]:
    """The address at which `handler` answers."""
    server = ThreadingHTTPServer((HERE, 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://{HERE}:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Bucket:
    """A running S3 server and the keys of somebody who may read everything in it."""

    url: str
    id: str
    secret: str

    def settings(self, who: str) -> dict[str, Any]:
        """Clients are kept by their settings: `who` makes another one, which reads the environment anew."""
        return {"s3_endpoint": self.url, "s3_region": "us-east-1", "user_agent": who}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket on moto's S3, which knows the rules of Amazon's."""
    running = ThreadedMotoServer(HERE, 0, verbose=False)
    running.start()
    url = f"http://{HERE}:{running.get_host_and_port()[1]}"
    client = partial(
        boto3.client, endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
    )
    store, people = client("s3"), client("iam")
    store.create_bucket(Bucket="pictures")
    for key, body in OBJECTS.items():
        store.put_object(Bucket="pictures", Key=key, Body=body)
    rule = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    people.create_user(UserName="reader")
    people.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=json.dumps(rule))
    keys = people.create_access_key(UserName="reader")["AccessKey"]
    # From now on every request must be signed by somebody known.
    urlopen(Request(f"{url}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"})).close()
    yield Bucket(url, keys["AccessKeyId"], keys["SecretAccessKey"])
    running.stop()


@pytest.fixture
def signed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, whose reader's keys are in the environment."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.secret)
    return bucket


def test_an_object_comes_with_the_keys_of_the_environment(signed: Bucket, tmp_path: Path) -> None:
    found = get(f"s3://pictures/{KEY}", tmp_path, **signed.settings("reader"))
    assert isinstance(found, Path) and found.read_bytes() == PICTURE
    quoted = get(f"s3://pictures/{KEY.replace(' ', '%20')}", tmp_path / "other", **signed.settings("reader"))
    assert isinstance(quoted, Path) and quoted.read_bytes() == PICTURE


@pytest.mark.parametrize(
    ("uri", "error", "word"),
    [
        ("s3://pictures/a/gone.png", "MissingImage", "does not exist"),
        ("s3://nothing/a/gone.png", "MissingImage", "does not exist"),
        ("s3://pictures/a/large.png", "ImageTooLarge", "20000 bytes"),
    ],
)
def test_what_is_not_there_or_too_large_is_said(
    signed: Bucket, tmp_path: Path, uri: str, error: str, word: str
) -> None:
    assert problem(get(uri, tmp_path, **signed.settings("reader")), uri, word) == error


def test_wrong_keys_are_a_refusal_and_not_a_broken_line(
    signed: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://pictures/{KEY}"
    stranger = get(uri, tmp_path, **signed.settings("stranger"), anonymous=True)
    assert problem(stranger, uri, "unset fetch.anonymous") == "RefusedImage"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    guesser = get(uri, tmp_path, **signed.settings("guesser"))
    assert problem(guesser, uri, "check the credentials") == "RefusedImage"
    assert "guessed" not in str(guesser)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    assert problem(get(uri, tmp_path, **signed.settings("nobody"))) == "RefusedImage"
    assert not list((tmp_path / "images").rglob("*.png"))


def test_a_bucket_is_listed_by_name_and_in_order(signed: Bucket) -> None:
    config = check(FetchConfig, signed.settings("reader"), "test")
    assert names("s3://pictures/a", config) == names("s3://pictures/a/", config) == ["large.png", "red boat.png"]
    assert names("s3://pictures", config) == ["a/large.png", KEY]
    assert names("s3://pictures/none", config) == names("s3://nothing", config) == []


def test_a_bucket_is_a_root_of_images_to_ask_about(signed: Bucket, tmp_path: Path) -> None:
    settings = {"root": "s3://pictures/a", "fetch": signed.settings("reader"), "max_image_bytes": MAX_BYTES}
    config = check(ImagesConfig, settings, "test")
    large, boat = image_sets.read(config.kind, config.root, fetching=config.fetch)
    assert isinstance(large, Image) and isinstance(boat, Image)
    assert boat == Image("red boat.png", "s3://pictures/a/red%20boat.png")
    row, failures = prepare(to_work(boat), config, tmp_path / "images")
    found = from_row(Image, row["image"])
    assert not failures and (found.id, found.origin, found.width) == (boat.id, boat.uri, 8)
    assert Path(found.uri).is_relative_to(tmp_path / "images") and Path(found.uri).read_bytes() == PICTURE
    (failure,) = prepare(to_work(large), config, tmp_path / "images")[1]
    assert (failure.record_id, failure.stage, failure.error) == ("large.png", "fetch", "ImageTooLarge")
    with pytest.raises(ConfigError, match=r"s3://pictures/none has no image of a known format"):
        list(image_sets.read("folder", "s3://pictures/none", fetching=config.fetch))


def test_a_bucket_that_cannot_be_listed_is_one_clear_line(signed: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    guesser = check(FetchConfig, signed.settings("lister"), "test")
    with pytest.raises(ConfigError, match=r"^s3://pictures cannot be read, access is denied; check the credentials"):
        names("s3://pictures", guesser)


@dataclass
class Google:
    """A running store that answers as Google's does to one kind of request; `asked` are the paths."""

    url: str
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def google() -> Iterator[Google]:
    errors = {"a/secret.png": (403, "no access"), "a/private.png": (401, "log in"), "a/busy.png": (503, "busy")}

    class Handler(Answers):
        def do_GET(self) -> None:
            notes.asked.append(self.path)
            path, _, query = self.path.partition("?")
            if query.startswith("prefix="):
                found = [{"kind": "storage#object", "bucket": "pictures", "name": key} for key in OBJECTS]
                self.send(200, json.dumps({"kind": "storage#objects", "items": found}).encode())
                return
            assert query == "alt=media"
            key = unquote(path.removeprefix("/storage/v1/b/pictures/o/"))
            code, message = errors.get(key, (404, "No such object"))
            error = json.dumps({"error": {"code": code, "message": message}}).encode()
            self.send(*((200, OBJECTS[key]) if key in OBJECTS else (code, error)))

    with serving(Handler) as url:
        notes = Google(url)
        yield notes


def test_a_google_bucket_is_listed_in_one_request(google: Google) -> None:
    config = check(FetchConfig, {"gs_endpoint": google.url, "anonymous": True}, "test")
    assert names("gs://pictures/a", config) == ["large.png", "red boat.png"]
    assert len(google.asked) == 1


def test_a_google_object_comes_in_one_request(google: Google, tmp_path: Path) -> None:
    found = get(f"gs://pictures/{KEY}", tmp_path, gs_endpoint=google.url, anonymous=True)
    assert isinstance(found, Path) and found.read_bytes() == PICTURE
    assert google.asked == ["/storage/v1/b/pictures/o/a%2Fred%20boat.png?alt=media"]


@pytest.mark.parametrize(
    ("key", "error", "word"),
    [
        ("a/gone.png", "MissingImage", "does not exist"),
        ("a/secret.png", "RefusedImage", "no access"),
        ("a/private.png", "RefusedImage", "unset fetch.anonymous"),
        ("a/large.png", "ImageTooLarge", "20000 bytes"),
    ],
)
def test_what_google_does_not_give_is_said(google: Google, tmp_path: Path, key: str, error: str, word: str) -> None:
    uri = f"gs://pictures/{key}"
    assert problem(get(uri, tmp_path, gs_endpoint=google.url, anonymous=True), uri, word) == error


@pytest.mark.timeout(120)  # Google's own client tries again for a quarter of an hour
def test_a_busy_google_does_not_hold_a_sample_for_longer_than_its_deadline(google: Google, tmp_path: Path) -> None:
    found = get("gs://pictures/a/busy.png", tmp_path, gs_endpoint=google.url, anonymous=True, deadline_s=1)
    assert problem(found, "busy") == "ConnectionFailed"


def test_a_google_bucket_that_is_not_allowed_is_not_asked(google: Google, tmp_path: Path) -> None:
    found = get(f"gs://pictures/{KEY}", tmp_path, gs_endpoint=google.url, anonymous=True, allow_roots=())
    assert problem(found, "add gs://pictures to fetch.allow_roots") == "ForbiddenAddress"
    assert google.asked == []


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_store_that_is_not_there_is_a_failed_connection(tmp_path: Path, scheme: str) -> None:
    with deaf_port() as port:
        settings = {f"{scheme}_endpoint": f"http://{HERE}:{port}", "anonymous": True, "deadline_s": 1}
        assert problem(get(f"{scheme}://pictures/{KEY}", tmp_path, **settings, s3_region="x")) == "ConnectionFailed"


@pytest.mark.parametrize("endpoint", ["minio:9000", "http://", "http://minio:9000/pictures", "ftp://minio"])
def test_an_endpoint_that_is_none_is_said_before_anything_is_fetched(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"s3_endpoint: .* is not a server address; expected http\(s\)://host:port"):
        check(FetchConfig, {"s3_endpoint": endpoint}, "test")
