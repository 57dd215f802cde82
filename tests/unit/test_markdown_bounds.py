"""Floods of marks are read in linear time: work is counted in calls, never by the clock."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from imageref_ray.core import markdown_blocks, markdown_bounds
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages import markdown_page, mdx, rst_bounds
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


@pytest.mark.parametrize(
    ("flood", "says"),
    [
        ("```a\n" * 2_000, "so many marks"),
        ("* `a\n" + "`b\n" * 2_000, "so many marks"),
        ("+---+\n" + "|`a |\n" * 2_000 + "+---+\n", "so many marks"),
        ("a\n\n----\n\n" * 2_000, "so many transitions"),
        ("+-" * 4_000 + "+\n" + "| " * 4_000 + "|\n" + "+-" * 4_000 + "+\n", "so many borders"),
        ("== " * 300 + "\n" + "a\n" * 300 + "== " * 300, "so many empty cells"),
        (".. csv-table::\n\n   " + "a," * 300 + "\n" + "   a\n" * 300, "so many empty cells"),
    ],
    ids=["paragraph", "item", "cell", "transitions", "grid", "simple table", "csv"],
)
def test_restructuredtext_that_takes_minutes_is_a_row(flood: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rst_bounds, "MOST_WORK", 5_000_000)
    with pytest.raises(Unusable, match=f"has .*{says}.* that docutils needs minutes .* or leave it out") as found:
        parse_rst(flood.encode())
    assert found.value.error == "PageTooLarge"


def test_a_grid_that_leads_nowhere_is_traced_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its corner along every column down to the last line."""
    nowhere = "+-" * 60 + "+\n" + ("| " * 60 + "|\n" + "+ " * 60 + "+\n") * 60 + "+" + "-" * 119 + "+\n"
    assert not parse_rst(nowhere.encode()).problems
    monkeypatch.setattr(rst_bounds, "MOST_WORK", 5_000)
    with pytest.raises(Unusable, match="so many borders"):
        parse_rst(nowhere.encode())


def test_long_restructuredtext_whose_pieces_are_short_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docutils reads one by one is not counted together."""
    pages = [
        "A *b* ``c``.\n\n" * 60,
        "* :pr:`1`: *a* ``b``\n" * 60,
        "| a *b* ``c``\n" * 60,
        "+---+-----+\n" + "| a | *b* |\n+---+-----+\n" * 60,
        "a\n=\n\nb\n-\n\nc\n\n" * 60,
    ]
    monkeypatch.setattr(rst_bounds, "MOST_WORK", 20_000)
    for page in pages:
        assert parse_rst(page.encode()).text
    with pytest.raises(Unusable):
        parse_rst(("A *b* ``c``.\n" * 60).encode())


@pytest.mark.parametrize("flood", ["{/*", "<a b ", "<A b='c' ", "import a\n", "export const a\n", "{a", "<A>{`a"])
def test_a_flood_of_jsx_takes_as_many_calls_a_character_however_long_it_is(flood: str) -> None:
    mdx.plain_markdown("<A b='c'>{/* d */}</A>")
    few, many = (calls(lambda n=n: mdx.plain_markdown(flood * n)) for n in (60, 240))  # type: ignore[misc]
    assert many < 6 * few


def test_jsx_that_is_searched_for_its_end_again_and_again_is_a_row() -> None:
    with pytest.raises(Unusable, match="100 times for the ends of tags") as found:
        mdx.plain_markdown("<a {" * 1_000)
    assert found.value.error == "PageTooLarge"
    assert mdx.plain_markdown("<a {" * 20 + "b") == "<a {" * 20 + "b"
    text = "{/*" * 200_000  # with the square of this length it takes minutes
    assert mdx.plain_markdown(text) == text
    assert mdx.plain_markdown("a{/* b\n */}c{/**/}{/* d") == "ac{/* d"


def test_patterns_do_not_begin_anew_at_every_character_of_a_run() -> None:
    """With the square of these lengths each takes minutes."""
    assert markdown_page.parse_markdown(b"a" + b" " * 200_000 + b"{").text == "a {"
    runs = "".join("`" * length + "a" for length in range(1, 450))
    assert mdx.outside_code(runs, str.upper) == runs.upper()
