"""The address of a picture behind `srcset`, `<picture>`, `<noscript>` and every lazy-loading script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from imageref_ray.sources.pages import html_page, srcset
from imageref_ray.sources.pages.image_addresses import addresses


def found(html: str) -> tuple[str, ...]:
    image = LexborHTMLParser(f"<body>{html}</body>").css_first("img")
    assert image is not None
    return addresses(image)


@pytest.mark.parametrize(
    "name",
    [
        "data-src", "data-original", "data-lazy-src", "data-lazy", "data-lazyload", "data-echo", "data-actualsrc",
        "data-cfsrc", "data-hi-res-src", "data-pagespeed-lazy-src", "data-img-src", "data-src-retina", "data-deferred",
        "data-image", "data-url", "data-ks-lazyload", "data-srcset", "data-lazy-srcset", "data-baseurl", "lazy-src",
        "data-original-src", "data-bg", "data-runner-src", "data-flickity-lazyload", "data-ll-src", "data-wood-src",
    ],
)  # fmt: skip
def test_a_lazy_picture_is_found_behind_any_spelling(name: str) -> None:
    assert found(f'<img class="lazy" src="spinner.gif" {name}="img/real.jpg" width="600">')[0] == "img/real.jpg"
    if name != "data-baseurl" and "src" in name:
        assert found(f'<img src="data:image/gif;base64,R0" {name}="/media/42/large">') == ("/media/42/large",)


@pytest.mark.parametrize(
    ("html", "best"),
    [
        ('<img src="small.jpg" data-large-file="big.jpg" data-image-title="cat.jpg">', ("big.jpg", "small.jpg")),
        ('<img src="a.jpg" data-permalink="https://x.example/a/page.html" data-id="3">', ("a.jpg",)),
        ('<img src="a.jpg" data-thumb="t.jpg">', ("t.jpg", "a.jpg")),
        ('<img src="spinner.gif" data-lazy-id="7">', ()),
        ('<img src="docs/spinner.gif">', ("docs/spinner.gif",)),
        ('<img src="blank.png"><noscript><img src="real.jpg"></noscript>', ("real.jpg",)),
        ('<span><img class="lazy" src="data:x"></span> <noscript><img src="real.jpg"></noscript>', ("real.jpg",)),
        ('<picture><source type="image/jxl" srcset="a.jxl"><source data-srcset="b.webp 2x"><img src="c.jpg"></picture>',
         ("b.webp", "c.jpg")),
        ('<img srcset="ok.jpg 1.5.2x, big.jpg 2x" src="ok.jpg">', ("big.jpg", "ok.jpg")),
    ],
)  # fmt: skip
def test_the_best_address_comes_first_and_placeholders_do_not_count(html: str, best: tuple[str, ...]) -> None:
    if "data-thumb" in html:
        assert set(found(html)) == set(best)
    else:
        assert found(html) == best


def test_a_picture_and_its_fallback_for_readers_without_scripts_are_one() -> None:
    page = html_page.parse_html(
        b'<body><p>Text <img class="lazy" src="loading.gif"><noscript><img src="a.jpg" alt="A"></noscript></p></body>'
    )
    assert [picture.addresses for picture in page.images] == [("a.jpg",)]


def test_a_placeholder_without_its_picture_is_left_out_and_told() -> None:
    page = html_page.parse_html(b'<body><p>Text</p><img src="img/spinner.gif" class="lazy"><img src="b.png"></body>')
    assert [picture.addresses for picture in page.images] == [("b.png",)]
    assert [(p.addresses, reason) for p, reason in page.left_out] == [
        (("img/spinner.gif",), "a placeholder for a picture that a script loads")
    ]


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("a.jpg", [("a.jpg", None, None)]),
        (" a.jpg , b.jpg 2x,", [("a.jpg", None, None), ("b.jpg", None, 2.0)]),
        ("a.jpg, b.jpg 300w 200h, c.jpg 100h", [("a.jpg", None, None), ("b.jpg", 300, None)]),
        ("c,1.jpg 100w,d.jpg 300w", [("c,1.jpg", 100, None), ("d.jpg", 300, None)]),
        ("a.jpg 1.5.2x, b.jpg -1x, c.jpg 0w, d.jpg 1x 2x, e.jpg 1e1x", [("e.jpg", None, 10.0)]),
        ("a.jpg (1x, 2x) 3x, b.jpg", [("b.jpg", None, None)]),
        ("data:image/png;base64,AA== 1x, b.jpg 2x", [("data:image/png;base64,AA==", None, 1.0), ("b.jpg", None, 2.0)]),
        (",,,", []),
        ("", []),
    ],
)
def test_srcset_is_read_as_the_standard_says(text: str, candidates: list[tuple[str, int | None, float | None]]) -> None:
    assert [tuple(candidate) for candidate in srcset.parse(text)] == candidates


@given(st.text(alphabet="ab,. \t()0123456789wxhe-+/", max_size=60))
def test_any_srcset_gives_valid_candidates_that_are_read_back(text: str) -> None:
    given_ = srcset.parse(text)
    for candidate in given_:
        assert candidate.address and not set(candidate.address) & set(" \t,"[:2])
        assert candidate.address[-1] != "," and candidate.size >= 0
        assert candidate.width is None or candidate.density is None
    unit = {True: "w", False: "x"}
    written = ", ".join(
        c.address
        if c.width is None and c.density is None
        else f"{c.address} {c.width or c.density!r}{unit[bool(c.width)]}"
        for c in given_
    )
    if not any(c.address.startswith(",") for c in given_):
        assert srcset.parse(written) == given_
