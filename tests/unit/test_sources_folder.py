"""Folders of pages: text, title and address are found, every picture keeps its place, junk stays outside."""

import os
from pathlib import Path

import pytest

from imageref_ray import sources
from imageref_ray.core.config import ConfigError, SourceConfig
from imageref_ray.core.records import Failure, Record, Sample
from imageref_ray.sources.pages import html_page
from imageref_ray.sources.pages.markdown_page import parse_markdown
from imageref_ray.sources.pages.page import Page

ARTICLE = """<!doctype html><html><head><meta charset="utf-8"><title>The pier | Velmora Times</title>
<link rel="canonical" href="https://times.example/pier"><base href="/static/">
<script>var x = "<p>no</p>"</script></head><body class="has-sidebar">
<header class="masthead"><a href="/"><img src="logo.png" alt=""></a></header>
<nav><ul><li><a href="/a">Home</a></li></ul></nav>
<div class="layout"><main><h1>The new pier</h1>
<p>Mara Holt opened the pier <b>on Monday</b>.</p>
<figure><picture><source srcset="pier.avif" type="image/avif"><source srcset="pier-s.webp 400w, pier-l.webp 1200w">
<img src="pier.jpg"></picture><figcaption>The pier at noon</figcaption></figure>
<p>Boats came<br>from Arlen. <img class="lazy" src="data:image/gif;base64,R0lGODlh" data-src="boats.jpg">
<noscript><img src="boats.jpg"></noscript> They stayed.</p>
<h2>What it cost</h2><ul><li>Wood: 3</li><li><p>Iron: 4</p></li></ul>
<table><tr><th>Year</th><th>Boats</th></tr><tr><td>2024</td><td>7 [Image 0]</td></tr></table>
<img src="pixel.gif" width="1" height="1"><p hidden>secret</p>
<div class="related-posts"><p><a href="/market">Read also: <img src="other.jpg"> the market.</a></p></div>
</main><div class="sidebar"><p>Weather: sunny</p><img src="sun.png"></div></div>
<footer><p>Imprint</p></footer></body></html>"""

LONG = "Many words about boats and harbours stand in this paragraph. " * 3


def draw(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"picture")


def addresses(page: Page) -> tuple[tuple[str, ...], ...]:
    return tuple(picture.addresses for picture in page.images)


def read(root: Path, group: str = "page") -> tuple[list[Sample], list[tuple[str, str]]]:
    found = list(sources.read(SourceConfig(kind="folder", root=root, group=group)))
    failures = [(item.error, item.item) for item in found if isinstance(item, Failure)]
    return [item.sample for item in found if not isinstance(item, Failure)], failures


def test_an_article_is_read_with_every_image_at_its_place() -> None:
    page = html_page.parse_html(ARTICLE.encode())
    assert (page.title, page.url, page.base) == (
        "The new pier",
        "https://times.example/pier",
        "https://times.example/static/",
    )
    assert page.text.split("\n") == [
        "Mara Holt opened the pier on Monday.",
        "[Image 0]",
        "The pier at noon",
        "Boats came",
        "from Arlen. [Image 1]",
        "They stayed.",
        "## What it cost",
        "- Wood: 3",
        "- Iron: 4",
        "Year | Boats",
        "2024 | 7 (Image 0)",
    ]
    assert addresses(page) == (("pier-l.webp", "pier-s.webp", "pier.avif", "pier.jpg"), ("boats.jpg",))


def test_a_page_without_main_or_article_loses_its_marked_junk_only() -> None:
    menu = "".join(f"<li><a href='/{n}'>Section {n}</a></li>" for n in range(6))
    source = f"""<body><div class="elementor-widget"><ul>{menu}</ul></div><div><h1>T</h1><img src="hero.jpg"></div>
    <div><div><p>{LONG}</p></div><section><p>{LONG}</p><img src="b.jpg"></section></div>
    <div id="cookieConsent"><p>We use cookies</p></div></body>"""
    page = html_page.parse_html(source.encode())
    assert page.text.split("\n") == ["[Image 0]", LONG.strip(), LONG.strip(), "[Image 1]"]
    assert addresses(page) == (("hero.jpg",), ("b.jpg",))


