"""Interleaved Parquet (NeMo Curator): samples in order, pictures in rows, files, archives; what is missing is said."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imageref_ray import sources
from imageref_ray.core import parquet_files
from imageref_ray.core.config import ConfigError, SourceConfig
from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem
from imageref_ray.core.records import Failure, Record, Sample
from imageref_ray.sources.fetch import fetch
from imageref_ray.sources.pages import picture_parts
from imageref_ray.sources.prepare_images import prepare_images

SCHEMA = pa.schema([
    pa.field("sample_id", pa.string()),
    pa.field("position", pa.int32()),
    pa.field("modality", pa.string()),
    pa.field("content_type", pa.string()),
    pa.field("text_content", pa.string()),
    pa.field("binary_content", pa.large_binary()),
    pa.field("source_ref", pa.string()),
    pa.field("materialize_error", pa.string()),
])  # fmt: skip
REFERENCE = pa.struct([
    ("path", pa.string()), ("member", pa.string()), ("byte_offset", pa.int64()), ("byte_size", pa.int64()),
])  # fmt: skip


def png(colour: str, side: int = 60) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


def row(sample: str | None, position: int | None, modality: str | None, **more: Any) -> dict[str, Any]:
    return {**dict.fromkeys(SCHEMA.names), "sample_id": sample, "position": position, "modality": modality, **more}


def text(sample: str, position: int, words: str) -> dict[str, Any]:
    return row(sample, position, "text", content_type="text/plain", text_content=words)


def reference(struct: bool, path: str | None, **more: Any) -> Any:
    found = {"path": path, "member": None, "byte_offset": None, "byte_size": None, **more}
    return found if struct else json.dumps(found)


def write(path: Path, rows: list[dict[str, Any]], struct: bool = False, group: int = 1000) -> None:
    schema = SCHEMA.set(6, pa.field("source_ref", REFERENCE)) if struct else SCHEMA
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)


def read(root: Path, **settings: Any) -> tuple[list[Sample], list[Failure]]:
    items = list(sources.read(SourceConfig(kind="folder", root=root, pages=("**/*.parquet",), **settings)))
    samples = [item.sample for item in items if isinstance(item, Record)]
    return samples, [item for item in items if isinstance(item, Failure) and item.error != "IgnoredFiles"]


def prepared(root: Path, sample: Sample, run: Path) -> tuple[list[Any], list[str]]:
    """The colours of a sample's usable pictures, and why the others cannot be used."""
    usable, failures = prepare_images(sample, SourceConfig(kind="folder", root=root), run)
    colours = []
    for image in usable.images:
        with PIL.Image.open(image.uri) as picture:
            colours.append(picture.convert("RGB").getpixel((0, 0)))
    return colours, [failure.error for failure in failures]


@pytest.mark.parametrize("struct", [False, True])
def test_samples_are_read_in_order_of_position_whatever_the_order_of_rows(tmp_path: Path, struct: bool) -> None:
    root = tmp_path / "data"
    (root / "pictures").mkdir(parents=True)
    (root / "pictures" / "green one.png").write_bytes(png("green"))
    about = json.dumps({"url": "https://town.example/a", "title": "Boats"})
    rows = [
        row("a/1", -1, "metadata", content_type="application/json", text_content=about),
        text("a/1", 0, "Two boats [Image 7] lie here."),
        row("a/1", 2, "image", content_type="image/png", binary_content=png("red"), text_content="The red\nboat"),
        text("a/1", 3, "# Later\nFigure 2: The green one"),
        row("a/1", 9, "image", source_ref=reference(struct, "pictures/green one.png")),
        text("b", 0, "# Piers\nWords."),
        row("b", 1, "image", binary_content=png("blue"), source_ref=reference(struct, None)),
    ]
    random.Random(1).shuffle(rows)
    write(root / "part.parquet", rows, struct)
    samples, failures = read(root)
    (document,) = next(sample for sample in samples if sample.instruction == "Boats").documents
    assert document.text.split("\n") == [
        "Two boats (Image 7) lie here.",
        "[Image 0]",
        "# Later",
        "Figure 2: The green one",
        "[Image 1]",
    ]
    assert document.url == "https://town.example/a"
    assert [image.alt for image in document.images] == ["The red boat", ""]
    assert document.images[1].caption == "Figure 2: The green one"
    assert sorted(sample.instruction for sample in samples) == ["Boats", "Piers"] and not failures
    assert {sample.id.rpartition("-")[0] for sample in samples} == {"1", "b"}
    colours = {sample.instruction: prepared(root, sample, tmp_path / "run") for sample in samples}
    assert colours == {"Boats": ([(255, 0, 0), (0, 128, 0)], []), "Piers": ([(0, 0, 255)], [])}


