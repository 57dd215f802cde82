"""The page about a run: complete, escaped, self-contained, in every state of the run."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import inspection
from imageref_ray.commands.cli import main
from imageref_ray.commands.pages import figures
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Caption, Document, Failure, Image, Placement, Record, Sample, Usage, to_row
from imageref_ray.dataset.cards.card import MAX_TEXT, make_card
from imageref_ray.dataset.cards.thumbnails import find_near_duplicates, make_thumbnail
from imageref_ray.picturenews import draw

EVIL = "<script>alert('x')</script>\"' onload=\"alert(1)"
TEXT = "# A fair\nMuch to see.\n### Boats\nTwo boats came.\n### Songs"


def record(name: str, folder: Path, **changes: Any) -> Record:
    """Two images, one of them placed at slot 2."""
    images = []
    for k, colour in enumerate(("teal", "orange")):
        path = folder / f"{k}.png"
        PIL.Image.new("RGB", (800, 400), colour).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append(Image(f"{name}/{k}.png", str(path), sha256, 800, 400))
    document = Document(
        name, "The Post", "It rained.\n[Image 0]\nThen it did not.", tuple(images), "https://post.example"
    )
    built = Record(
        Sample(name, f"What happened at fair {name}?", (document,), "fairs"),
        TEXT,
        tuple(Caption(image.id, f"seen {k}", f"known {k}") for k, image in enumerate(images)),
        (Placement(1), Placement(2, f"{name}/0.png", "it shows boats"), Placement(3)),
    )
    return dataclasses.replace(built, **changes)


def build(folder: Path, records: list[Record], failures: list[Failure] = [], done: bool = True) -> Path:  # noqa: B006
    run = folder / "run"
    settings = {"engine": {"model": "tiny", "env": {"HF_TOKEN": "hf_verysecret"}}, "max_images": 50}
    manifest.begin(run, settings)
    results = [Result(r.id, to_row(r), Usage(8, 600 + 10 * k, 96, 32, 200)) for k, r in enumerate(records)]
    Store(run).write(results, failures)
    if done:
        manifest.finish(run, settings, settings, {"records": len(records), "seconds": 75, "tokens_per_second": 904})
    return run


def page_of(run: Path, samples: int = 48) -> str:
    page = inspection.write_page(inspection.read_view(run, samples), run / "inspect.html")
    assert page.bytes == (run / "inspect.html").stat().st_size
    return page.path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects tags with attributes and the text, and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.pieces)


def parsed(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def words(html: str) -> str:
    return " ".join(parsed(html).text.split())


def evil(value: Any) -> Any:
    """Every string of a record (ids and paths too) with markup in it."""
    if isinstance(value, str):
        return value + EVIL
    if isinstance(value, tuple):
        return tuple(map(evil, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{f.name: evil(getattr(value, f.name)) for f in dataclasses.fields(value)})
    return value


def test_nothing_from_data_or_models_becomes_markup(tmp_path: Path) -> None:
    good = record("1", tmp_path)
    (image, _), document = good.sample.images, good.sample.documents[0]
    sample = dataclasses.replace(evil(good.sample), documents=(dataclasses.replace(evil(document), images=(image,)),))
    sample = dataclasses.replace(sample, id=f"2{EVIL}")
    shown = evil(dataclasses.replace(good, captions=good.captions[:1]))
    shown = dataclasses.replace(shown, sample=sample, captions=(Caption(image.id, EVIL, EVIL),), placements=(
        Placement(1, image.id, EVIL, EVIL), Placement(2, EVIL), Placement(9, EVIL))
    )  # fmt: skip
    failures = [Failure(EVIL, EVIL, EVIL, EVIL, EVIL), Failure(sample.id, EVIL, EVIL, EVIL, EVIL)]
    run = build(tmp_path, [evil(good), shown], failures, done=False)
    Store(run).write([Result(EVIL, {EVIL: EVIL, "list": [EVIL]})], [])
    (run / "reason.json").write_text(json.dumps({"kind": "engine", "message": EVIL}))
    (run / "fingerprint.json").write_text(json.dumps({"fingerprint": EVIL, "settings": {EVIL: EVIL, "job": EVIL}}))
    page = parsed(page_of(run))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [(tag, name) for tag, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= 20
    assert any(attributes.get("alt") == EVIL for _, attributes in page.tags)


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded(tmp_path: Path) -> None:
    html = page_of(build(tmp_path, [record("1", tmp_path)]))
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    policies = [attributes["content"] for _, attributes in parsed(html).tags if attributes.get("http-equiv")]
    assert policies == [f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]
    sources = [attributes["src"] for _, attributes in parsed(html).tags if "src" in attributes]
    assert sources and all(source and source.startswith("data:image/jpeg;base64,") for source in sources)


def test_a_card_shows_the_answer_with_its_image_and_those_not_placed(tmp_path: Path) -> None:
    html = page_of(build(tmp_path, [record("7", tmp_path)]))
    text = words(html)
    assert "1 of 2 images placed" in text
    answer, rest = text.split("Images not placed", 1)
    assert "slot 1: no image" in answer
    assert "Two boats came. slot 2 · IMAGE_1 known 0 Description: seen 0 The Post" in answer
    assert "why this image it shows boats" in answer
    assert rest.lstrip().startswith("IMAGE_2 known 1 Description: seen 1")
    assert "It rained. IMAGE_1 Then it did not." in rest
    images = [attributes for tag, attributes in parsed(html).tags if tag == "img"]
    assert [attributes["alt"] for attributes in images] == ["known 0", "known 1"]
    packed = base64.b64decode(str(images[0]["src"]).partition(",")[2])
    assert PIL.Image.open(io.BytesIO(packed)).size == (320, 160)


def test_a_card_shows_what_the_document_says_about_an_image(tmp_path: Path) -> None:
    built = record("7", tmp_path)
    (document,) = built.sample.documents
    first, second = document.images
    told = dataclasses.replace(first, alt="the <fair>", caption="Figure 1: Rain")
    sample = dataclasses.replace(built.sample, documents=(dataclasses.replace(document, images=(told, second)),))
    text = words(page_of(build(tmp_path, [dataclasses.replace(built, sample=sample)])))
    assert "seen 0 In the document: Figure 1: Rain and: the <fair> The Post" in text
    assert text.count("In the document:") == 1


def test_settings_are_shown_and_secrets_are_not(tmp_path: Path) -> None:
    html = page_of(build(tmp_path, [record("1", tmp_path)]))
    assert "engine.model tiny" in words(html) and "max_images 50" in words(html)
    assert "engine.env.HF_TOKEN •••" in words(html)
    assert "hf_verysecret" not in html


def test_a_finished_run_shows_its_time_and_costs(tmp_path: Path) -> None:
    text = words(page_of(build(tmp_path, [record("1", tmp_path), record("2", tmp_path)])))
    assert "Finished" in text and "No record failed." in text
    assert "1 min 15 s" in text and "generated tokens/s as the run measured 904" in text
    assert "prompt tokens 1,210 median 605 per record" in text


def test_costs_that_the_endpoint_did_not_report_are_a_dash(tmp_path: Path) -> None:
    run = build(tmp_path, [record("1", tmp_path)])
    values = {"records": 1, "seconds": 75, "tokens_per_second": 904, "unreported": ["image_tokens"]}
    manifest.finish(run, {}, {}, values)
    text = words(page_of(run))
    assert "prompt tokens of images – the endpoint does not report them" in text
    assert "– prompt tokens of images · 32 prompt tokens from the cache" in text


def test_a_failed_run_says_what_stopped_it_and_how_to_resume(tmp_path: Path) -> None:
    failures = [Failure(str(k), "place", "ParseError", f"no slot {k}") for k in range(9)]
    failures.append(Failure("1", "verify", "MissingImage", "1/7.png does not exist", item="1/7.png"))
    run = build(tmp_path, [record("a", tmp_path)], failures, done=False)
    (run / "reason.json").write_text(json.dumps({"kind": "engine", "message": "the endpoint refuses"}))
    text = words(page_of(run))
    assert "Stopped by an error" in text and "It stopped: the endpoint refuses" in text
    assert f"run the same command again to resume: imageref build --config … --output {run}" in text
    assert "ParseError in place: 9 records" in text and "5 of 9 are shown." in text
    assert "MissingImage in verify: 1 item" in text and "1/7.png does not exist" in text


def test_a_run_that_ended_with_too_little_is_red_and_says_why(tmp_path: Path) -> None:
    failures = [Failure(str(k), "place", "ParseError", f"no slot {k}") for k in range(9)]
    run = build(tmp_path, [], failures)
    html = page_of(run)
    assert "Finished, but too few records succeeded" in words(html) and 'class="state wrong"' in html
    assert "0 of 9 records succeeded; most often ParseError in place (9 times), for example: no slot 0" in words(html)
    assert f"imageref retry {run}" in words(html)


def test_a_run_whose_results_are_worth_nothing_is_red_though_every_record_succeeded(tmp_path: Path) -> None:
    run = build(tmp_path, [record("a", tmp_path)], [])
    (run / "reason.json").write_text(json.dumps({"kind": "failed", "message": "0 of 3 instructions succeeded"}))
    html = page_of(run)
    assert "Finished, but too few records succeeded" in words(html) and 'class="state wrong"' in html
    assert "0 of 3 instructions succeeded" in words(html) and "imageref retry" not in words(html)


def test_an_unfinished_run_can_be_looked_at_any_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest.begin(run, {"job": "evaluate placement"})
    text = words(page_of(run))
    assert "Not finished" in text and "Nothing is committed yet." in text
    store = Store(run)
    store.begin("a")
    store.write([Result("a", {"id": "a", "guided": "# A\n<b>IMAGE_1</b>", "n": {"free": [1, 2]}})], [])
    text = words(page_of(run))
    assert "1 batch in flight" in text and "imageref evaluate placement --config" in text
    assert "guided # A <b>IMAGE_1</b> n.free [ 1, 2 ]" in text


def test_metrics_of_an_evaluation_are_its_outcome(tmp_path: Path) -> None:
    settings = {"job": "evaluate placement"}
    manifest.begin(tmp_path, settings)
    numbers = {"records": 1, "seconds": 12.0, "tokens_per_second": 3.0}
    manifest.finish(tmp_path, {}, settings, {"guided": {"f1": 0.25, "intervals": {"f1": [0.1, 0.4]}}, "run": numbers})
    text = words(page_of(tmp_path))
    assert "guided f1 0.25 intervals.f1 0.1 – 0.4" in text and "12 s" in text


def test_an_image_that_is_missing_or_changed_is_reported_in_its_place(tmp_path: Path) -> None:
    run = build(tmp_path, [record("1", tmp_path)])
    (tmp_path / "0.png").unlink()
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "1.png")
    text = words(page_of(run))
    assert f"not shown: {tmp_path / '0.png'} does not exist" in text
    assert "1.png has changed since the run" in text


def test_relative_images_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    run = tmp_path / "runs" / "build"
    run.mkdir(parents=True)
    monkeypatch.chdir(run)
    assert make_thumbnail(Image("d/0.png", "0.png"), run).src


def test_copies_are_near_duplicates_and_different_images_are_not(tmp_path: Path) -> None:
    rng = random.Random(3)
    first = PIL.Image.radial_gradient("L").convert("RGB")
    second = PIL.Image.linear_gradient("L").convert("RGB")
    copy, worse = draw.near_duplicate(first, rng)
    for k, (picture, quality) in enumerate([(first, 90), (second, 90), (copy, worse)]):
        picture.save(tmp_path / f"{k}.jpg", quality=quality)
    thumbnails = [make_thumbnail(Image(f"d/{k}.jpg", str(tmp_path / f"{k}.jpg")), tmp_path) for k in range(4)]
    assert find_near_duplicates(thumbnails) == [[2], [], [0], []]


def test_the_page_stays_below_its_size_and_says_what_did_not_fit(tmp_path: Path) -> None:
    run = build(tmp_path, [record(str(k), tmp_path) for k in range(9)])
    view = inspection.view_records(inspection.read_run(run, 8), max_card_bytes=20_000)
    page = inspection.write_page(view, run / "inspect.html")
    assert 0 < page.samples < 8
    assert f"{8 - page.samples} more were chosen but did not fit" in words(page.path.read_text(encoding="utf-8"))


def test_long_texts_are_cut_and_say_so(tmp_path: Path) -> None:
    long = record("1", tmp_path, response="# T\n" + "word " * 10_000)
    text = words(page_of(build(tmp_path, [long])))
    assert "(cut: 50,004 characters in all)" in text
    assert len(text) < 2 * MAX_TEXT


def test_placements_without_a_place_are_notes_not_errors(tmp_path: Path) -> None:
    odd = (Placement(2, "9/9.png"), Placement(3, "1/0.png"), Placement(8, "1/1.png"))
    shown = make_card(Result("1", to_row(record("1", tmp_path, placements=odd))), (), tmp_path)
    assert shown["notes"] == [
        "slot 8 does not exist: the response has 3 slots",
        "slot 3 holds 1/0.png, but its section has no paragraph",
        "slot 2 holds 9/9.png, which is not an image of this sample",
    ]
    broken = make_card(Result("1", {"sample": 3, "response": "", "captions": [], "placements": []}), (), tmp_path)
    assert broken["kind"] == "row" and "cannot be read as a record" in broken["notes"][0]


def test_the_same_samples_are_chosen_while_a_run_grows(tmp_path: Path) -> None:
    run = tmp_path / "run"
    manifest.begin(run, {})
    store = Store(run)
    store.write([Result(str(k), {}) for k in range(40)], [])
    before = {result.id for result in inspection.read_run(run, 10).samples}
    store.write([Result(str(k), {}) for k in range(40, 44)], [])
    after = {result.id for result in inspection.read_run(run, 10).samples}
    assert len(before) == 10 and len(before & after) >= 8
    assert {result.id for result in inspection.read_run(run, 10, seed=1).samples} != after
    assert len(inspection.read_run(run, 0).costs) == 44


def test_the_command_says_where_the_page_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = build(tmp_path, [record("1", tmp_path)])
    assert main(["inspect", str(run), "--out", str(tmp_path / "new" / "page.html")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{run}: finished, 1 record, 0 quarantined; 1 sample in {tmp_path / 'new' / 'page.html'}")
    assert printed.count("\n") == 1 and (tmp_path / "new" / "page.html").is_file()


def test_a_folder_that_is_not_a_run_directory_is_refused_with_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = build(tmp_path, [record("1", tmp_path)])
    for arguments, message in (
        ([str(tmp_path / "gone")], "gone is not a folder; give the run directory"),
        ([str(tmp_path)], f"is not a run directory: it has neither fingerprint.json nor records/; did you mean {run}?"),
        ([str(run), "--samples", "-1"], "--samples -1: give 0 or more"),
        ([str(run), "--out", str(run)], "cannot be written: Is a directory"),
    ):
        assert main(["inspect", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["manifest.json", "fingerprint.json", "records/part-x-000001.parquet"])
def test_a_damaged_run_names_the_file(tmp_path: Path, name: str) -> None:
    run = build(tmp_path, [record("1", tmp_path)], done=False)
    (run / name).write_text("[1")
    with pytest.raises(ConfigError, match=r"cannot be read"):
        inspection.read_run(run, 3)


def test_figures_say_their_numbers() -> None:
    assert "tokens per record: from 3 to 9, median 5" in figures.histogram([3, 5, 9], "tokens")
    assert figures.histogram([4, 4], "tokens").count("<rect") == 1
    assert figures.histogram([], "tokens") == "" == figures.records_over_time([(0, 0)])
    assert "64 records committed within 9.0 s" in figures.records_over_time([(0, 0), (4, 32), (9, 64)])
