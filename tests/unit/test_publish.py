"""A finished build goes to a hub: card, files, images, once each, resumed where it stopped; bad news in sentences."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pytest

from imageref_ray import sources
from imageref_ray.batch import manifest, store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.commands.annotation.passes import verify
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.build import fingerprint_settings
from imageref_ray.commands.cli import main
from imageref_ray.core.config import BuildConfig, ConfigError, check
from imageref_ray.core.records import Placement, Record, from_row, to_row
from imageref_ray.dataset import hub
from imageref_ray.dataset.check import check as check_dataset
from imageref_ray.dataset.export import Origin, export, make_target
from imageref_ray.picturenews import corpus


@dataclass
class Hub:
    """The few addresses of a hub that an upload needs: one data set, `user/set`.

    `files` is what it holds; a commit is answered with the next status of `commits`, then with 200.
    """

    url: str = ""
    private: bool | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[int] = field(default_factory=list)
    committed: list[list[str]] = field(default_factory=list)

    def tree(self) -> list[dict[str, Any]]:
        """Files as a hub lists them: git objects, and large files (here Parquet) by their content."""
        listed = []
        for path, data in self.files.items():
            oid = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            entry = {"type": "file", "path": path, "size": len(data), "oid": oid}
            if path.endswith(".parquet"):
                large = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                entry |= {"oid": "0" * 40, "lfs": large}
            listed.append(entry)
        return listed

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path.endswith("/repos/create"):
            self.private, self.files[".gitattributes"] = json.loads(body)["visibility"] == "private", b"x"
            return 200, {"url": f"{self.url}/datasets/user/set"}
        if path.endswith("/validate-yaml"):
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        if "/commit/" in path:
            if self.commits and (status := self.commits.pop(0)) != 200:
                return status, {"error": "no space left"}
            self.commit([json.loads(line) for line in body.splitlines()])
            return 200, {"success": True, "commitUrl": f"{self.url}/datasets/user/set/commit/1", "commitOid": "1"}
        if "/tree/" in path:
            return 200, self.tree()
        if self.private is None:
            return 404, {"error": "Repository not found"}
        return 200, {"id": "user/set", "private": self.private, "sha": "1"}

    def commit(self, lines: list[dict[str, Any]]) -> None:
        self.committed.append([line["value"]["path"] for line in lines if line["key"] == "file"])
        for line in lines:
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.files[line["value"]["path"]]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, which HF_ENDPOINT and HF_TOKEN name."""
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            known = self.headers.get("authorization", "")[len("Bearer ") :]
            if known == "good" or (known == "reader" and self.command == "GET"):
                status, value = served.answer(self.path, body)
            else:
                status, value = {"reader": 403}.get(known, 401), {"error": "no"}
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *values: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", "good")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished build of three events."""
    root, output = tmp_path_factory.mktemp("news"), tmp_path_factory.mktemp("build") / "run"
    corpus.write(root, 3, 5)
    engine = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}
    formats = ["plain", "messages", "sharegpt", "records", "mixture"]
    values = {"source": {"root": root}, "output": output, "engine": engine, "export": {"formats": formats}}
    config = check(BuildConfig, values, "test")
    found = [item for item in sources.read(config.source) if isinstance(item, Record)]
    records = [_finished(record, config) for record in found]
    store.Store(output).write([store.Result(record.id, to_row(record)) for record in records], [])
    recipe = make_recipe(config)
    settings = fingerprint_settings(config, recipe)
    manifest.begin(output, settings, config.model_dump(mode="json"))
    target = make_target(root, recipe.pack, config.export)
    files = export(output / "dataset", lambda: iter(records), target, Origin())
    manifest.finish(output, config.model_dump(mode="json"), settings, {"records": 3, "files": files})
    return output


def _finished(record: Record, config: BuildConfig) -> Record:
    row, _ = verify({"id": record.id, "record": to_row(record)}, config.source, config.output / "images", 50)
    verified = from_row(Record, row["record"])
    first = verified.sample.images[0].id
    return Record(verified.sample, "# Day\nOverview.\n### Harbour\nBoats.", (), (Placement(1), Placement(2, first)))


def publish(run: Path, *more: str, to: str = "user/set") -> int:
    return main(["publish", str(run), "--to", to, *more])


