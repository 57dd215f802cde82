"""Units lose nothing, end where a reader would end them, and do not move while a text grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.sentences import Kind, first_unit, has_end, split

PIECES = [
    *(
        "A",
        "boat",
        "red ",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        ".",
        "...",
        "?",
        "!",
        "。",
        "！",
        "…",
        "：",
        "- ",
        "é",
        "红",
        "船",
    ),
    *("”", "“", '"', ")", "*", "3", "1.", "Dr", "e.g", "J", "I", "U.S", "No", "https://a.b/c?d=1"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=24).map("".join)
kinds = st.sampled_from(["sentence", "section"])


@given(texts, kinds)
def test_nothing_is_lost_and_no_unit_is_empty(text: str, kind: Kind) -> None:
    units = split(text, kind)
    assert "".join(units) == text
    assert all(unit.strip() for unit in units) or not text.strip()


@given(texts, kinds)
def test_a_text_cut_after_a_unit_has_the_same_units(text: str, kind: Kind) -> None:
    units = split(text, kind)
    for count in range(1, len(units)):
        assert split("".join(units[:count]), kind) == units[:count]


@given(texts, kinds)
def test_a_unit_that_is_whole_stays_whole_whatever_follows(text: str, kind: Kind) -> None:
    units = split(text, kind)
    for cut in range(len(text)):
        assert first_unit(text[:cut], False, kind) in (None, units[0])
    assert first_unit(text, False, kind) == (units[0] if len(units) > 1 else None)
    assert first_unit(text, True, kind) == (units[0] if text.strip() else None)


@pytest.mark.parametrize(
    "units",
    [
        ["A boat lies here.", " It is red!", " Is it old?", " Yes."],
        ["It costs 3.5 dollars, or $1,000.50.", " See www.a.com/x?y=1.", " Then go."],
        ["Dr. Holt met J. R. Falk and Mrs. Oye in St. Ives.", " They left at 5 p.m. to eat."],
        ["The U.S. Army came, e.g. in No. 5, vs. Fig. 3.", " She said no.", " He did too."],
        ["They are as old as I.", " Then he left."],
        ['He said "Go."', " She went (fast!)", " **Both left.**", " Why?!", " Nobody knows."],
        ["“Stop!” he said.", " “Why?”", " “Because.”"],
        ["It ended... then it began.", " Wait...", " Now it ends."],
        ["Well… it rained.", " A lot."],
        ["1. A red boat.", " 2. A blue boat.", "\n3. A tent."],
        ["Colours:", "\n- red", "\n- blue and\ngreen"],
        ["# The harbour", "\n\na boat lies there", "\n\n(1) Two men.", " One dog."],
        ["他说：“你好！”", "然后走了。", "价格是3.5元。", "真的吗？！", "是的。"],
        ["这是船.", "它很红?", "对!"],
        ["A cat", ""],
        ["... and so on."],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(units: list[str]) -> None:
    assert split("".join(units)) == [unit for unit in units if unit]


def test_sections_end_at_blank_lines() -> None:
    assert split("One. Two.\nThree.\n \nFour.\n\n\nFive.", "section") == [
        "One. Two.\nThree.",
        "\n \nFour.",
        "\n\n\nFive.",
    ]


def test_an_end_that_may_not_be_one_is_waited_for() -> None:
    assert first_unit("It costs 3.", False) is None
    assert first_unit("It costs 3. ", False) is None
    assert first_unit("It costs 3. I", False) == "It costs 3."
    assert first_unit("“你好！", False) is None
    assert first_unit("“你好！”他", False) == "“你好！”"
    assert first_unit("It costs 3", True) == "It costs 3"
    assert first_unit(" \n", True) is None


def test_a_text_that_was_cut_off_lacks_an_end() -> None:
    assert has_end('He said "Go." ') and has_end("好。”")
    assert not has_end("He said") and not has_end("It costs 3.5") and not has_end("")


def test_long_texts_take_no_long_time() -> None:
    for text in ("." * 50_000, '."' * 25_000, " " * 50_000, "a\n" * 25_000, "\n" * 50_000 + "A.", "A. " * 10_000):
        assert "".join(split(text)) == text