@pytest.mark.parametrize("struct", [False, True])
def test_pictures_in_archives_are_read_by_their_bytes_or_names_and_tiffs_by_frame(tmp_path: Path, struct: bool) -> None:
    frames = [PIL.Image.new("RGB", (30, 30), colour) for colour in ("white", "black")]
    tiff = io.BytesIO()
    frames[0].save(tiff, "TIFF", save_all=True, append_images=frames[1:])
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name, data in (("a.png", png("red")), ("b.tiff", tiff.getvalue())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with tarfile.open(tmp_path / "shard.tar") as archive:
        where = archive.getmember("a.png")
    bytes_of = {"byte_offset": where.offset_data, "byte_size": where.size}
    references = [
        reference(struct, "shard.tar", member="a.png", **bytes_of),
        reference(struct, str(tmp_path / "shard.tar"), member="a.png"),
        reference(struct, "shard.tar", member="gone.png"),
        reference(struct, "gone.tar", member="a.png"),
        reference(struct, "shard.tar", member="a.png", byte_offset=where.offset_data, byte_size=10**6),
        reference(struct, "../other/shard.tar", member="a.png"),
    ]
    if not struct:
        references.append(reference(struct, "shard.tar", member="b.tiff", frame_index=1))
    rows = [text("a", 0, "Words."), *(row("a", n, "image", source_ref=one) for n, one in enumerate(references, 1))]
    write(tmp_path / "part.parquet", rows, struct)
    ((sample,), failures) = read(tmp_path)
    colours, errors = prepared(tmp_path, sample, tmp_path / "run")
    assert colours == [(255, 0, 0), (255, 0, 0), *[(0, 0, 0)] * (not struct)] and not failures
    assert errors == ["MissingImage", "MissingImage", "BrokenImage", "ForbiddenAddress"]


def test_what_is_missing_or_broken_is_a_row_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = [
        text("a", 5, "Last."),
        text("a", 0, "First."),
        row("a", 1, "image", binary_content=png("red")),
        row("a", 2, "image", binary_content=b"no picture"),
        row("a", 3, "image", materialize_error="missing member 'x'"),
        row("a", 4, "image", source_ref="{broken"),
        row("a", 4, "image", source_ref=json.dumps({"path": "s3://bucket/shard.tar", "member": "x.jpg"})),
        row("a", 4, "image", source_ref=json.dumps({"path": "gone.png"})),
        row("a", None, "text", text_content="Nowhere."),
        row("a", 6, "audio", binary_content=b"RIFF"),
        row("a", 7, "text"),
        row(None, 0, "text", text_content="Nobody's."),
        row("empty", 0, "text"),
        text("words", 0, "Only words."),
    ]
    write(tmp_path / "part.parquet", rows)
    ((sample,), failures) = read(tmp_path)
    assert sample.instruction == "a"
    assert sample.documents[0].text.split("\n") == [
        *("First.", "[Image 0]", "[Image 1]", "[Image 2]"),
        *("Last.", "Nowhere."),
    ]
    found = [(failure.error, failure.message.partition(": ")[2] or failure.message) for failure in failures]
    assert [error for error, _ in found] == [
        *("BrokenRow", "BrokenRow", "MissingImage", "BrokenRow", "MissingImage", "UnreadRows"),
        *("EmptyDocument", "NoImages"),
    ]
    assert "has 1 rows without sample_id, the first is 11" in found[0][1]
    assert found[2][1] == "the picture in row 4 has no binary_content and no path: missing member 'x'"
    assert "is part of s3://bucket/shard.tar, which is not on this machine" in found[4][1]
    assert found[5][1] == "1 rows of modality 'audio'"
    colours, errors = prepared(tmp_path, sample, tmp_path / "run")
    assert colours == [(255, 0, 0)] and errors == ["NotAnImage", "MissingImage"]


def test_a_file_without_pictures_in_it_is_read_by_its_references_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [text("a", 0, "# Boats\nWords."), row("a", 1, "image", source_ref=json.dumps({"path": "a.png"}))]
    table = pa.Table.from_pylist(rows, schema=SCHEMA).drop_columns(["binary_content", "materialize_error"])
    pq.write_table(table, tmp_path / "part.parquet")
    ((sample,), failures) = read(tmp_path)
    assert (sample.images[0].uri, failures) == (str(tmp_path / "a.png"), [])


def test_positions_that_pandas_made_fractions_are_whole_numbers(tmp_path: Path) -> None:
    schema = SCHEMA.set(1, pa.field("position", pa.float64()))
    rows = [text("a", 1, "Then."), text("a", 0, "# First"), row("a", 2, "image", binary_content=png("red"))]
    rows.append(row("a", float("nan"), "text", text_content="Nowhere."))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "part.parquet")
    ((sample,), failures) = read(tmp_path)
    assert sample.documents[0].text == "Then.\n[Image 0]\nNowhere."
    assert [failure.error for failure in failures] == ["BrokenRow"]