def test_an_element_that_holds_the_text_is_never_junk() -> None:
    assert html_page.parse_html(f"<body><div class='comments'><p>{LONG}</p></div></body>".encode()).text == LONG.strip()
    assert html_page.parse_html(f"<body><header><h1>T</h1><p>{LONG}</p></header></body>".encode()).text == LONG.strip()


def test_markdown_keeps_inline_reference_and_html_images() -> None:
    source = """---
title: The pier
url: https://times.example/pier
date: 2024-01-01
---
# The pier

Words ![one](a%20b.png "title") more ![two][ref].

<img src="c.png" data-src="late.png">

```
code [Image 7]
  ![no](no.png)
```

[ref]: https://x.example/two.png
"""
    page = parse_markdown(source.encode())
    assert (page.title, page.url) == ("The pier", "https://times.example/pier")
    assert addresses(page) == (("a%20b.png",), ("https://x.example/two.png",), ("late.png",))
    assert page.text.split("\n") == [
        "Words [Image 0] more [Image 1] .",
        "[Image 2]",
        "```",
        "code (Image 7)",
        "  ![no](no.png)",
        "```",
    ]


@pytest.mark.parametrize(
    ("attributes", "best"),
    [
        ('src="a.jpg"', ("a.jpg",)),
        ('srcset="a.jpg, b.jpg 2x" src="a.jpg"', ("b.jpg", "a.jpg")),
        ('srcset="c,1.jpg 100w,d.jpg 300w"', ("d.jpg", "c,1.jpg")),
        ('src="blank.gif" data-original="a.jpg"', ("a.jpg",)),
        ('src="blank.gif" data-srcset="a.jpg 1x, b.jpg 2x"', ("b.jpg", "a.jpg")),
        ('srcset="data:image/gif;base64,R0 1w" src="a.jpg"', ("a.jpg",)),
        ('src="a.jpg" width="1" height="1"', ()),
        ('alt="nothing"', ()),
    ],
)
def test_the_true_address_of_an_image_is_found(attributes: str, best: tuple[str, ...]) -> None:
    page = html_page.parse_html(f"<body><p>Text</p><img {attributes}></body>".encode())
    assert addresses(page) == ((best,) if best else ())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<meta charset=gb2312><p>这里有很多图片</p>".encode("gb18030"), "这里有很多图片"),
        ("\ufeff<p>é</p>".encode(), "é"),
        ("<p>é–</p>".encode("cp1252"), "é–"),
        ("<p>é</p>".encode("utf-16"), "é"),
        (b"<meta charset=nonsense><p>a\xff\x81</p>", "aÿ\x81"),
    ],
)
def test_pages_come_in_any_encoding(data: bytes, text: str) -> None:
    assert html_page.parse_html(data).text == text


@pytest.mark.parametrize("data", [b"", b"<", b"\x00\x00", b"<frameset><frame></frameset>", b"<svg><img></svg>"])
def test_no_page_breaks_the_reader(data: bytes) -> None:
    assert html_page.parse_html(data).images == ()
    assert parse_markdown(data).images == ()


def test_deep_nesting_is_read_like_any_other() -> None:
    assert html_page.parse_html(b"<div>" * 3000 + b"deep").text == "deep"


def test_an_image_is_taken_from_the_crawl_first_and_from_the_web_otherwise(tmp_path: Path) -> None:
    draw(tmp_path, "news/img/a b.png", "top.png", "news/v.png?v=2")
    (tmp_path / "news/p.html").write_text(
        """<link rel=canonical href="https://x.example/news/p.html"><p>Text</p>
        <img srcset="img/large.png 900w" src="img/a%20b.png?v=1"><img src="/top.png"><img src="img/gone.png">
        <img src="//cdn.example/c.png"><img src="data:image/png;base64,AA"><img src="v.png?v=2">"""
    )
    (sample,), failures = read(tmp_path)
    assert [image.uri for image in sample.images] == [
        str(tmp_path / "news/img/a b.png"),
        str(tmp_path / "top.png"),
        "https://x.example/news/img/gone.png",
        "https://cdn.example/c.png",
        str(tmp_path / "news/v.png?v=2"),
    ]
    assert [image.index for image in sample.images] == [0, 1, 2, 3, 5]
    assert failures == [("EmbeddedImage", f"{sample.id}/4")]


