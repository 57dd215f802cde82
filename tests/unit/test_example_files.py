"""In-context examples are read from every kind of source, or refused by number before anything is paid."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import sources
from imageref_ray.batch import manifest
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.build import fingerprint_settings
from imageref_ray.core import markdown
from imageref_ray.core.config import BuildConfig, ConfigError, SourceConfig, check
from imageref_ray.core.records import Record
from imageref_ray.picturenews import corpus
from imageref_ray.stages.prompts import NO_EXAMPLES

RESULT = {
    "predictions": [
        {"position": "<Position 1>", "analysis": "one two three four", "image": "IMAGE_1", "explanation": "five six"}
    ]
}
PLACE = {"response": "# Pier\nNew.", "caption_str": ["IMAGE_1: A pier."], "result": RESULT}


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four events in the paper's layout, with an example file of each kind."""
    root = tmp_path_factory.mktemp("news")
    corpus.write(root, 4, 5)
    return root


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder of samples: one document with an image file and a text file as images, repeated in two samples."""
    (tmp_path / "pier.png").parent.mkdir(exist_ok=True)
    PIL.Image.new("RGB", (64, 64), "red").save(tmp_path / "pier.png")
    (tmp_path / "text.png").write_text("not a picture")
    row = {"id": "s", "instruction": "?", "documents": [document()]}
    (tmp_path / "samples.jsonl").write_text(json.dumps({**row, "id": "first"}) + "\n" + json.dumps(row) + "\n")
    return tmp_path


def document() -> dict[str, Any]:
    return {"id": "d", "title": "Pier", "text": "New. [Image 0] [Image 1]", "images": ["pier.png", "text.png"]}


def config(root: Path, kind: str = "paper", **more: Any) -> BuildConfig:
    engine = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}
    source = {"root": str(root), "kind": kind, "limit": 1}
    return check(BuildConfig, {"source": source, "output": str(root / "out"), "engine": engine, **more}, "test")


def file(folder: Path, *entries: Any) -> str:
    path = folder / "examples.json"
    path.write_text(json.dumps(entries))
    return str(path)


def caption_entry(**more: Any) -> dict[str, Any]:
    return {"description": "a pier", "caption": "The new pier.", **more}


def of(settings: BuildConfig) -> str:
    return manifest.fingerprint(fingerprint_settings(settings, make_recipe(settings)))


def test_the_papers_files_are_read_first_similar_or_not_at_all(news: Path) -> None:
    def settings(**how: Any) -> BuildConfig:
        names = ("caption_examples", "place_examples")
        return config(news, **{name: {"file": str(news / f"{name}.json"), **how} for name in names})

    first = make_recipe(settings())
    assert [len(examples.pool) for examples in (first.caption_examples, first.place_examples)] == [2, 2]
    example = first.caption_examples.first[0]
    assert example.image.sha256 and example.document.images == (example.image,)
    assert markdown.slots(first.place_examples.first[0].response, "before")
    similar = make_recipe(settings(choose="similar"))
    assert len(similar.caption_examples.pool) == len(similar.place_examples.pool) == 4
    for examples in (similar.caption_examples, similar.place_examples):
        assert len(examples.like("")) == 2
    own_text = markdown.render(similar.caption_examples.pool[3].document)
    assert similar.caption_examples.pool[3] in similar.caption_examples.like(own_text)
    none = make_recipe(settings(choose="none"))
    assert none.caption_examples == NO_EXAMPLES
    assert none.place_examples == NO_EXAMPLES
    marks = [of(settings(**how)) for how in ({}, {"count": 1}, {"choose": "similar"}, {"choose": "none"})]
    marks.append(of(settings(choose="similar", count=1)))
    assert len(set(marks)) == 5
    assert of(config(news)) == of(settings(choose="none"))


def test_the_fingerprint_holds_what_examples_say_and_not_where_they_lie(news: Path, pages: Path) -> None:
    entry = caption_entry(document=document())
    mark = of(config(news, caption_examples={"file": file(pages, entry), "count": 1}))
    elsewhere = pages / "elsewhere"
    elsewhere.mkdir()
    (pages / "pier.png").rename(elsewhere / "pier.png")
    assert of(config(news, caption_examples={"file": file(elsewhere, entry), "count": 1})) == mark
    PIL.Image.new("RGB", (8, 8), "blue").save(elsewhere / "pier.png")
    assert of(config(news, caption_examples={"file": file(elsewhere, entry), "count": 1})) != mark


def test_a_caption_example_is_found_in_a_source_of_any_kind_or_brings_its_document(pages: Path) -> None:
    (pages / "page.md").write_text("# Pier\n\nNew.\n\n![](pier.png)\n")
    (page,) = (item for item in sources.read(SourceConfig(root=pages, kind="folder")) if isinstance(item, Record))
    for kind, entry in (
        ("samples", caption_entry(image_path="d/0.png")),
        ("samples", caption_entry(document=document(), image=0)),
        ("paper", caption_entry(document=document(), image=0)),
        ("folder", caption_entry(image_path=page.sample.images[0].id)),
    ):
        recipe = make_recipe(config(pages, kind, caption_examples={"file": file(pages, entry), "count": 1}))
        (example,) = recipe.caption_examples.pool
        assert example.image.id.endswith("/0.png") and example.image.uri == str(pages / "pier.png")
        assert example.document.title == "Pier" and example.document.images == (example.image,)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"description": "a pier", "caption": ""}, r"example 1: caption: string should have at least 1 character"),
        (caption_entry(), r"example 1: .*give either image_path .* or a document of its own"),
        (caption_entry(image_path="d/0.png", document={}), r"example 1: .*give either image_path"),
        (caption_entry(image_path="d/7.png"), r"example 1: no image d/7\.png in .*name it as the source does"),
        (caption_entry(image_path="d/1.png"), r"example 1: .*text\.png is text, not an image"),
        (caption_entry(document={"id": "d"}), r"example 1: document d has no text; fix its document"),
        (
            caption_entry(document=document(), image=2),
            r"example 1: image is 2, but its document has 2 images, counted from 0",
        ),
        (caption_entry(document=document() | {"images": ["../pier.png"]}), r"example 1: .*outside the source's root"),
        (caption_entry(document=document() | {"images": [3]}), r"example 1: image d/0 has no address"),
        ("text", r"example 1: .*valid dictionary"),
    ],
)
def test_a_caption_example_that_cannot_be_shown_is_refused_by_its_number(entry: Any, words: str, pages: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^caption_examples: .*examples\.json, {words}"):
        make_recipe(config(pages, "samples", caption_examples={"file": file(pages, entry), "count": 1}))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({**PLACE, "response": ""}, r"example 1: .*give either event_id .* or a response of its own"),
        ({**PLACE, "response": "No header."}, r"example 1: its response has no header line"),
        ({**PLACE, "result": {"predictions": []}}, r"example 1: the placement names none of the 1 slots"),
        ({**PLACE, "result": {"positions": 3}}, r"example 1: the placement has no list"),
        ({"event_id": 7, "caption_str": ["A."], "result": RESULT}, r"example 1: event_id names an event, and a source"),
    ],
)
def test_a_placement_example_that_cannot_be_shown_is_refused_by_its_number(entry: Any, words: str, pages: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^place_examples: .*examples\.json, {words}"):
        make_recipe(config(pages, "samples", place_examples={"file": file(pages, entry), "count": 1}))


def test_files_and_packs_that_cannot_serve_are_refused(news: Path, pages: Path) -> None:
    def refused(match: str, **more: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            make_recipe(config(news, **more))

    refused("place_examples: events 5 are not in", place_examples={
        "file": file(pages, {"event_id": 5, "caption_str": ["A."], "result": RESULT}), "count": 1})  # fmt: skip
    refused("cannot be read as JSON", caption_examples={"file": str(pages / "gone.json")})
    refused("has 1 examples, fewer than place_examples.count \\(2\\)", place_examples={"file": file(pages, PLACE)})
    shown = {"file": str(news / "place_examples.json")}
    refused("pack compact takes no examples; remove place_examples", place_examples=shown, prompts="compact")


@pytest.mark.parametrize(
    ("words", "reasons"),
    [(None, ("one two three four", "five six")), (2, ("one two", "five six")), (0, (None, None))],
)
def test_the_examples_reasons_are_as_long_as_those_asked_for(
    words: int | None, reasons: tuple[str | None, str | None], news: Path, pages: Path
) -> None:
    more = {"place_examples": {"file": file(pages, PLACE), "count": 1}, "place": {"analysis_words": words}}
    recipe = make_recipe(config(news, **more))
    (entry,) = json.loads(recipe.place_examples.pool[0].result)["predictions"]
    assert (entry.get("analysis"), entry.get("explanation")) == reasons
    assert entry["image"] == "IMAGE_1" and recipe.analysis_words == words


def test_reasons_a_pack_has_no_words_for_are_refused(news: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"place\.analysis_words is 9, but the prompt pack compact asks for no"):
        make_recipe(config(news, prompts="compact", place={"analysis_words": 9}))
    assert make_recipe(config(news, prompts="compact", place={"analysis_words": 0})).analysis_words == 0
    tasks = {
        "describe": "{image}", "caption": "{image}", "respond": "{documents}", "place": "{captions}", "answer": ""
    }  # fmt: skip
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"name": "own", **{name: {"user": user} for name, user in tasks.items()}}))
    assert make_recipe(config(news, prompts=str(own))).analysis_words is None
    with pytest.raises(ConfigError, match=r"the prompt pack own has no place_reply\.none to ask for it"):
        make_recipe(config(news, prompts=str(own), place={"analysis_words": 0}))
