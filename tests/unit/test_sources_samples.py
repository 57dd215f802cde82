"""Files of samples: what is good is read, what a sample brings is kept, a bad line costs that line."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imageref_ray import sources
from imageref_ray.core.config import ConfigError, SourceConfig, check
from imageref_ray.core.parquet_files import parquet_rows, values_from
from imageref_ray.core.records import Failure, Record, from_row, to_row

PICTURES = ["pics/a.png", "https://x.org/b.JPG?w=9"]
DOCUMENT = {"id": "d1", "title": "Title", "text": "One [Image 0] two [Image 1]", "images": PICTURES, "url": "u"}


def sample(name: object = "s1", **more: Any) -> dict[str, Any]:
    return {"id": name, "instruction": "Tell me", "documents": [DOCUMENT], **more}


def read(root: Path, *lines: Any, **settings: Any) -> tuple[list[Record], list[tuple[str, str, str]]]:
    if lines:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (root / "samples.jsonl").write_text(text + "\n", encoding="utf-8")
    found = list(sources.read(check(SourceConfig, {"kind": "samples", "root": str(root), **settings}, "test")))
    failures = [item for item in found if isinstance(item, Failure)]
    return [item for item in found if isinstance(item, Record)], [(f.record_id, f.error, f.item) for f in failures]


def test_a_sample_keeps_its_documents_images_and_response(tmp_path: Path) -> None:
    (record,), failures = read(tmp_path, sample(response="# T\nWords.\n![x](IMAGE_1)\n", category="sport"))
    assert failures == []
    assert (record.id, record.sample.instruction, record.sample.category) == ("s1", "Tell me", "sport")
    assert [(image.id, image.uri) for image in record.sample.images] == [
        ("d1/0.png", str(tmp_path / "pics/a.png")),
        ("d1/1.jpg", "https://x.org/b.JPG?w=9"),
    ]
    assert record.response == "# T\nWords."
    assert from_row(Record, to_row(record)) == record


def test_parquet_rows_are_the_same_samples(tmp_path: Path) -> None:
    pictures = [{"uri": uri, "aesthetics": None} for uri in PICTURES]
    rows = [sample(f"s{n}", documents=[{**DOCUMENT, "images": pictures}], response=None) for n in range(130)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    from_parquet, failures = read(tmp_path)
    assert failures == [] and len(from_parquet) == 130
    (tmp_path / "a.parquet").unlink()
    assert read(tmp_path, *rows)[0] == from_parquet


def test_a_bad_line_costs_that_line_and_is_named(tmp_path: Path) -> None:
    whole = [
        "{torn",
        "[]",
        sample(""),
        sample("a/b"),
        sample("twice"),
        sample("twice"),
        sample("s", documents="none"),
        sample("empty", documents=[]),
        sample("r", response=["# T"]),
        sample("flat", response="No header"),
        sample("bare", instruction=None, documents=[{**DOCUMENT, "title": ""}]),
        sample("dark", documents=[{**DOCUMENT, "images": []}]),
        '{"id": "two", "id": "three"}',
    ]
    records, failures = read(tmp_path, *whole, sample("good"))
    assert [record.id for record in records] == ["twice", "good"]
    assert [(name, error) for name, error, _ in failures] == [
        ("samples.jsonl:1", "BrokenSample"),
        ("samples.jsonl:2", "BrokenSample"),
        ("samples.jsonl:3", "BrokenSample"),
        ("samples.jsonl:4", "BrokenSample"),
        ("samples.jsonl:6", "RepeatedSample"),
        ("s", "BrokenSample"),
        ("empty", "NoDocuments"),
        ("r", "BrokenSample"),
        ("flat", "NoSlots"),
        ("bare", "NoInstruction"),
        ("dark", "NoImages"),
        ("samples.jsonl:13", "BrokenSample"),
    ]


def test_a_line_that_is_not_text_does_not_hide_the_next(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(b'{"id": "\xff"}\n' + json.dumps(sample()).encode())
    records, failures = read(tmp_path)
    assert [record.id for record in records] == ["s1"]
    assert failures == [("samples.jsonl:1", "BrokenSample", "")]


def test_a_sample_is_built_from_the_parts_that_remain(tmp_path: Path) -> None:
    pictures = ["a.png", 7, {"url": "b.png"}, {"uri": "c.png"}]
    documents = [{"id": "d0", "text": " "}, "text", {**DOCUMENT, "images": pictures}, DOCUMENT]
    (record,), failures = read(tmp_path, sample(documents=documents))
    assert [image.id for image in record.sample.images] == ["d1/0.png", "d1/3.png"]
    assert failures == [
        ("s1", "EmptyDocument", "documents[1]"),
        ("s1", "BrokenDocument", "documents[2]"),
        ("s1", "BrokenImage", "d1/1"),
        ("s1", "BrokenImage", "d1/2"),
        ("s1", "RepeatedDocument", "documents[4]"),
    ]


def test_scores_in_the_source_filter_only_where_they_are_given_and_wanted(tmp_path: Path) -> None:
    pictures = [
        {"uri": "a.png", "ocr_text": "long text"},
        {"uri": "b.png", "ocr_chars": 9},
        {"uri": "c.png", "aesthetics": 0.001},
        {"uri": "d.png", "aesthetics": "?"},
        {"uri": "e.png", "ocr_chars": 3, "aesthetics": 0.5},
    ]
    given = sample(documents=[{**DOCUMENT, "images": pictures}])
    assert read(tmp_path, given)[1] == []
    (record,), failures = read(tmp_path, given, filters={"max_ocr_chars": 7, "min_aesthetics": 0.01})
    assert [image.id for image in record.sample.images] == ["d1/3.png", "d1/4.png"]
    assert failures == [
        ("s1", "TextInImage", "d1/0"),
        ("s1", "TextInImage", "d1/1"),
        ("s1", "LowAesthetics", "d1/2"),
    ]


def test_what_pandas_writes_for_missing_values_is_missing_and_ids_are_texts_or_whole_numbers(tmp_path: Path) -> None:
    nan = float("nan")
    columns = {"response": [nan] * 3, "category": [nan] * 3, "id": [7.0, nan, 0.5]}
    good = pa.Table.from_pylist([sample("x")] * 3).drop_columns(["id"])
    for name, values in columns.items():
        good = good.append_column(name, pa.array(values))
    pq.write_table(good, tmp_path / "a.parquet")
    records, failures = read(tmp_path)
    assert [(record.id, record.response, record.sample.category) for record in records] == [("7", "", "")]
    assert failures == [("a.parquet:2", "BrokenSample", ""), ("a.parquet:3", "BrokenSample", "")]
    (tmp_path / "a.parquet").unlink()
    odd = [7.0, 7, True, [1], {"a": 1}, 0.5, None]
    records, failures = read(tmp_path, *map(sample, odd))
    assert [record.id for record in records] == ["7"]
    assert [error for _, error, _ in failures] == ["RepeatedSample", *["BrokenSample"] * 5]


def test_a_string_of_a_parquet_file_that_is_no_utf_8_costs_its_bad_bytes(tmp_path: Path) -> None:
    """Writers other than Arrow's do not check; Arrow itself only does when a value is asked for."""

    def unchecked(values: list[bytes | None]) -> pa.Array:
        told = pa.array(values, pa.binary())
        return pa.Array.from_buffers(pa.string(), len(told), told.buffers())

    rows = pa.Table.from_pylist([sample(name) for name in "abc"]).drop_columns(["instruction"])
    rows = rows.append_column("instruction", unchecked([b"Tell me", b"Gr\xfc\xdfe?", b"Tell me"]))
    rows = rows.append_column("generated", pa.StructArray.from_arrays([unchecked([b"\xff", None, b"x"])], ["model"]))
    pq.write_table(rows, tmp_path / "a.parquet")
    records, failures = read(tmp_path)
    assert [record.sample.instruction for record in records] == ["Tell me", "Gr\ufffd\ufffde?", "Tell me"]
    assert failures == []
    lists = pa.ListArray.from_arrays([0, 1, 2], unchecked([b"\xe4", b"ok"]))
    pq.write_table(pa.table({"texts": lists}), tmp_path / "b.parquet")
    assert list(parquet_rows(tmp_path / "b.parquet")) == [{"texts": ["\ufffd"]}, {"texts": ["ok"]}]
    assert list(values_from(tmp_path / "b.parquet", "texts", 1)) == [(1, ["ok"])]


