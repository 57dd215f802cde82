"""Markdown and HTML documents of `/v1/reference`, and answers as HTML: the pictures are those that were sent."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from imageref_ray.serving import page_reader
from imageref_ray.serving.answer_html import to_html
from imageref_ray.serving.page_reader import PageReader, UnreadablePage
from tests.endpoint import Scripted, ask, endpoint
from tests.unit.test_markdown_stream import TEXTS
from tests.unit.test_serve_reference import BLUE, RED, data_url

GREEN = data_url("green")
ENGINE = Scripted(
    lambda request: "# Boats\nThree boats.\n![Two <b> boats](IMAGE_1)\nEnd, ![x](http://a/b.png).\nIMAGE_2"
)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """One application for all: its processes read all pages."""
    return endpoint(ENGINE)


def answered(app: FastAPI, *documents: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"question": "What?", "documents": list(documents), **fields}
    reply = ask(app, "POST", "/v1/reference", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


MARKDOWN = f"""---
title: The port
---
# The port

Boats came, as Figure 1 shows.

![Two boats]({RED})

Figure 1: Two boats at noon.

![The pier](img/the%20pier.png "At dawn") and ![[map.png]] and ![gone](gone.png)
"""

HTML = f"""<html><head><title>Port</title></head><body><article><h1>The port</h1><p>Boats came in the morning, one
after the other, and the harbour master counted them all, as he had done for thirty years.</p><img alt="Two boats"
src="{RED}"><p>Then the pier was opened, and everybody who had come went home again in the evening.</p><img
src="https://example.org/pier.png?w=9"><img src="gone.png"></article></body></html>"""


def test_a_markdown_page_has_its_own_pictures_and_those_that_were_sent_by_their_names(app: FastAPI) -> None:
    names = ["the pier.png", "map.png", "unused.png"]
    page = {
        "id": "p",
        "format": "markdown",
        "text": MARKDOWN,
        "images": [BLUE, GREEN, data_url("white")],
        "names": names,
    }
    answer = answered(app, page)
    first, second = answer["references"]
    assert (first["id"], first["alt"], first["document"]) == ("p/0", "Two boats", "p")
    assert (second["id"], second["alt"]) == ("p/1", "The pier")
    asked = ENGINE.requests[-1].messages[-1]
    assert [image.id for image in asked.images] == ["p/0", "p/1", "p/2"]
    assert asked.images[0].caption == "Figure 1: Two boats at noon." and asked.images[1].title == "At dawn"
    assert str(asked.parts[0]).startswith("What?\n# The port\n")
    assert {(str(row["image"]), row["reason"].split(";")[0]) for row in answer["left_out"]} == {
        ("gone.png", "was not sent"),
        ("2", "is not in the page"),
    }


def test_an_html_page_is_read_without_fetching_anything(app: FastAPI) -> None:
    page = {"format": "html", "text": HTML, "images": [BLUE], "names": ["https://example.org/pier.png"]}
    answer = answered(app, page)
    assert [image.id for image in ENGINE.requests[-1].messages[-1].images] == ["1/0", "1/1"]
    assert [row["image"] for row in answer["left_out"]] == ["gone.png"]
    lonely = answered(app, {**page, "images": [], "names": []})
    assert [row["image"] for row in lonely["left_out"]] == ["https://example.org/pier.png?w=9", "gone.png"]


def test_a_broken_picture_of_a_page_is_left_out_and_told(app: FastAPI) -> None:
    text = f"A port.\n\n![]({RED[:60]})\n\n![]({BLUE})"
    answer = answered(app, {"format": "markdown", "text": text})
    assert [row["image"] for row in answer["left_out"]] == [0]
    assert [image.id for image in ENGINE.requests[-1].messages[-1].images] == ["1/1"]


def test_too_many_pictures_in_pages_are_refused_before_they_are_opened() -> None:
    page = {"format": "markdown", "text": f"![]({RED})\n\n" * 3}
    body = {"question": "?", "documents": [page]}
    refused = ask(endpoint(ENGINE, max_images=2), "POST", "/v1/reference", json=body)
    assert refused.status_code == 400 and "more than 2 images" in refused.text


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[PageReader]:
    """A reader that gives a page a second."""
    monkeypatch.setattr(page_reader, "CPU_SECONDS", 1)
    yield PageReader(1)


def test_a_page_made_to_take_long_ends_alone_and_hangs_nobody(hasty: PageReader) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    async def run() -> float:
        ticking = asyncio.create_task(tick())
        started = time.process_time()
        with pytest.raises(UnreadablePage, match="more than 1 s"):
            await hasty.read("html", "<div>" * 100_000)
        here = time.process_time() - started
        page = await hasty.read("markdown", "# A port\n\nBoats.")
        ticking.cancel()
        assert page.title == "A port"
        return here

    assert asyncio.run(run()) < 1, "this process has not read it"
    assert ticks > 5


def test_a_client_that_leaves_ends_the_reading(hasty: PageReader) -> None:
    async def run() -> str:
        reading = asyncio.create_task(hasty.read("html", "<div>" * 100_000))
        await asyncio.sleep(0.2)
        reading.cancel()
        await asyncio.wait({reading})
        return (await hasty.read("markdown", "# A port")).title

    assert asyncio.run(run()) == "A port"


def test_a_page_with_too_many_characters_is_not_read() -> None:
    with pytest.raises(UnreadablePage, match="2000001 characters"):
        asyncio.run(PageReader().read("markdown", "x" * 2_000_001))


def test_an_answer_as_html_shows_the_pictures_that_were_sent_and_nothing_else(app: FastAPI) -> None:
    documents = [{"id": "a", "text": "Boats.", "images": [RED]}, {"id": "b", "text": "x", "images": [BLUE]}]
    answer = answered(app, *documents, format="html")
    assert answer["markdown"].startswith("# Boats")
    tree = LexborHTMLParser(answer["html"])
    assert [image.attributes["src"] for image in tree.css("img")] == [RED, BLUE]
    assert [node.text() for node in tree.css("figure figcaption")] == ["Two <b> boats"]
    assert [node.text() for node in tree.css("h1")] == ["Boats"]


PICTURES = {1: ('a"b.png', "x<y"), 2: (RED, "")}


@given(st.one_of(TEXTS, st.text(max_size=80)))
def test_whatever_an_answer_holds_its_html_runs_and_loads_nothing(text: str) -> None:
    tree = LexborHTMLParser(f"<body>{to_html(text, PICTURES)}</body>")
    assert not tree.css("script, style, iframe, object, embed, form, input, svg, math, link, meta, base, template")
    for node in tree.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on") and name not in ("style", "srcset", "srcdoc"), name
            if name in ("href", "cite"):
                assert not str(value).lower().strip().startswith(("javascript:", "data:", "vbscript:", "file:"))
            if name == "src":
                assert value in {'a"b.png', RED, "", None}


def test_code_that_looks_like_a_picture_stays_code() -> None:
    shown = to_html(
        '```\n<img src="IMAGE_1">\n```\n\n`<img src="IMAGE_1"`\n\nIMAGE_1\n\n- a\n\n![c](IMAGE_3)', PICTURES
    )
    assert [image.attributes["src"] for image in LexborHTMLParser(shown).css("img")] == ['a"b.png']
    assert shown.count('IMAGE_1"') == 2
