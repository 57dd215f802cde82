"""Markdown's blocks in the grammar: what one line is, where an image line may stand, and that no text is changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from imageref_ray.core import markdown
from imageref_ray.core.markdown_blocks import REFERENCE, blocks

LINES = """\
# T|## H|#tight|Para.|text more|- a|- b|  - n|    - deep|1. x|2. y|3) z|* s|> q|> r|```|```py|~~~|~~~~|    code|  code
---|===|***|<div>|</div>|<b>x</b>|<!-- c|-->|<!-- c -->|<?p|<pre>|</pre>|[r]: http://x|[r]|![a][r]|- # x|  # x|2.|\tcode
IMAGE_1|![c](IMAGE_2)|  IMAGE_2|text IMAGE_3 more|- IMAGE_1|    IMAGE_1|> IMAGE_1|`IMAGE_1`|`x|``|\\|    # x|\u3000# x
\u3000- x||||  |+|-|\u3000|  ```"""
TABLE = ["| a | b |", "|---|---|", "a | b", "--- | ---", "| IMAGE_1 | b |"]
some_lines = st.sampled_from([*re.split(r"[|\n]", LINES), *TABLE])
noise = st.text(alphabet="ab #-*>`~|:=[]()!<&;\\\t 1.)_\u3000", max_size=12)
texts = st.one_of(
    st.lists(st.one_of(some_lines, noise), max_size=14).map("\n".join),
    st.lists(some_lines, max_size=10).map("\r\n".join),
    st.text(max_size=60),
)
READER = MarkdownIt("commonmark", {"html": True}).enable("table")


@given(texts)
def test_between_the_blocks_of_any_text_is_nothing_but_white_space(text: str) -> None:
    rows, at = re.split(r"\r\n|\n|\r", text), 0
    for block in blocks(text):
        assert at <= block.begin < block.end
        assert not "".join(rows[at : block.begin]).strip()
        written = "\n".join(rows[block.begin : block.end]).strip()
        assert block.text.strip().startswith(written)  # an unclosed block has its end after it
        at = block.end
    assert not "".join(rows[at:]).strip()


@given(texts)
def test_the_lines_of_any_text_joined_are_the_same_blocks_again(text: str) -> None:
    joined = "\n".join(markdown.lines(text))
    assert [(block.kind, block.text) for block in blocks(joined)] == [(b.kind, b.text) for b in blocks(text)]
    assert "\n".join(markdown.lines(joined)) == joined


@given(texts)
def test_any_text_without_its_images_has_no_reference_and_stays_as_it_is(text: str) -> None:
    rest = markdown.strip_images(text)
    assert markdown.references(rest) == []
    assert markdown.strip_images(rest) == rest


@given(texts, st.data())
def test_images_at_any_slots_of_any_text_stand_between_blocks_and_come_out_again(
    text: str, data: st.DataObject
) -> None:
    text = markdown.strip_images(text)
    count = len(markdown.slots(text, "after"))
    places = data.draw(st.lists(st.integers(1, max(count, 1)), unique=True, max_size=count))
    chosen = {slot: k for k, slot in enumerate(places, start=1)}
    answer = markdown.insert(text, chosen, "after", {k: "One `x <b> [y] \\" for k in chosen.values() if k % 2})
    assert {ref.slot: ref.k for ref in markdown.references(answer)} == chosen
    assert markdown.extract_placements(text, answer) == chosen
    assert markdown.strip_images(answer) == text
    for token in READER.parse(answer):
        if any(REFERENCE.fullmatch(line.strip()) for line in token.content.split("\n")):
            assert (token.type, token.level) == ("inline", 1)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nif x:\n    # start\n    run()\n\n    IMAGES = 1\n```",
        "~~~~\n```\n# no header\n~~~\n~~~~",
        "| Part | Size |\n|---|---|\n| Pump | 3 |",
        "Part | Size\n--- | ---\nPump | 3",
        "> said\nlazily\n> # here",
        "<div>\n# no header\n</div>",
        "<!-- a\n\n# b\n-->",
        "- step\n\n  ```sh\n  # update\n  ```\n  - nested\n    - deeper\n\n  more",
        "10. step\nlazily\n    - nested",
    ],
)
def test_a_block_is_one_line_and_stays_as_written(block: str) -> None:
    text = f"# Title\nBefore.\n\n{block}\n\n## After\nAll."
    assert [line.strip() for line in markdown.lines(text)] == ["# Title", "Before.", block, "## After", "All."]
    assert len(markdown.slots(text, "before")) == 2
    answer = markdown.insert(text, {1: 1, 2: 2, 3: 3}, "after")
    written = answer.replace("\n\n## After", "\n## After")  # a blank line before a header is needed after HTML only
    assert written == f"# Title\nBefore.\nIMAGE_1\n\n{block}\n\nIMAGE_2\n## After\nAll.\nIMAGE_3"


def test_indented_code_keeps_its_indentation_and_its_marks() -> None:
    text = "# T\n\n    # start\n        run()\n\n    end\nAfter."
    assert markdown.lines(text) == ["# T", "\n    # start\n        run()\n\n    end", "After."]
    assert markdown.insert(text, {1: 1}, "before") == "# T\n\n    # start\n        run()\n\n    end\n\nIMAGE_1\nAfter."


def test_each_item_of_a_list_has_a_slot_and_the_list_stays_a_list() -> None:
    text = "# T\n1. Open.\n   - left\n2. Turn.\n3. Close."
    answer = markdown.insert(text, {1: 1, 2: 2}, "after")
    assert answer == "# T\n1. Open.\n   - left\n\nIMAGE_1\n\n2. Turn.\n\nIMAGE_2\n\n3. Close."
    assert markdown.strip_images(answer) == text
    tight = "# T\n1. Open.\nIMAGE_1\n2. Turn.\nIMAGE_2"
    assert [ref.slot for ref in markdown.references(tight)] == [1, 2]


@pytest.mark.parametrize("underline", ["=====", "---"])
def test_an_underlined_header_is_a_header(underline: str) -> None:
    text = f"Pumps\n{underline}\nAll about them.\n\nTheir\nuse\n{underline}\nPress start."
    assert [markdown.is_header(line) for line in markdown.lines(text)] == [True, False, True, False]
    assert markdown.insert(text, {2: 1}, "before") == f"{text}\nIMAGE_1"


@pytest.mark.parametrize(
    ("opened", "closed"), [("```\nx", "```\nx\n```"), ("<!-- x", "<!-- x\n-->"), ("<pre>\nx", "<pre>\nx\n</pre>")]
)
def test_an_unclosed_block_is_closed_before_an_image(opened: str, closed: str) -> None:
    assert markdown.insert(f"# T\n{opened}", {1: 1}, "before") == f"# T\n{closed}\n\nIMAGE_1"
    assert [(ref.slot, ref.near) for ref in markdown.references(f"# T\n{opened}\nIMAGE_1")] == [(0, 1)]


@pytest.mark.parametrize(
    ("answer", "inside"),
    [
        ("# T\n| a | b |\n|---|---|\n| c | IMAGE_1 |", "table"),
        ("# T\n| a | b |\n|---|---|\nIMAGE_1\n| c | d |", "table"),
        ("# T\n```\nx\nIMAGE_1\ny\n```", "code"),
        ("# T\n- a\n  ```\n  IMAGE_1\n  x\n  ```", "item"),
        ("# T\n> said\nIMAGE_1\n> more", "quote"),
        ("# T\n<div>\nIMAGE_1\n</div>", "html"),
    ],
)
def test_an_image_inside_a_block_is_not_legal_and_belongs_after_it(answer: str, inside: str) -> None:
    (ref,) = markdown.references(answer)
    assert (ref.k, ref.slot, ref.inside, ref.near) == (1, 0, inside, 1)
    assert markdown.references(markdown.strip_images(answer)) == []


def test_an_image_line_that_would_become_part_of_the_block_before_is_not_legal() -> None:
    row = "# T\n| a |\n|---|\n| b |"
    assert [ref.slot for ref in markdown.references(f"{row}\nIMAGE_1")] == [0]
    assert [ref.slot for ref in markdown.references(f"{row}\n\nIMAGE_1")] == [1]


def test_what_code_says_about_images_is_text() -> None:
    answer = "# T\nWrite `IMAGE_9` or ``![`c`](IMAGE_8)``.\n```\nprint('IMAGE_7', '![x](http://a/b.png)')\n```"
    assert markdown.references(answer) == []
    assert markdown.strip_images(answer) == answer


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends_are_line_ends(newline: str) -> None:
    text = newline.join(["# T", "", "Para.", "", "```", "# x", "```", "", "IMAGE_1"])
    assert markdown.lines(text) == ["# T", "Para.", "\n```\n# x\n```", "\nIMAGE_1"]


def test_a_header_may_be_tight_or_after_wide_spaces_but_not_in_code() -> None:
    assert [markdown.is_header(line) for line in markdown.lines("#Titel\n\u3000## 题\nPara\n    # no")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("unit", ["\n", "`", "` `` ", "![", "[", "<", "IMAGE_1\n", "\\", "*", "> "])
def test_a_flood_of_one_sign_takes_no_longer_than_any_text(unit: str) -> None:
    """With time that grows with the square of the length this would take minutes."""
    text = f"# T\n{unit * (60_000 // len(unit))}"
    assert "\n".join(markdown.lines(text)).startswith("# T")
    assert markdown.check_references(text, []) or "IMAGE" not in text
