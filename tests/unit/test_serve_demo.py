"""The demo page over HTTP: its files and their policy, its examples, samples of runs; what is open and what is not."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from imageref_ray.batch import manifest, store
from imageref_ray.commands.demo_page import endpoint_settings
from imageref_ray.core.config import DemoConfig, ScriptedConfig
from imageref_ray.core.records import Failure, Placement, Record, to_row
from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.events import response
from imageref_ray.serving import demo_runs
from imageref_ray.serving.arguments import read_settings
from imageref_ray.serving.demo import FOLDER
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.keys import make_key
from tests.endpoint import Scripted, ask, endpoint
from tests.scripted import annotator, inquirer

KEY, SUM = make_key()
FILES = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|createContextualFragment"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished build of seven events, of which one failed, and an unfinished run in a folder below."""
    folder = tmp_path_factory.mktemp("runs")
    events = list(corpus.make_events(corpus.SEEDS["test"], 7))
    corpus.write_images(folder / "corpus", events[:1])
    build = folder / "build"
    manifest.begin(build, {"job": "build"})
    failed = Failure(events[6].id, "respond", "ParseError", "the reply has no title")
    store.Store(build, 1).write([_result(event, folder / "corpus") for event in events[:6]], [failed])
    manifest.finish(build, {}, {"job": "build"}, {"records": 6})
    other = folder / "deep" / "er" / "instruct"
    manifest.begin(other, {"job": "instruct"})
    store.Store(other, 1).write([store.Result("a", {"question": "<b>What?</b>"})], [])
    return folder


def _result(event: Any, root: Path) -> store.Result:
    sample = corpus.sample(event, root)
    chosen = (Placement(slot, sample.images[k - 1].id if k else None) for slot, k in corpus.placements(event).items())
    return store.Result(event.id, to_row(Record(sample, response(event), (), tuple(chosen))))


plain = functools.cache(endpoint)
"""An endpoint as it is without settings."""


def get(path: str, app: Any = None, **headers: str) -> Any:
    return ask(app or plain(), "GET", path, headers=headers)


