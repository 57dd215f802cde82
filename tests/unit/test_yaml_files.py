"""YAML as people write it: read where there is no doubt, else one sentence with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.config import ConfigError
from imageref_ray.core.yaml_files import BrokenYaml, parse_yaml, read_yaml

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Co")), max_size=12)


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS, max_size=2), max_size=3), st.booleans())
def test_what_is_written_is_read(value: dict[str, object], as_it_stands: bool) -> None:
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=as_it_stands)) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_is_read_in_every_encoding_that_its_mark_names(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes('name: "Böte 漢字"\r\nlist: [1, é]\r\n'.encode(encoding))
    assert read_yaml(tmp_path / "c.yaml") == {"name": "Böte 漢字", "list": [1, "é"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'a: "\ud83d\ude00 \ud83d \0"', {"a": "😀 \ufffd \ufffd"}),
        ("base: &b {x: 1, y: 2}\nhere: {<<: *b, x: 3}", {"base": {"x": 1, "y": 2}, "here": {"x": 3, "y": 2}}),
        ("", None),
    ],
)
def test_what_is_sure_is_read(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["12:30", "1.10", "No", "2024-01-01", "0x10", "1_000", "yes", "1e3", ".nan", "é"])
def test_values_may_be_read_as_they_are_written(text: str) -> None:
    assert parse_yaml(f"a: {text}\nb: [{text}]\nc: ~\nd:", as_text=True) == {
        "a": text,
        "b": [text],
        "c": None,
        "d": None,
    }
    assert parse_yaml("base: &b {x: 1}\nhere: {<<: *b}", as_text=True)["here"] == {"x": "1"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: {c: 1, d: 2,\n c: 3}", "line 3: the key c is given twice"),
        ("a: [1, 2\nb: 3", "line 2: "),
        ("a:\n\t- b", "line 2: found character '\\\\t'"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
        ("? [1, 2]\n: 3", "line 1: found unhashable key"),
        ("[" * 5000, "nested too deeply"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: !!timestamp x", "attribute"),
        ("a: !!bool x", "x"),
    ],
)
def test_what_is_not_sure_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenYaml, match=says) as found:
        parse_yaml(text)
    assert "\n" not in str(found.value)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml is not valid YAML: .*; fix the file"):
        read_yaml(tmp_path / "c.yaml")


def test_bytes_of_another_encoding_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes("a: 1\nb: Böte".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"c\.yaml line 2: byte 0xf6 is not UTF-8"):
        read_yaml(tmp_path / "c.yaml")
