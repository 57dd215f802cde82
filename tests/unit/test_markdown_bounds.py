"""Floods of marks are read in linear time: work is counted in calls, never by the clock."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from imageref_ray.core import markdown_blocks, markdown_bounds
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages import markdown_page, mdx
from imageref_ray.sources.pages.rst_page import parse_rst


def calls(read: Callable[[], object]) -> int:
    """How many functions are called, Python's own included."""
    count = 0

    def called(frame: Any, event: str, given: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        read()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "flood", ["$$a\n\n", "> $$a\n\n", "- $$a\n", "![", "[[", "![[a", "[^a", "^[", "`a", "*a_", "<a ", "- a\n"]
)
def test_a_flood_takes_as_many_calls_a_character_however_long_it_is(flood: str) -> None:
    markdown_page.render("warm *up* $a$\n\n- ![[x.png]]")
    few, many = (calls(lambda n=n: markdown_page.render(flood * n)) for n in (60, 240))  # type: ignore[misc]
    assert many < 6 * few


def test_formulas_are_read_wherever_they_end() -> None:
    text = markdown_page.render("> $$\n> a\n> $$\n\n$$b$$\n\n$$\nc\n\n$$ (eq1)\n\n$$d")
    assert [line for line in text.split("\n") if "$$" in line] == [
        "$$a$$",
        "$$b$$",
        "$$c$$",
        "<p>$$d</p>",
    ]


def test_tables_are_filled_up_with_a_number_of_cells_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown_bounds, "CELLS", 500)
    wide = "|a" * 40 + "\n" + "|-" * 40 + "\n" + "|b\n" * 10 + "\n"
    kinds = [block.kind for block in markdown_blocks.blocks(wide * 4)]
    assert kinds.count("table") == 2 and set(kinds) == {"table", "line"}
    whole = "|a|b|\n|-|-|\n" + "|c|d|\n" * 50 + "\n"
    assert [block.kind for block in markdown_blocks.blocks(whole * 20)] == ["table"] * 20


def test_markdown_in_html_in_markdown_ends() -> None:
    html = markdown_page.render("<div markdown>\n" * 2000 + "*a*\n")
    assert html.count("<div markdown>") == 2000


def test_restructuredtext_that_takes_minutes_is_a_row() -> None:
    with pytest.raises(Unusable, match="so many marks"):
        parse_rst(b"```a\n" * 20_000)
    assert parse_rst(b"A *b* ``c``.\n\n" * 300).text


def test_patterns_do_not_begin_anew_at_every_character_of_a_run() -> None:
    """With the square of these lengths each takes minutes."""
    assert markdown_page.parse_markdown(b"a" + b" " * 200_000 + b"{").text == "a {"
    runs = "".join("`" * length + "a" for length in range(1, 450))
    assert mdx.outside_code(runs, str.upper) == runs.upper()