def test_long_samples_are_cut_and_a_folder_is_one_sample(tmp_path: Path) -> None:
    rows = []
    for n in range(6):
        rows += [
            text("a", 2 * n, f"# Part {n}\n" + "word " * 60),
            row("a", 2 * n + 1, "image", binary_content=png("red")),
        ]
    write(tmp_path / "part.parquet", rows)
    samples, _ = read(tmp_path, sections={"max_tokens": 100})
    assert [sample.instruction.rpartition(" › ")[2] for sample in samples] == [f"Part {n}" for n in range(6)]
    write(tmp_path / "other.parquet", [text("b", 0, "Words."), row("b", 1, "image", binary_content=png("blue"))])
    ((sample,), failures) = read(tmp_path, group="folder")
    assert [len(document.images) for document in sample.documents] == [1, 6] and not failures


def test_the_pictures_of_a_file_are_read_once_not_once_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [text("a", 0, "Words.")]
    rows += [row("a", n, "image", binary_content=png("red", 20 + n)) for n in range(1, 30)]
    write(tmp_path / "part.parquet", rows)
    ((sample,), _) = read(tmp_path, sections={"max_images": None})
    opened: list[int] = []
    values = parquet_files.values_from

    def counted(path: Path, column: str, first: int) -> Any:
        opened.append(first)
        return values(path, column, first)

    monkeypatch.setattr(picture_parts, "values_from", counted)
    one_by_one = SourceConfig(kind="folder", root=tmp_path, fetch={"parallel": 1})
    usable, failures = prepare_images(sample, one_by_one, tmp_path / "run")
    assert [image.width for image in usable.images] == [20 + n for n in range(1, 30)] and not failures
    assert opened == [1]


@pytest.mark.parametrize("group", [1, 3, 1000])
def test_values_are_found_in_any_group_of_rows(tmp_path: Path, group: int) -> None:
    rows = [row("a", n, "image", binary_content=b"%d" % n if n % 2 else None) for n in range(10)]
    write(tmp_path / "part.parquet", rows, group=group)
    path = tmp_path / "part.parquet"
    assert [next(parquet_files.values_from(path, "binary_content", n))[1] for n in (1, 7, 9)] == [b"1", b"7", b"9"]
    assert list(parquet_files.values_from(path, "binary_content", 10)) == []
    for expected in ([False] * 10, [True] * 10, [n % 2 > 0 for n in range(10)]):
        assert parquet_files.filled(path, "binary_content", expected) == [n % 2 > 0 for n in range(10)]


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("parquet:{}/part.parquet#column=binary_content&row=5", "MissingImage"),
        ("parquet:{}/part.parquet#column=binary_content&row=-1", "BrokenAddress"),
        ("parquet:{}/part.parquet#column=gone&row=0", "BrokenImage"),
        ("parquet:{}/part.parquet#row=0", "BrokenAddress"),
        ("parquet:{}/part.parquet#column=text_content&row=0", "MissingImage"),
        ("parquet:{}/gone.parquet#column=binary_content&row=0", "MissingImage"),
        ("part:{}/part.parquet#offset=-1&size=5", "BrokenImage"),
        ("part:{}/part.parquet#offset=0&size=-5", "BrokenImage"),
        ("part:{}/part.parquet#member=a", "BrokenImage"),
        ("part:{}/part.parquet#frame=x", "BrokenImage"),
        ("part:{}/part.parquet#offset=0&size=9999999", "ImageTooLarge"),
        ("part:/etc/passwd#offset=0&size=5", "ForbiddenAddress"),
    ],
)
def test_addresses_of_no_picture_are_refused_with_a_reason(tmp_path: Path, part: str, error: str) -> None:
    write(tmp_path / "part.parquet", [text("a", 0, "Words."), row("a", 1, "image", binary_content=png("red"))])
    found = fetch(part.format(tmp_path), tmp_path, tmp_path / "run", FetchConfig(), 1_000_000)
    assert isinstance(found, Problem) and found.error == error


def test_a_picture_that_is_too_large_is_refused_before_it_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "part.parquet", [text("a", 0, "Words."), row("a", 1, "image", binary_content=png("red"))])
    address = picture_parts.row_address(tmp_path / "part.parquet", "binary_content", 1)
    found = fetch(address, tmp_path, tmp_path / "run", FetchConfig(), 100)
    assert isinstance(found, Problem) and found.error == "ImageTooLarge"


def test_other_parquet_and_interleaved_samples_are_told_where_they_are_read(tmp_path: Path) -> None:
    write(tmp_path / "part.parquet", [text("a", 0, "Words.")])
    (failure,) = sources.read(SourceConfig(kind="samples", root=tmp_path))
    assert isinstance(failure, Failure) and failure.error == "InterleavedFile"
    assert failure.message.endswith("read it with source.kind: folder and source.pages: ['**/*.parquet']")
    pq.write_table(pa.table({"id": ["a"], "documents": [["x"]]}), tmp_path / "part.parquet")
    _, (failure,) = read(tmp_path)
    assert failure.error == "UnknownFormat" and "source.kind: samples" in failure.message
    (tmp_path / "part.parquet").write_bytes(b"PAR1")
    _, (failure,) = read(tmp_path)
    assert failure.error == "BrokenDocument"
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        parquet_files.columns_of(tmp_path / "part.parquet")
