"""A preview shows what a build would read and what not, of any size, and its samples are the source's very own."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import PIL.Image
import pytest
import yaml

from imageref_ray import sources
from imageref_ray.commands import preview as command
from imageref_ray.commands.cli import main
from imageref_ray.commands.preview import page as preview_page
from imageref_ray.commands.schema import schema
from imageref_ray.core.config import SourceConfig
from imageref_ray.core.records import Failure, Record
from imageref_ray.picturenews import corpus

LINE = "This paragraph of the manual has words enough to be taken for text of its own. "


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """Eight pages in four formats: navigation, a missing picture, one that is no picture, icons, long pages, words."""
    root = tmp_path / "manual"
    (root / "img").mkdir(parents=True)
    for n in range(8):
        PIL.Image.new("RGB", (120 + n, 90), "teal").save(root / f"img/figure {n}.png")
    PIL.Image.new("RGB", (64, 64), "navy").save(root / "img/prev.png")
    (root / "img/figure 6.png").rename(root / "img/figure6.png")
    (root / "img/broken.png").write_bytes(b"no picture")
    (root / "notes.docx").write_bytes(b"PK")
    for n in range(5):
        long = "".join(f"<h2>Step {k}</h2><p>{LINE * 60}</p><img src='img/figure {k}.png'>" for k in range(5))
        (root / f"page{n}.html").write_text(
            f"""<body><div class="navheader"><img src="img/prev.png">Back to the contents</div><h1>Part &lt;{n}&gt;</h1>
            <p>{LINE}</p><figure><img src="img/figure%20{n}.png" alt="The <b> dialog"><figcaption>Figure {n}: the dialog
            </figcaption></figure><p>Figure {n} shows it.</p>{'<img src="img/gone.png">' if n == 1 else ""}
            {'<img src="img/broken.png">' if n == 2 else ""}<img src="data:image/png;base64,AAAA">
            {long if n == 4 else ""}""",
            encoding="utf-8",
        )
    (root / "a.md").write_text(f"    code first\n\n{LINE}\n\n![[figure 5.png]]\n", encoding="utf-8")
    (root / "b.rst").write_text(
        f"Title\n=====\n\n{LINE}\n\n.. figure:: img/figure6.png\n\n   A caption\n", encoding="utf-8"
    )
    (root / "empty.md").write_text("No pictures here.\n", encoding="utf-8")
    return root


def run(root: Path, *arguments: str, **source: Any) -> Path:
    """The folder with the files of a preview."""
    config = root.parent / "build.yaml"
    settings = {"source": {"root": str(root), "kind": "folder", **source}, "prompts": "compact"}
    engine = {"kind": "openai", "model": "nobody", "base_url": "http://127.0.0.1:9/v1"}
    output = root.parent / "run"
    config.write_text(json.dumps({**settings, "engine": engine, "output": str(output)}), encoding="utf-8")
    assert main(["preview", "--config", str(config), *arguments]) == 0
    return output / command.FOLDER


def records(config: SourceConfig) -> list[Record]:
    return [item for item in sources.read(config) if isinstance(item, Record)]


def test_the_samples_of_a_preview_are_those_of_the_source(manual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(manual)
    read = records(SourceConfig(kind="folder", root=manual))
    assert len(read) >= 8 and any(image.index > 4 for one in read for image in one.sample.images)
    again = SourceConfig(kind="samples", root=manual, files=("../run/preview/samples.jsonl",))
    assert records(again) == read
    assert len(sources.identity(again)) == 16
    page = (folder / "preview.html").read_text(encoding="utf-8")
    settings = yaml.safe_load(page[page.index("<pre>") + 5 : page.index("</pre>")])
    assert SourceConfig(**settings["source"]) == again
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        jsonschema.validate(json.loads(line), schema("samples"))
    assert f"{len(read)} samples, " in capsys.readouterr().out


def test_the_samples_of_the_papers_layout_are_the_same_too(tmp_path: Path) -> None:
    corpus.write(tmp_path / "news", 3, 3)
    run(tmp_path / "news", kind="paper")
    read = records(SourceConfig(kind="paper", root=tmp_path / "news"))
    again = SourceConfig(kind="samples", root=tmp_path / "news", files=("../run/preview/samples.jsonl",))
    assert len(read) == 3 and records(again) == read


def test_the_page_shows_texts_with_pictures_and_all_that_is_left_out(
    manual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manual.parent)
    folder = run(Path(manual.name))
    page = (folder / "preview.html").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (folder / "left-out.jsonl").read_text(encoding="utf-8").splitlines()]
    errors = {row["error"] for row in rows}
    assert {"Furniture", "IgnoredFiles", "NoImages", "EmbeddedImage", "NotAnImage"} <= errors
    assert "Part &lt;0&gt;" in page and "<b> dialog" not in page
    assert "img/prev.png is left out of 5 pages: navigation" in page
    assert "Back to the contents" in page and "<b>navigation</b>" in page
    assert "1 .docx files" in page and "gone.png" in page
    assert "Figure 0: the dialog" in page and "Figure 0 shows it." in page
    assert "limit 4,000" in page and "estimated tokens per record" in page
    assert page.count("data:image/jpeg") == 7 + 1, "every picture is in the page once"


def test_the_page_stays_small_whatever_the_source(manual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_page, "MAX_BYTES", preview_page.PICTURE_BYTES + preview_page.FRAME_BYTES + 20_000)
    page = (run(manual) / "preview.html").read_text(encoding="utf-8")
    assert "more were chosen but did not fit" in page and len(page) < 200_000
    page = (run(manual, "--samples", "0") / "preview.html").read_text(encoding="utf-8")
    assert 'id="samples"' not in page
    page = (run(manual, "--samples", "2", "--seed", "1") / "preview.html").read_text(encoding="utf-8")
    assert page.count('class="card sample"') == 2


def test_a_source_without_a_usable_sample_has_a_page_too(tmp_path: Path) -> None:
    root = tmp_path / "manual"
    root.mkdir()
    (root / "empty.md").write_text("No pictures here.\n", encoding="utf-8")
    folder = run(root)
    assert "NoImages" in (folder / "preview.html").read_text(encoding="utf-8")
    assert (folder / "samples.jsonl").read_bytes() == b""


def test_an_index_that_is_none_costs_its_image_only(tmp_path: Path) -> None:
    images = [
        {"uri": "a.png", "index": 7},
        {"uri": "b.png", "index": 7},
        {"uri": "c.png", "index": "3"},
        {"uri": "d.png"},
    ]
    row = {
        "id": "one",
        "instruction": "What?",
        "documents": [{"id": "d", "text": "[Image 7] [Image 3]", "images": images}],
    }
    (tmp_path / "s.jsonl").write_text(json.dumps(row), encoding="utf-8")
    found = list(sources.read(SourceConfig(kind="samples", root=tmp_path)))
    (record,) = (item for item in found if isinstance(item, Record))
    assert [image.id for image in record.sample.images] == ["d/7.png", "d/3.png"]
    assert [(item.error, item.item) for item in found if isinstance(item, Failure)] == [
        ("BrokenImage", "d/7"),
        ("BrokenImage", "d/2"),
    ]