def test_two_parquet_columns_of_one_name_are_told(tmp_path: Path) -> None:
    rows = pa.Table.from_pylist([sample("x")])
    pq.write_table(rows.append_column("id", pa.array(["y"])), tmp_path / "a.parquet")
    (failure,) = sources.read(check(SourceConfig, {"kind": "samples", "root": str(tmp_path)}, "test"))
    assert isinstance(failure, Failure) and "two columns are named id" in failure.message


def test_a_torn_parquet_file_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 torn")
    records, failures = read(tmp_path, sample())
    assert [record.id for record in records] == ["s1"]
    assert failures == [("a.parquet", "BrokenFile", "")]


def test_limit_counts_usable_samples(tmp_path: Path) -> None:
    rows = sample("a"), sample("a"), sample("b"), sample("c")
    assert [r.id for r in read(tmp_path, *rows, limit=2)[0]] == ["a", "b"]


def test_the_documents_words_for_an_image_are_read_in_one_line(tmp_path: Path) -> None:
    image = {"uri": "a.png", "alt": "two\nboats", "title": None, "caption": 7, "mention": "See [Image 1]."}
    document = {"id": "d", "text": "T [Image 0]", "images": [image]}
    ((record,), _) = read(tmp_path, {"id": "s", "instruction": "I", "documents": [document]})
    (read_image,) = record.sample.images
    assert (read_image.alt, read_image.title, read_image.caption, read_image.mention) == (
        *("two boats", "", "", "See (Image 1)."),
    )


@pytest.mark.parametrize("names", [["*.jsonl"], ["gone.jsonl", "samples.jsonl"], ["notes.txt"]])
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "notes.txt").touch()
    if len(names) == 2:
        (tmp_path / "samples.jsonl").touch()
    with pytest.raises(ConfigError, match=r"source\.files"):
        read(tmp_path, files=names)


def test_the_identity_follows_content_and_not_place(tmp_path: Path) -> None:
    def of(folder: str, text: str) -> str:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text(text)
        return sources.identity(SourceConfig(kind="samples", root=tmp_path / folder))

    assert of("one", "{}") == of("two", "{}") != of("three", "[]")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"files": ["a.jsonl"]}, "files belongs to kind samples, not paper"),
        ({"kind": "samples", "group": "folder"}, "group belongs to kind folder, not samples"),
        ({"kind": "folder", "events": "e.jsonl"}, "events belongs to kind paper, not folder"),
        ({"filters": {"aspect": [2.0, 0.5]}}, r"\[2.0, 0.5\] is not a range"),
        ({"fetch": {"allow_host": ["x"]}}, "did you mean allow_hosts"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(SourceConfig, {"root": "data", **settings}, "test")
