"""JSON as models write it: what can mean one thing only is read, everything else is one error, and nothing hangs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.json_files import BrokenJson
from imageref_ray.core.lenient_json import find, values


def one(text: str) -> Any:
    (value,) = values(text)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('Sure:\n```json\n{"a": [1, 2,],}\n```\nGood?', {"a": [1, 2]}),
        ("{'a': 'the boat's sail', 'b': \"it's\"}", {"a": "the boat's sail", "b": "it's"}),
        (
            '{"a": True, "b": None, "c": FALSE, "d": undefined, "e": NaN, "f": -Infinity}',
            dict(zip("abcdef", [True, None, False, None, None, None], strict=True)),
        ),
        ('{“a”: “two "red" boats”, ‘b’: ‘it’s’, „c“: 1}', {"a": 'two "red" boats', "b": "it’s", "c": 1}),
        ('{"a": 1, // one\n # two\n "b": /* three */ 2}', {"a": 1, "b": 2}),
        ("{predictions: [{position: 1, image: IMAGE_2}]}", {"predictions": [{"position": 1, "image": "IMAGE_2"}]}),
        ("｛“图”：“一”，“数”： [1，2]｝", {"图": "一", "数": [1, 2]}),
        ('{"a": "one\ntwo\tthree", "b": "http://x//y#z"}', {"a": "one\ntwo\tthree", "b": "http://x//y#z"}),
        (
            r'{"a": "IMAGE\_1 \alpha \' \u12", "b": "\ud83d\ude00 \ud83d \u0000"}',
            {"a": r"IMAGE\_1 \alpha ' \u12", "b": "😀 \ufffd \ufffd"},
        ),
        ("{a: 007, b: .5, c: 5., d: +1e3, e: -0.50}", {"a": 7, "b": 0.5, "c": 5, "d": 1000.0, "e": -0.5}),
        ('{"true": 1, null: 2}', {"true": 1, "null": 2}),
        ('[see the note: {"a": 1}', {"a": 1}),
        ('{"a": "``` </think> {"}', {"a": "``` </think> {"}),
        ('{"a": """two "red"\nboats""", "b": ""}', {"a": 'two "red"\nboats', "b": ""}),
        ('{＂a＂：＂two "red" boats＂}', {"a": 'two "red" boats'}),
        ("{'a': ('x', ('y',), ()), 'b': ('z'), 'c': (1)}", {"a": ["x", ["y"], []], "b": "z", "c": 1}),
        ('{\u2060"a"\u200d: 1\u200f}', {"a": 1}),
        (r"{\"a\": \"one\ntwo \\\"red\\\"\"}", {"a": 'one\ntwo "red"'}),
        (r'"{\n  \"a\": [\"IMAGE\\_1\", \"\\u00e9\"]\n}"', {"a": [r"IMAGE\_1", "é"]}),
    ],
)
def test_what_can_mean_one_thing_only_is_read(text: str, value: Any) -> None:
    assert one(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "{",
        '{"a": 1 "b": 2}',
        '{"a": "say "hi""}',
        '{"a": 1',
        "{'a': it is}",
        '{"a": 1, "a": 2}',
        "{]",
        "{,}{:}",
        "[1,,2]",
        "[(1]",
        '{"a": “x", "b": "y”}',
        '[“x", "y”]',
        "[1)]",
        "['mail' 'post']",
        "{'a': ('x' 'y')}",
        "{'a': (,)}",
    ],
)
def test_what_would_have_to_be_guessed_is_an_error(text: str) -> None:
    with pytest.raises(BrokenJson):
        list(values(text))


def test_the_first_wanted_value_is_found_among_others() -> None:
    assert find('See [1] and {"a": 1}, or {"b": 2}.', lambda value: "b" in value) == {"b": 2}
    assert find('See [1] and {"a": 1}.', lambda value: "b" in value) == [1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
surroundings = st.text(st.characters(codec="utf-8", exclude_characters="{}[]｛｝［］"), max_size=20)


@given(surroundings, st.dictionaries(st.text(), json_values) | st.lists(json_values), surroundings, st.booleans())
def test_any_json_is_read_whatever_stands_around_it(before: str, value: Any, after: str, ascii_only: bool) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only)
    assert one(before + written + after) == json.loads(written.replace(r"\u0000", r"\ufffd").replace("\0", "\ufffd"))


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


@given(st.dictionaries(plain, plain, min_size=1) | st.lists(plain, min_size=1), st.integers(1, 3), st.booleans())
def test_json_that_is_written_as_a_string_once_more_is_read(value: Any, times: int, quoted: bool) -> None:
    written = json.dumps(value)
    for _ in range(times):
        written = json.dumps(written)
        written = written if quoted else written[1:-1]
    assert one(f"Here: {written}") == value


python_values = st.recursive(
    st.none() | st.booleans() | st.integers() | plain,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(plain, inner, max_size=4)
    ),
)


@given(st.lists(python_values))
def test_pythons_own_way_to_write_it_is_read(value: Any) -> None:
    assert one(repr(value)) == json.loads(json.dumps(value))


PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "'",
    "“",
    "”",
    "‘",
    "’",
    "\\",
    "\\u",
    "d83d",
    "//",
    "/*",
    "*/",
    "#",
    "\n",
    " ",
    "0",
    "-",
    ".",
]
PIECES += ["1e5", "True", "None", "null", "a", "｛", "：", "\0", "\ud83d", "```"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_any_text_is_values_or_one_error(text: str) -> None:
    try:
        found = list(values(text))
    except BrokenJson as error:
        assert str(error)
    else:
        assert found and all(isinstance(value, dict | list) for value in found)


@pytest.mark.parametrize(
    "unit",
    [
        *PIECES,
        "[ ",
        "[ ] ",
        '{"a":',
        "['",
        '["',
        "[“",
        "[/*",
        "[//",
        "{'a':1,",
        "[1",
        "[007",
        '[["a"],',
        "[-",
        '[""" ',
        '{\\"',
        "{＂",
    ],
)
def test_a_long_row_of_anything_ends_at_once(unit: str) -> None:
    text = unit * (2**18 // len(unit))
    try:
        assert len(list(values(text))) <= 1000
    except BrokenJson as error:
        assert len(str(error)) < 200
