"""Pictures, HTML and links in an answer that are not its sample's: each is a breach, none is left after a repair."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from imageref_ray.core import markdown
from imageref_ray.core.markdown_dangers import dangers, disarmed
from imageref_ray.core.records import Document, Image, Sample

SAMPLE = Sample("s", "Tell me.", (Document("7", "T", "", tuple(Image(f"7/{i}.jpg", f"/{i}", "aa") for i in range(3))),))

BREACHES = {
    '<img src="https://evil.example/x.png">': "html",
    "<IMG\nSRC=x>": "html",
    "<img srcset='a 1x, b 2x'>": "html",
    '<picture><source srcset="a 2x"></picture>': "html",
    "<svg onload=alert(1)></svg>": "html",
    "<iframe src=//evil.example></iframe>": "html",
    "Text <script>alert(1)</script>": "html",
    '<b onclick="a()">x</b>': "html",
    '<p style="background: url(x)">y</p>': "html",
    r'<p style="background: \75rl(x)">y</p>': "html",
    '<table background="x"><tr><td>y</td></tr></table>': "html",
    "<!--> <img src=x> -->": "html",
    "<!-- a --!> <img src=x> -->": "html",
    '<div title="\n\n" onload=x>': "html",
    "<?php <img src=x> ?>": "html",
    '<a href="java&#115;cript:alert(1)">x</a>': "link",
    "<a href=' data:text/html,x'>y</a>": "link",
    "[x](javascript:alert(1))": "link",
    "[x](JaVa&Tab;Script&colon;a)": "link",
    "[x](<java\tscript:a>)": "link",
    "[x](&#x01;vbscript:a)": "link",
    "[x](file:///etc/passwd)": "link",
    "<javascript:alert(1)>": "link",
    "[x][b]\n\n[b]: javascript:a": "link",
    "[x]\n\n[X]:\n data:text/html,a": "link",
    "[b]: javascript:unused": "link",
    "![a](https://evil.example/x.png 'title')": "source",
    "![two\nlines](x.png)": "source",
    "![a][b]\n\n[b]: https://evil.example/x.png": "source",
    "![b]\n\n[b]: x.png": "source",
    "![a](data:image/png;base64,AAAA)": "source",
    "| a |\n|---|\n| ![x](y.png) |": "source",
    "> - ![x](y.png)": "source",
}
HARMLESS = [
    "`<img src=x>` and ``[x](javascript:a)``",
    "```html\n<img src=x>\n![x](y.png)\n```",
    "    <script>alert(1)</script>",
    "- a\n\n      ![x](y.png)",
    "a < b, x <- y, List<String>, 1 <2>",
    "<b>bold</b>, H<sub>2</sub>O<br>, <span style='color: red'>red</span>",
    "<details>\n<summary>More</summary>\n\nText.\n</details>",
    "<!-- a note -->",
    "[x](https://example.org/a?b=javascript:c) <https://example.org> [m](mailto:a@b.c) [r](other.html#x)",
    "<a href='https://example.org'>x</a>",
    "&lt;img src=x&gt; \\<img src=x> \\![a](b.png) \\[x](javascript:a)".replace("\\![a]", "!\\[a\\]"),
    "[1] a reference, [x] done, [b]: no definition here",
]


@pytest.mark.parametrize(("text", "kind"), BREACHES.items())
def test_every_way_to_show_or_run_something_is_a_breach_that_says_where(text: str, kind: str) -> None:
    answer = f"# T\nO.\nIMAGE_1\n\n{text}\n\nEnd."
    breaches = markdown.check(answer, SAMPLE)
    assert {breach.kind for breach in breaches} == {kind}
    lines = {int(line) for breach in breaches for line in re.findall(r" on line (\d+) ", breach.message)}
    assert lines and min(lines) >= 5
    repaired, references = markdown.repair(answer, SAMPLE)
    assert markdown.check(repaired, SAMPLE) == [] and [ref.k for ref in references] == [1]
    assert shown(repaired) == []  # `IMAGE_1` is no picture yet


@pytest.mark.parametrize("text", HARMLESS)
def test_code_formatting_and_links_to_pages_are_no_breach(text: str) -> None:
    answer = f"# T\nO.\nIMAGE_1\n\n{text}\n\nEnd."
    assert markdown.check(answer, SAMPLE) == []
    assert disarmed(answer) == answer


def test_a_repair_escapes_only_what_breaks_the_contract() -> None:
    answer = "# T\nSee <b>this</b> <img src=x> ![y](z.png) and [a page](https://a.b) or [that](javascript:x), `<img>`."
    repaired, _ = markdown.repair(answer, SAMPLE)
    assert (
        repaired == "# T\nSee <b>this</b> &lt;img src=x> and [a page](https://a.b) or \\[that](javascript:x), `<img>`."
    )


def test_a_repair_moves_an_image_out_of_a_block_and_removes_what_has_no_place() -> None:
    answer = "# T\n| a |\n|---|\n| IMAGE_1 |\n| b |\n\nText IMAGE_2.\n```\nx\nIMAGE_3\n```\nIMAGE_1\nEnd.\nIMAGE_9"
    repaired, references = markdown.repair(answer, SAMPLE)
    assert repaired == "# T\n| a |\n|---|\n| |\n| b |\n\nText .\n```\nx\n```\n\nIMAGE_1\nEnd."
    assert [(ref.slot, ref.k) for ref in references] == [(3, 1)]
    assert [breach.kind for breach in markdown.check(answer, SAMPLE)] == ["slot", "slot", "slot", "once", "exists"]
    moved, references = markdown.repair("# T\n```\nx\nIMAGE_3\n```\nEnd.", SAMPLE)
    assert moved == "# T\n```\nx\n```\n\nIMAGE_3\nEnd."
    assert [(ref.slot, ref.k) for ref in references] == [(1, 3)]


@pytest.mark.parametrize("block", ["| a |\n|---|\n| b |", "> a", "> a\nb", "<div>\na\n</div>"])
def test_an_image_right_after_a_block_that_would_take_it_in_moves_behind_it(block: str) -> None:
    answer = f"# T\n{block}\nIMAGE_3\n\nEnd."
    (breach,) = markdown.check(answer, SAMPLE)
    assert breach.kind == "slot" and "it is inside a block" in breach.message
    repaired, references = markdown.repair(answer, SAMPLE)
    assert [(reference.k, reference.slot) for reference in references] == [(3, 1)]
    assert not markdown.check(repaired, SAMPLE)
    assert markdown.strip_images(repaired).replace("\n", "") == f"# T\n{block}\n\nEnd.".replace("\n", "")
    alone, _ = markdown.repair(f"# T\n{block}\nIMAGE_3\n\nIMAGE_2\nEnd.", SAMPLE)
    assert len(markdown.references(alone)) == 1


PIECES = """\
IMAGE_2 ~ ![c](IMAGE_3) ~ IMAGE_9 ~ ![a](<IMAGE_1>) ~ ![a](IMAGE_1 "t") ~ ![![q](w)](e) ~ [![q](w)](javascript:e) ~ `
`` ~ <div title=" ~ " onload=x> ~ <!-- ~ --> ~ <![CDATA[ ~ <pre> ~ <textarea> ~ | a \\| b | ![z](y) | ~ |---|---|
<b title="`">` ~ ![a <b title="](IMAGE_1) ~ [b]: x ~ \\ ~ # T ~ Text. ~ ![ ~ [ ~ ]( ~ < ~ ](javascript:x) ~ ```
]: data:x"""


def test_paragraphs_that_a_repair_brings_together_make_no_link_of_two_halves() -> None:
    repaired, _ = markdown.repair("[\n\n<img src=x>[x](javascript:a)\n](javascript:b)", SAMPLE)
    assert markdown.check(repaired, SAMPLE) == []


pieces = st.sampled_from(
    [*BREACHES, *HARMLESS, *re.split(" ~ |\n", PIECES), "> ", "- ", "    ", "\t", "\0", "\r"],
)
texts = st.lists(
    st.tuples(
        st.one_of(pieces, st.text("<>[]()!`\\\"'= a&;:/-#\n|", max_size=8)), st.sampled_from(["", "\n", "\n\n", " "])
    ),
    max_size=9,
).map(lambda parts: "".join(piece + end for piece, end in parts))

READERS = [
    MarkdownIt("commonmark", {"html": True}),
    MarkdownIt("commonmark", {"html": True}).enable("table"),
    MarkdownIt("js-default", {"html": True}),
]
ANY_LINK = MarkdownIt("commonmark", {"html": True}).enable("table")
ANY_LINK.validateLink = lambda url: True  # type: ignore[method-assign]


def shown(answer: str) -> list[tuple[str, str]]:
    """What a page made of the answer shows, loads or runs, as an HTML parser sees it."""
    found: set[tuple[str, str]] = set()
    for reader in (*READERS, ANY_LINK):
        root = LexborHTMLParser(reader.render(answer)).root
        for node in root.traverse() if root else ():
            attributes = {key: value or "" for key, value in node.attributes.items()}
            if node.tag == "img":
                found.add(("img", attributes.pop("src", "")))
                attributes.pop("alt", None)
            elif re.fullmatch(
                "script|style|svg|math|iframe|object|embed|picture|source|video|audio|link|meta|base", str(node.tag)
            ):
                found.add((str(node.tag), ""))
            for key, value in attributes.items():
                bare = re.sub(r"[\0- ]", "", value).lower()
                runs = key == "href" and re.match("(javascript|vbscript|data|file):", bare)
                if (
                    runs
                    or re.fullmatch("on.*|src.*|poster|background|action|formaction|data|xlink:href", key)
                    or "url(" in bare
                ):
                    found.add((key, value))
    return sorted(found)


@example("[b]: javascript:unused<IMG\nSRC=x>")
@given(texts)
def test_no_reader_of_any_repaired_answer_sees_more_than_its_samples_images(text: str) -> None:
    repaired, references = markdown.repair(text, SAMPLE)
    assert markdown.check(repaired, SAMPLE) == []
    assert {(ref.slot, ref.k) for ref in references} == {(ref.slot, ref.k) for ref in markdown.references(repaired)}
    assert set(shown(repaired)) <= {("img", f"IMAGE_{ref.k}") for ref in references}


@given(texts)
def test_a_text_without_a_breach_shows_nothing_but_references(text: str) -> None:
    if not dangers(text):
        assert all(tag == "img" and re.fullmatch("IMAGE_[0-9]+", source) for tag, source in shown(text))


def test_the_reader_of_these_tests_sees_what_is_not_repaired() -> None:
    unseen = [text for text in BREACHES if not shown(f"# T\n\n{text}")]
    # Links that markdown-it encodes, one of an unused definition, a tag or comment that does not end, a CSS escape.
    assert len(unseen) == 7


@pytest.mark.parametrize("unit", ["[", "![", "<a ", "[a](b", "](", '<a b="', "<!-- ", "[a][b] "])
def test_a_flood_of_marks_is_read_in_time_that_grows_with_the_length(unit: str) -> None:
    """With time that grows with the square of the length this would take minutes."""
    text = unit * (60_000 // len(unit))
    assert not dangers(disarmed(text))