@pytest.mark.parametrize("path", ["/demo", *(f"/demo/{name}" for name in FILES), "/demo/examples"])
def test_everything_of_the_page_comes_with_its_policy_and_is_sent_once(path: str) -> None:
    first = get(path)
    assert first.status_code == 200
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in first.headers["content-security-policy"]
    assert "unsafe" not in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    again = get(path, **{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert get(path, **{"if-none-match": '"another"'}).content == first.content


def test_the_page_names_only_files_that_are_there_and_nothing_is_inline() -> None:
    tree = html.fromstring(get("/demo").text)
    named = {*tree.xpath("//script/@src"), *tree.xpath("//link[@rel='stylesheet']/@href")}
    assert named == {"demo/page.js", "demo/style.css"}
    assert not tree.xpath("//script[not(@src)] | //style | //@style | //@*[starts-with(name(), 'on')]")
    for path in FOLDER.glob("*.js"):
        imported = re.findall(r'from "\./([\w.]+)"', path.read_text(encoding="utf-8"))
        assert set(imported) <= set(FILES), path
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    assert {*tree.xpath("//@aria-controls"), *tree.xpath("//@aria-labelledby"), *tree.xpath("//@for")} <= set(ids)


def test_no_script_makes_markup_of_a_string_but_the_one_that_copies_it() -> None:
    for path in FOLDER.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        assert not MARKUP.search(source), path
        assert ("DOMParser" in source) == (path.name == "sanitised.js")


def test_with_keys_the_page_is_open_and_runs_are_not(runs: Path) -> None:
    app = endpoint(keys=({"name": "Ann", "sha256": SUM},), runs=runs)
    for path in ("/demo", "/demo/page.js", "/demo/examples"):
        assert get(path, app).status_code == 200
    for path in ("/demo/runs", "/demo/runs/build"):
        assert get(path, app).status_code == 401
        assert get(path, app, authorization=f"Bearer {KEY}").status_code == 200


def test_the_page_can_be_left_out() -> None:
    app = endpoint(demo=False)
    assert {get(path, app).status_code for path in ("/demo", "/demo/page.js", "/demo/examples", "/demo/runs")} == {404}


def test_a_slash_too_many_leads_to_the_page_and_other_names_lead_nowhere() -> None:
    slash = get("/demo/")
    assert (slash.status_code, slash.headers["location"]) == (307, "../demo")
    for path in ("/demo/index.html", "/demo/../app.py", "/demo/%2e%2e/app.py", "/demo/examples/1"):
        answer = get(path)
        assert answer.status_code == 404 and answer.json()["error"]["message"]


def test_an_example_is_what_the_endpoint_answers() -> None:
    offered = get("/demo/examples").json()
    assert len({event["id"] for event in offered["events"]}) == len(offered["events"]) == 6
    first = offered["events"][0]
    documents = get(f"/demo/examples/{first['id']}").json()["documents"]
    assert all(len(document["images"]) == len(document["names"]) for document in documents)
    sent = [{key: document[key] for key in ("id", "title", "text", "images")} for document in documents]
    body = {"question": first["questions"][0], "documents": sent, "method": "staged"}
    answer = ask(endpoint(Scripted(annotator)), "POST", "/v1/reference", json=body).json()
    assert answer["references"] and not answer["left_out"]
    assert {reference["document"] for reference in answer["references"]} <= {document["id"] for document in documents}


def test_every_example_picture_can_be_asked_about() -> None:
    pictures = get("/demo/examples").json()["pictures"]
    assert len({picture["name"] for picture in pictures}) == 8 and all(picture["questions"] for picture in pictures)
    app = endpoint(Scripted(inquirer))
    for picture in pictures:
        answer = ask(app, "POST", "/v1/instructions", json={"image": picture["src"], "task": "conversation"})
        assert answer.json()["question"] == "What is shown?", answer.text


def test_runs_are_listed_by_their_place_below_the_folder(runs: Path) -> None:
    assert get("/demo/runs", endpoint(runs=runs)).json()["runs"] == [
        {"name": "build", "job": "build", "finished": True},
        {"name": "deep/er/instruct", "job": "instruct", "finished": False},
    ]
    assert get("/demo/runs", endpoint(runs=runs / "build")).json()["runs"][0]["name"] == "."
    assert get("/demo/runs").json() == {"runs": []}


def test_samples_come_page_by_page_with_their_pictures(runs: Path) -> None:
    app = endpoint(runs=runs)
    pages = [get(f"/demo/runs/build?offset={offset}&count=4", app).json() for offset in (0, 4, 8)]
    assert [len(page["samples"]) for page in pages] == [4, 2, 0]
    assert [sample["id"] for page in pages for sample in page["samples"]] == [f"4100000{n}" for n in range(6)]
    kind = {"error": "ParseError", "stage": "respond", "count": 1, "example": "the reply has no title"}
    assert (pages[0]["records"], pages[0]["failures"]) == (6, [kind])
    shown = [block["image"] for block in pages[0]["samples"][0]["blocks"] if block["kind"] == "slot" and block["image"]]
    assert shown and all(image["src"].startswith("data:image/jpeg") for image in shown)
    lost = [image for image in pages[1]["samples"][0]["unplaced"] if not image["src"]]
    assert all(image["problem"] for image in lost)
    (row,) = get("/demo/runs/deep/er/instruct", app).json()["samples"]
    assert (row["kind"], row["fields"]) == ("row", [["question", "<b>What?</b>"]])


@pytest.mark.parametrize("name", ["none", "../build", "..", ".", "corpus", "", "er\u0000", "er/../../build", "/etc"])
def test_only_listed_runs_are_read(name: str, runs: Path) -> None:
    with pytest.raises(WireError, match="there is no run") as refused:
        demo_runs.samples(runs / "deep", name, 0, 5)
    assert refused.value.status_code == 404


@pytest.mark.parametrize("query", ["offset=-1", "count=0", "count=1000", "offset=x"])
def test_a_page_out_of_bounds_is_refused(query: str, runs: Path) -> None:
    assert get(f"/demo/runs/build?{query}", endpoint(runs=runs)).status_code == 400


def test_a_damaged_run_is_one_sentence(tmp_path: Path) -> None:
    manifest.begin(tmp_path / "run", {"job": "build"})
    (tmp_path / "run" / "records").mkdir()
    (tmp_path / "run" / "records" / "part-1.parquet").write_bytes(b"no parquet")
    answer = get("/demo/runs/run", endpoint(runs=tmp_path))
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the run `run` cannot be read; see it with imageref inspect"
    (tmp_path / "run" / "fingerprint.json").write_text("{")
    assert get("/demo/runs", endpoint(runs=tmp_path)).json()["runs"][0]["job"] == "damaged"


def test_a_demo_is_served_with_what_it_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DemoConfig(engine=ScriptedConfig(script="a:b"), output=tmp_path / "demo", train={}, instruct={})
    assert endpoint_settings(config) == []
    student = tmp_path / "demo" / "train" / "model"
    student.mkdir(parents=True)
    assert endpoint_settings(config) == [f"runs={tmp_path / 'demo'}"]
    (student / "config.json").write_text(json.dumps({}))
    monkeypatch.chdir(tmp_path)
    settings = read_settings(dict(text.split("=", 1) for text in endpoint_settings(config)))
    assert (settings.model, settings.method, settings.runs) == (str(student), "direct", tmp_path / "demo")