def test_a_missing_image_of_a_page_without_address_stays_a_path(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("# T\n\nText ![x](gone.png)\n")
    (sample,), _ = read(tmp_path)
    assert [image.uri for image in sample.images] == [str(tmp_path / "gone.png")]


def test_pages_or_folders_are_samples_with_ids_of_their_names(tmp_path: Path) -> None:
    for name in ("one/index.md", "one/b.md", "two words/a.md"):
        draw(tmp_path, name)
        (tmp_path / name).write_text(f"# {name}\n\nText ![x](https://x.example/1.png)\n")
    (tmp_path / "two words/empty.html").touch()
    draw(tmp_path, ".git/x.md")
    pages, failures = read(tmp_path)
    assert [sample.id.rsplit("-", 1)[0] for sample in pages] == ["b", "index", "a"]
    assert [error for error, _ in failures] == ["EmptyDocument"]
    folders, failures = read(tmp_path, "folder")
    assert [(s.id.rsplit("-", 1)[0], s.instruction, len(s.documents)) for s in folders] == [
        ("one", "one/index.md", 2),
        ("two-words", "two words", 1),
    ]
    assert [error for error, _ in failures] == ["EmptyDocument"]
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    assert [sample.id for sample in read(moved)[0]] == [sample.id for sample in pages]


def test_a_folder_without_pages_says_how_to_fix_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set source\.root and source\.pages"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        read(tmp_path / "gone")


def test_pictures_are_found_under_other_spellings_of_their_names(tmp_path: Path) -> None:
    draw(
        tmp_path, "docs/img/a%20b.png", "docs/img/\u00e9.png", "site/static/s.png", "vault/deep/Pic.png", "docs/p/d.png"
    )
    written = ["img/a%20b.png", "img\\a%20b.png", "img/e\u0301.png", "gone.png"]
    (tmp_path / "docs/p.html").write_text("<p>T</p>" + "".join(f'<img src="{name}">' for name in [*written, "d.png"]))
    (tmp_path / "site/x").mkdir()
    (tmp_path / "site/x/q.md").write_text("T ![a](/s.png) ![b](@site/static/s.png) ![[pic.png]]")
    docs, site = read(tmp_path)[0]
    assert [Path(image.uri).relative_to(tmp_path).as_posix() for image in docs.images] == [
        *("docs/img/a%20b.png", "docs/img/a%20b.png", "docs/img/\u00e9.png", "docs/gone.png", "docs/p/d.png"),
    ]
    assert [Path(image.uri).relative_to(tmp_path).as_posix() for image in site.images] == [
        *("site/static/s.png", "site/static/s.png", "vault/deep/Pic.png"),
    ]


def test_links_are_followed_once_and_other_types_are_counted(tmp_path: Path) -> None:
    draw(tmp_path, "real/a.png", "x.adoc", "y.adoc", "z.DOCX", "style.css")
    (tmp_path / "real/P.MD").write_text("T ![a](a.png)")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/round").symlink_to(tmp_path)
    found, failures = read(tmp_path)
    assert len(found) == 1
    assert failures == [("IgnoredFiles", "*.adoc"), ("IgnoredFiles", "*.docx")]


def test_limit_counts_usable_samples(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / f"{name}.md").write_text("T ![a](https://x.example/a.png)" if name in "bd" else "T")
    found = list(sources.read(SourceConfig(kind="folder", root=tmp_path, limit=2)))
    assert len([item for item in found if not isinstance(item, Failure)]) == 2


def test_a_long_page_becomes_samples_with_the_path_of_its_headings(tmp_path: Path) -> None:
    parts = "".join(f"## S{n}\n\n{LONG}\n\n![Alt {n}](https://x.example/{n}.png)\n\n" for n in range(3))
    (tmp_path / "p.md").write_text(f"# Title\n\n{parts}## End\n\n{LONG}\n")
    config = SourceConfig(kind="folder", root=tmp_path, sections={"max_tokens": 60, "max_images": 1})
    found = list(sources.read(config))
    samples = [item.sample for item in found if not isinstance(item, Failure)]
    assert [sample.instruction for sample in samples] == ["Title › S0", "Title › S1", "Title › S2"]
    assert [[(image.id.rsplit("-", 1)[1], image.alt) for image in sample.images] for sample in samples] == [
        [("1/0.png", "Alt 0")],
        [("2/1.png", "Alt 1")],
        [("3/2.png", "Alt 2")],
    ]
    assert all(sample.documents[0].text.count("[Image ") == 1 for sample in samples)
    assert [(item.error, item.item.rsplit("-", 1)[1]) for item in found if isinstance(item, Failure)] == [
        ("NoImages", "4")
    ]
    whole = SourceConfig(kind="folder", root=tmp_path, sections={"max_tokens": None, "max_images": None})
    assert len(list(sources.read(whole))) == 1


def test_front_matter_and_names_that_are_no_text_become_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in (b"/p\xff.md", b"/q.md"):
        with open(folder + name, "wb") as file:
            head = b'---\ntitle: "\\uD83D\\uDE00 and \\uD83D, \\0"\n---\n' if name == b"/q.md" else b""
            file.write(head + b"Boats came.\n\n![](a.jpg)\n")
    config = {"kind": "folder", "root": tmp_path, "pages": ["**/*.md"], "group": "folder"}
    (record,) = sources.read(SourceConfig.model_validate(config))
    assert isinstance(record, Record)
    assert record.sample.instruction == "caf\ufffd"
    titles = [document.title for document in record.sample.documents]
    assert sorted(titles) == ["p\ufffd", "😀 and \ufffd, \ufffd"]


ENCODED = "aGVsbG8raGVsbG8raGVsbG8="


@pytest.mark.parametrize(
    "address",
    [
        f"data:image/png;base64,{ENCODED}",
        f"DATA:image/PNG;Base64,{ENCODED}",
        f"data:image/png;charset=utf-8;base64,\n{ENCODED[:8]}\n  {ENCODED[8:]}",
    ],
)
@pytest.mark.parametrize("name", ["p.md", "p.html"])
def test_a_picture_in_the_page_itself_has_a_row_and_leaves_nothing_in_the_text(
    address: str, name: str, tmp_path: Path
) -> None:
    draw(tmp_path, "a.png")
    shown = (
        [f'![x]({address} "t")', "![y](a.png)"] if name == "p.md" else [f'<img src="{address}">', '<img src="a.png">']
    )
    words = "Boats came in at noon, and the people of Velmora stood along the pier to see them."
    (tmp_path / name).write_text("\n\n".join(["<h1>T</h1>", f"<p>{words}</p>", *shown]), encoding="utf-8")
    failure, record = sources.read(SourceConfig(kind="folder", root=tmp_path))
    assert isinstance(failure, Failure) and failure.error == "EmbeddedImage"
    assert isinstance(record, Record)
    assert [image.uri for image in record.sample.images] == [str(tmp_path / "a.png")]
    assert ENCODED[8:] not in record.sample.documents[0].text


@pytest.mark.parametrize(
    ("front", "title", "text", "problems"),
    [
        ("---\ntitle: 12:30\n---\n", "12:30", "# H\nBoats.", 0),
        ("---\ntitle: 1.10\nx: !!binary aGk=\n---\n", "1.10", "# H\nBoats.", 0),
        ("---\ntitle: [a, b]\n---\n", "H", "Boats.", 1),
        ("---\nx: &a [1, 2]\ny: &b [*a, *a]\ntitle: *b\n---\n", "H", "Boats.", 1),
        ("---\ntitle: ~\n---\n", "H", "Boats.", 0),
        ("+++\ntitle = " + "9" * 5000 + "\n+++\n", "H", "Boats.", 1),
        ("---\n\nBoats came.\n\n---\n", "H", "Boats came.\nBoats.", 0),
    ],
)
def test_a_title_is_text_as_it_is_written_and_what_is_no_front_matter_is_text(
    front: str, title: str, text: str, problems: int
) -> None:
    page = parse_markdown(f"{front}# H\n\nBoats.\n".encode())
    assert (page.title, len(page.problems)) == (title, problems)
    assert page.text.replace("# H\n", "") == text.replace("# H\n", "")
