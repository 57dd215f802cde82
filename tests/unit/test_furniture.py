"""Logos, navigation, icons and badges of a folder of pages are left out and listed; figures are not."""

from pathlib import Path

import PIL.Image

from imageref_ray import sources
from imageref_ray.core.config import SourceConfig
from imageref_ray.core.records import Failure
from imageref_ray.sources.pages import furniture

PAGES = 12


def write(root: Path) -> None:
    """A manual of 12 pages in folders of their own, each with a logo, a note's icon, a badge, icons and a figure."""
    for n in range(PAGES):
        folder = root / f"p{n}"
        folder.mkdir()
        PIL.Image.new("RGB", (200, 60), "navy").save(folder / "logo.png")
        PIL.Image.new("RGB", (90 + n, 80), "teal").save(folder / "figure.png")
        PIL.Image.new("RGB", (24, 48), "red").save(folder / "button.png")
        PIL.Image.new("RGB", (60, 60), "red").save(folder / "caution.png")
        PIL.Image.new("RGB", (16, 17 + n), "teal").save(folder / "tool.png")
        PIL.Image.new("RGB", (18, 17 + n), "teal").save(folder / "bullet.png")
        PIL.Image.new("RGB", (8, 2), (n, 0, 0)).save(folder / "spacer.png")
        twice = '<img src="../twice.png">' if n < 2 else ""
        (folder / "index.html").write_text(
            f"""<html><body><div class="navheader"><img src="../prev.png"> Prev</div><h1>Part {n}</h1>
            <p><img src="logo.png"></p>
            <p>Press <img src="button.png"> twice to begin part {n}, as the figure below this line shows.</p>{twice}
            <p>The tool of part {n}: <img src="tool.png"></p><p><img src="bullet.png"></p>
            <p>So <img src="spacer.png"></p>
            <img src="figure.png" alt="Part {n}"><img src="https://img.shields.io/pypi/v/x.svg">
            <div class="caution"><img src="caution.png">Take care.</div></body></html>""",
            encoding="utf-8",
        )
    for name, colour in (("twice.png", "olive"), ("prev.png", "black")):
        PIL.Image.new("RGB", (120, 100), colour).save(root / name)


def read(root: Path, **settings: float) -> tuple[list[tuple[str, list[str]]], dict[str, str]]:
    """(text, names of its pictures) of every document, and the rows about furniture: picture → message."""
    config = SourceConfig(kind="folder", root=root, furniture=settings)
    items = list(sources.read(config))
    rows = {item.item: item.message for item in items if isinstance(item, Failure) and item.error == "Furniture"}
    documents = [d for item in items if not isinstance(item, Failure) for d in item.sample.documents]
    return [(d.text, [Path(image.uri).name for image in d.images]) for d in documents], rows


def test_furniture_is_left_out_of_every_page_and_listed_once(tmp_path: Path) -> None:
    write(tmp_path)
    documents, rows = read(tmp_path)
    assert [names for _, names in documents].count(["tool.png", "figure.png"]) == PAGES - 2
    assert sorted(names for _, names in documents)[-2:] == [["twice.png", "tool.png", "figure.png"]] * 2
    assert all("Press twice to begin" in text and "[Image 0]" not in text for text, _ in documents)
    assert rows["prev.png"] == "prev.png is left out of 12 pages: navigation"
    assert rows["p3/logo.png"] == (
        "p3/logo.png is left out of 1 page: it stands on 12 of 12 pages, more than source.furniture.share"
    )
    assert rows["p3/button.png"].startswith("p3/button.png is left out of 1 page: ")
    assert rows["p3/bullet.png"].endswith("px (source.furniture.icon_side is 48) without words in its line")
    assert rows["p3/spacer.png"].endswith("px (source.furniture.icon_side is 48), too small to show anything")
    assert rows["p3/caution.png"] == "p3/caution.png is left out of 1 page: the icon of a note"
    assert rows["https://img.shields.io/pypi/v/x.svg"].endswith("12 pages: a badge")
    assert not any("figure" in name or "twice" in name for name in rows)


def test_the_settings_keep_what_is_repeated_or_small(tmp_path: Path) -> None:
    write(tmp_path)
    documents, rows = read(tmp_path, share=1, icon_side=0)
    assert all({"logo.png", "button.png", "bullet.png", "figure.png"} <= set(names) for _, names in documents)
    assert {Path(name).name for name in rows} == {"prev.png", "caution.png", "x.svg"}
    documents, rows = read(tmp_path, share=1)
    assert all({"button.png", "tool.png"} <= set(names) for _, names in documents) and "p0/bullet.png" in rows


def test_an_icon_on_many_pages_is_a_sign_of_theirs_whatever_stands_beside_it(tmp_path: Path) -> None:
    for name, size in (("eye.png", 20), ("rare.png", 21), ("big.png", 90)):
        PIL.Image.new("RGB", (size, size), "navy").save(tmp_path / name)
    for n in range(60):
        rare = '<img src="rare.png" alt="Lock">' if n < 4 else ""
        (tmp_path / f"{n}.html").write_text(
            f"""<body><h1>Part {n}</h1><p>Words about part {n} stand in this line, and some more of them here.</p>
            {'<p>See <img src="eye.png"> this.<p><img src="big.png">' if n < 10 else ""} {rare} Another line."""
        )
    documents, rows = read(tmp_path)
    assert [names for _, names in documents].count(["big.png", "rare.png"]) == 4
    assert list(rows) == ["eye.png"] and rows["eye.png"].endswith("that stands on 10 of 60 pages")


def test_numbers_of_callouts_and_emoji_are_read_as_text(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (32, 32), "navy").save(tmp_path / "1.png")
    PIL.Image.new("RGB", (90, 90), "teal").save(tmp_path / "figure.png")
    (tmp_path / "page.html").write_text(
        """<body><h1>A page</h1><pre>run it <img class="callout" src="1.png" alt="1"></pre>
        <p><img class="callout" src="1.png" alt="(1)"> It runs
        <img class="emoji" src="1f600.png" alt="\N{GRINNING FACE}"></p>
        <img src="figure.png" alt="2">""",
        encoding="utf-8",
    )
    (document,), rows = read(tmp_path)
    text = "```\nrun it (1)\n```\n(1) It runs \N{GRINNING FACE}\n[Image 0]"
    assert document == (text, ["figure.png"])
    assert rows["1.png"] == "1.png is left out of 1 page: a sign that is read as text"


def test_the_only_picture_of_all_pages_and_one_of_few_pages_are_content(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (90, 90), "navy").save(tmp_path / "real.png")
    for n in range(8):
        (tmp_path / f"{n}.html").write_text(f"<body><h1>Part {n}</h1><p>Words of it.</p><img src=real.png></body>")
    documents, rows = read(tmp_path)
    assert [names for _, names in documents] == [["real.png"]] * 8 and not rows
    for n in range(4, 8):
        (tmp_path / f"{n}.html").unlink()
    PIL.Image.new("RGB", (91, 90), "teal").save(tmp_path / "other.png")
    (tmp_path / "other.html").write_text("<body><p>Words.</p><img src=other.png></body>")
    documents, rows = read(tmp_path)
    assert [names for _, names in documents].count(["real.png"]) == 4 and not rows


def test_markers_of_furniture_go_and_the_others_keep_their_numbers() -> None:
    text = "A [Image 0] b\n[Image 1]\n  [Image 2] c [Image 10]"
    assert furniture.without(text, [0, 1]) == "A b\n  [Image 2] c [Image 10]"
    assert furniture.without(text, []) == text
