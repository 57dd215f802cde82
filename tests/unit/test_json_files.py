"""JSON as people write it: read where there is no doubt, else one row that says what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import read_text
from imageref_ray.core.json_files import (
    DEPTH,
    BrokenJson,
    NotText,
    json_at,
    json_lines,
    json_list,
    json_rows,
    parse_json,
    read_json,
)

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


def write(folder: Path, data: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode(encoding))
    return path


def values(path: Path) -> list[Any]:
    """Every row's value; of one that is broken, what it says."""
    found = []
    for row in json_rows(path):
        try:
            found.append(row.read())
        except BrokenJson as error:
            found.append(f"{row.where}: {error}")
    return found


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.lists(st.text(max_size=5), max_size=2)
objects = st.dictionaries(st.text('ab"\\\n\r\u2028\x85é😀', max_size=5), plain, max_size=3)


@given(st.lists(objects, min_size=1, max_size=3), st.sampled_from(ENCODINGS), st.booleans(), st.booleans())
def test_every_value_comes_back_in_every_encoding_from_lines_and_from_a_list(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], encoding: str, ascii_only: bool, as_list: bool
) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    text = " [" + " ,\r\n".join(lines) + " ]\n" if as_list else "\r\n".join(lines) + "\n\n"
    path = write(tmp_path_factory.mktemp("rows"), text, encoding)
    expected = [parse_json(line) for line in lines]
    assert values(path) == expected
    assert [json_at(path, row.offset, row.size) for row in json_rows(path)] == expected


@given(st.lists(objects, min_size=1, max_size=4), st.integers(1, 9))
def test_a_list_is_the_same_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], chunk: int
) -> None:
    path = write(tmp_path_factory.mktemp("rows"), json.dumps([*rows, 1234567, "x"]))
    assert [row.read() for row in json_list(path, chunk)] == [row.read() for row in json_list(path)]


def test_only_a_line_feed_ends_a_row_and_control_characters_in_strings_stand() -> None:
    assert parse_json('{"a": "x\r\ty\u2028z\x85"}') == {"a": "x\r\ty\u2028z\x85"}


def test_rows_are_split_at_line_feeds_alone(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": "x\u2028y\rz\x85\x0b"}\n\ufeff{"a": 2}\n \r\n{"a": 3}')
    assert values(path) == [{"a": "x\u2028y\rz\x85\x0b"}, {"a": 2}, {"a": 3}]
    assert [(row.line, row.place) for row in json_rows(path)] == [(1, ":1"), (2, ":2"), (4, ":4")]


def test_halves_of_a_character_are_joined_and_a_single_one_is_told_or_replaced() -> None:
    assert parse_json(r'{"a\uD83D\uDE00": ["\ud83d\ude00"]}') == {"a😀": ["😀"]}
    assert parse_json(r'{"\ude00": "x\ud83d", "b": ["\u0000"]}') == {"\ufffd": "x\ufffd", "b": ["\ufffd"]}
    assert parse_json(r'["\\ud83d", "\\u0000", "\ufffd"]', repair=False) == [r"\ud83d", r"\u0000", "\ufffd"]
    for text in (r'["x\ud83d"]', r'{"\udc00": 1}', r'"\u0000"'):
        with pytest.raises(NotText, match="half a character"):
            parse_json(text, repair=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[NaN, Infinity, -Infinity, 1e999, 1e-999]", [None, None, None, None, 0.0]),
        ('{"a": 1, "a": 1}', {"a": 1}),
        ("\ufeff[1]", [1]),
        ("[" * DEPTH + "]" * DEPTH, json.loads("[" * DEPTH + "]" * DEPTH)),
    ],
)
def test_what_is_beyond_the_standard_is_read_where_it_is_sure(text: str, value: Any) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', r"an object gives the key 'c' twice"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep"),
        ('{"a":' * 100_000, "nested more than 100 deep"),
        ("9" * 5000, "not valid JSON"),
        ('{"a": "\0"}', "NUL bytes"),
        ('{"a": 1}\n{"b"', r"Extra data, line 2 column 1"),
        ("", "Expecting value, column 1"),
    ],
)
def test_what_is_not_sure_is_named(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenJson, match=says):
        parse_json(text)
    with pytest.raises(ConfigError, match=r"rows\.jsonl .*(not valid JSON|NUL bytes)"):
        read_json(write(tmp_path, text))


def test_a_bad_line_costs_that_line(tmp_path: Path) -> None:
    data = b'{"a": 1}\n{"a": "caf\xe9"}\n{"a": "\0"}\n\0\0\0\n{"a": 1, "a": 2}\n{"a": 3}\n{"a": "tor'
    one, latin, nul, zeros, twice, three, torn = values(write(tmp_path, data))
    assert (one, three) == ({"a": 1}, {"a": 3})
    assert latin == "line 2: byte 0xe9 is not UTF-8, perhaps Windows-1252 or GBK; save the file as UTF-8"
    assert nul.startswith("line 3: not text (it has NUL bytes)") and zeros.startswith("line 4: not text")
    assert twice == "line 5: not valid JSON (an object gives the key 'a' twice)"
    assert torn.startswith("line 7: not valid JSON (Unterminated") and torn.endswith("perhaps it was cut off")


def test_a_bad_item_costs_that_item_and_a_torn_list_says_from_where_on(tmp_path: Path) -> None:
    path = write(tmp_path, b'[{"a": 1},\n {"a": "caf\xe9"}, {"a": 1, "a": 2},\n {"a": 3},\n {"a": "tor')
    one, latin, twice, three, torn = values(path)
    assert (one, three) == ({"a": 1}, {"a": 3})
    assert latin.startswith("line 2, item [1]: byte 0xe9 is not UTF-8")
    assert twice == "line 2, item [2]: not valid JSON (an object gives the key 'a' twice)"
    assert torn.startswith("line 4, item [4]: not valid JSON from here on (Unterminated")
    assert values(write(tmp_path, "[1, 2]\n[3]")) == [
        1,
        2,
        "line 1, item [2]: not valid JSON from here on (text after the end of the list)",
    ]
    assert [row.read() for row in json_lines(path.parent / "rows.jsonl")] == [[1, 2], [3]]
    assert values(write(tmp_path, " [ ] \n")) == []


def test_a_wide_encoding_is_read_by_its_mark_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 1: NUL bytes, as UTF-16 without a byte order mark has; save"):
        values(write(tmp_path, '{"a": 1}', "utf-16-le"))
    torn = write(tmp_path, '{"a": "\u0a0a"}\n{"a": 2}\n'.encode("utf-16")[:-3])
    first, second = values(torn)
    assert first == {"a": "\u0a0a"} and "is not UTF-16; save the file as UTF-8" in second


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gzip.compress(b'{"a": 1}', mtime=0), "a gzip archive"),
        (b"PK\x03\x04" + b"x" * 40, "a ZIP archive or an Excel file"),
        (b"PAR1\x15\x04\x15\x10", "a Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, data)
    for read in (values, read_text, read_json, lambda path: list(json_list(path)), lambda path: list(json_lines(path))):
        with pytest.raises(ConfigError, match=rf"rows\.jsonl is {kind}.*, not text; give the text itself"):
            read(path)
