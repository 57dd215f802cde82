"""Records become rows of plain values and come back as they were, also through JSON and Parquet."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.core import markdown, records
from imageref_ray.core.records import Image, Record, from_row, to_row
from imageref_ray.core.text import json_text
from imageref_ray.dataset.export import columns
from tests.sweeps import sweep


@dataclass(frozen=True, slots=True)
class Shown:
    """Fields whose value may be missing, of every nested kind."""

    main: Image | None = None
    others: tuple[Image, ...] | None = None
    names: tuple[str, ...] = ()
    note: str | None = None


KINDS: list[type] = [
    kind for kind in vars(records).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
]
WHOLE = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8"))  # what `well_formed` lets in
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(int, WHOLE)
st.register_type_strategy(float, NUMBERS)


def test_every_record_class_is_tried() -> None:
    assert {"Sample", "Record", "VisualQuestion", "Instruction", "Failure", "Unit", "Usage"} <= {
        kind.__name__ for kind in KINDS
    }
    assert len(KINDS) == 13


@pytest.mark.parametrize("kind", [*KINDS, Shown])
@given(st.data())
@settings(max_examples=sweep(25))
def test_a_record_comes_back_as_it_was_also_through_json(kind: type[Any], data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    row = to_row(value)
    assert from_row(kind, row) == value
    assert from_row(kind, {**row, "unknown": 1}) == value
    assert from_row(kind, json.loads(json_text(row))) == value


@settings(max_examples=sweep(25))
@given(st.lists(st.from_type(Record), max_size=3))
def test_records_come_back_through_the_table_that_is_exported(made: list[Record]) -> None:
    without_costs = [dataclasses.replace(record, usage=records.Usage()) for record in made]
    table = pa.Table.from_pylist([to_row(record) for record in made], schema=columns.schema("records"))
    assert [from_row(Record, row) for row in table.to_pylist()] == without_costs


def test_an_older_row_without_the_documents_words_is_read_and_no_word_counts_twice() -> None:
    assert from_row(Image, {"id": "d/0.png", "uri": "a.png"}) == Image("d/0.png", "a.png")
    image = Image("d/0.png", "a.png", alt="The menu", title="the menu", caption="Figure 3: The menu", mention="See it.")
    assert image.words == ("Figure 3: The menu", "See it.")


def test_what_only_looks_like_a_number_of_an_image_is_text() -> None:
    long = f"[Image {'9' * 5000}]"
    document = records.Document("d", "T", f"One {long} two [Image ٣].", (Image("d/3.png", "a.png"),))
    assert markdown.render(document, lambda image: image.uri) == f"# T\nOne {long} two a.png."
    assert markdown.pieces(document) == (f"# T\nOne {long} two ", document.images[0], ".")
    assert [Image(f"d/{stem}.png", "u").index for stem in ("²", "9" * 5000, "٣", "")] == [-1, -1, 3, -1]