def test_a_published_set_works_where_it_is_downloaded(
    run: Path, at: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(run) == 0
    printed = capsys.readouterr().out
    assert f"published: {at.url}/datasets/user/set" in printed and "licence: unknown" in printed
    assert at.private is True and sorted(path.name for path in run.iterdir() if "publish" in path.name) == []
    for name, data in at.files.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    copy = tmp_path / "copy"
    assert (copy / "README.md").read_bytes() == (run / "dataset" / "README.md").read_bytes()
    report = check_dataset(copy / "annotation.plain.jsonl")  # with the root that mixture.json names
    assert (report.samples, report.unchecked, report.kinds) == (3, 0, {}) and report.images > 3
    assert json.loads((copy / "mixture.json").read_text())["imageref"]["root"] == "."
    assert str(run) not in b"".join(at.files.values()).decode("utf-8", "replace")
    rows = datasets.load_dataset(str(copy), "records", cache_dir=str(tmp_path / "cache"))["train"]
    images = [image["uri"] for row in rows for document in row["sample"]["documents"] for image in document["images"]]
    assert images and all((copy / uri).is_file() for uri in images)


def test_an_upload_that_stopped_goes_on_with_what_is_missing(
    run: Path, at: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at.commits = [500]
    assert publish(run) == 1
    said = capsys.readouterr().err
    assert "answered 500 (no space left); 0 of " in said and "Run the same command again to resume" in said
    assert publish(run) == 0
    (names,) = at.committed
    assert names[-1] == "README.md" and len(set(names)) == len(names)
    capsys.readouterr()
    assert publish(run) == 0 and len(at.committed) == 1  # all is there
    assert f"user/set: {len(names)} of {len(names)} files are there" in capsys.readouterr().out


def test_every_file_is_sent_once_over_a_failure_in_the_middle(at: Hub, tmp_path: Path) -> None:
    for name in ("README.md", "a.jsonl", "b/c.jpg", "d.parquet", "e.json"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(name.encode())
    api, lines = hub.connect("user/set"), list[str]()
    at.commits = [200, 400]
    with pytest.raises(RunFailed, match=r"400 \(no space left\); 2 of 5 files were uploaded"):
        hub.upload(api, tmp_path / "f", "user/set", False, False, lines.append, at_once=2)
    assert "README.md" not in at.files  # the card comes with the last files
    hub.upload(api, tmp_path / "f", "user/set", False, False, lines.append, at_once=2)
    assert at.committed == [["a.jsonl", "b/c.jpg"], ["d.parquet", "e.json"], ["README.md"]]
    assert "user/set: 2 of 5 files are there" in lines
    (tmp_path / "f" / "e.json").unlink()
    (tmp_path / "f" / "d.parquet").write_bytes(b"D.parquet")
    with pytest.raises(ConfigError, match=r"has other files \(e\.json\)"):
        hub.upload(api, tmp_path / "f", "user/set", False, False)
    hub.upload(api, tmp_path / "f", "user/set", False, True)
    assert at.committed[-1] == ["d.parquet"] and at.files["d.parquet"] == b"D.parquet"
    assert sorted(at.files) == [".gitattributes", "README.md", "a.jsonl", "b/c.jpg", "d.parquet"]


def test_a_dry_run_lists_files_and_sizes_and_asks_nobody(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert publish(run, "--dry-run") == 0
    printed = capsys.readouterr().out.splitlines()
    size = (run / "dataset" / "README.md").stat().st_size / 1e6
    assert f"{size:12,.3f} MB  README.md" in printed
    assert any("MB  images/ (" in line for line in printed) and "nothing was uploaded" in printed[-1]


@pytest.mark.parametrize(
    ("token", "more", "held", "says"),
    [
        ("bad", (), {}, "does not accept the token; set HF_TOKEN"),
        ("reader", (), {}, "may not write to user/set"),
        ("reader", (), {"private": True}, "may not write to user/set"),
        ("good", (), {"private": True, "files": {"mine.csv": b""}}, "exists and has other files (mine.csv)"),
        ("good", (), {"private": False}, "exists and is public; give --public"),
        ("good", ("--public",), {"private": True}, "exists and is private; leave --public out"),
        ("", (), {}, "no token for the hub; set HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    run: Path,
    at: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str,
    more: tuple[str, ...],
    held: dict[str, Any],
    says: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    for name, value in held.items():
        setattr(at, name, value)
    assert publish(run, *more) == 2
    assert says in capsys.readouterr().err and not at.committed


def test_a_hub_that_is_switched_off_is_one_sentence(
    run: Path, at: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert publish(run) == 2
    assert "HF_HUB_OFFLINE is set, so that nothing can be uploaded; unset it" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["set", "a/b/c", "user/-", "user/with space"])
def test_a_name_that_is_none_is_told_before_anything_is_asked(
    name: str, run: Path, at: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(run, to=name) == 2
    assert f"--to {name}: " in capsys.readouterr().err


def test_only_a_finished_build_with_all_its_images_is_published(
    run: Path, at: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(tmp_path) == 2 and "is not a run directory" in capsys.readouterr().err
    manifest.begin(tmp_path / "half", {"job": "build"}, {})
    assert publish(tmp_path / "half") == 2 and "is not finished" in capsys.readouterr().err
    manifest.begin(tmp_path / "other", {"job": "train"}, {})
    assert publish(tmp_path / "other") == 2 and "is a run of train" in capsys.readouterr().err
    image = from_row(Record, next(store.results(run)).row).sample.images[0]
    content = Path(image.uri).read_bytes()
    Path(image.uri).unlink()
    try:
        assert publish(run) == 2 and f"of {image.id} is missing" in capsys.readouterr().err
    finally:
        Path(image.uri).write_bytes(content)
