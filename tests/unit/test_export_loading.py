"""Whatever a dataset card offers, `datasets.load_dataset(folder, name)` loads, and the rows are the written ones."""

import errno
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow.parquet as pq
import pytest
import yaml

from imageref_ray.core.config import ExportConfig, check
from imageref_ray.core.durable import DiskError
from imageref_ray.core.records import Caption, Document, Image, Placement, Record, Sample, from_row
from imageref_ray.dataset.export import Origin, columns, export, make_target
from imageref_ray.engines.base import EngineError
from imageref_ray.stages import prompts

PACK = prompts.load_pack("compact")
JSON_FORMATS = ["plain", "caption", "responses", "captions", "insertion", "records", "messages", "sharegpt", "llava"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the pictures of two documents; those of a third are missing."""
    for name in ("n1/0.png", "n1/1.png", "n2/0.png"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (4, 3), "red").save(path)
    return tmp_path / "root"


def record(root: Path, news: str, images: int, text: str = "Boats.") -> Record:
    """A record with `images` images; the first one, if any, is placed."""
    found = tuple(Image(f"{news}/{k}.png", str(root / f"{news}/{k}.png"), "aa", 4, 3) for k in range(images))
    sample = Sample(f"event of {news}", "The day?", (Document(news, "Title", text, found),))
    captions = tuple(Caption(image.id, "boats", "Two boats.") for image in found)
    placed = (Placement(1, found[0].id),) if found else (Placement(1),)
    return Record(sample, "# Day\nOverview.\n### Harbour\nBoats came.", captions, placed)


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """The card's front matter and its text."""
    _, matter, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(matter), text


def written(folder: Path, records: list[Record], root: Path, **settings: Any) -> Path:
    config = check(ExportConfig, settings, "test")
    export(folder / "dataset", lambda: iter(records), make_target(root, PACK, config), Origin())
    return folder / "dataset"


def loaded(folder: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """Split → rows of a config of the card."""
    found = datasets.load_dataset(str(folder), name, cache_dir=str(folder.parent / "cache"))
    return {split_name: list(rows) for split_name, rows in found.items()}


@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({}, ["plain", "caption", "records", "insertion", "responses"]),
        (
            {"formats": JSON_FORMATS, "split": {"train": 0.5, "test": 0.5}},
            ["plain", "caption", "messages", "sharegpt", "records", "insertion", "responses"],
        ),
        ({"formats": ["records"], "split": {"train": 0.5, "test": 0.5}}, ["records"]),
        ({"formats": [*JSON_FORMATS, "parquet"]}, ["parquet", "records"]),
        ({"formats": ["parquet", "plain"], "embed_images": True, "split": {"train": 0.5, "test": 0.5}}, ["parquet"]),
    ],
)
def test_every_config_of_the_card_loads(
    settings: dict[str, Any], offered: list[str], tmp_path: Path, root: Path
) -> None:
    records = [record(root, "n1", 2), record(root, "n2", 1), record(root, "n3", 0), record(root, "n4", 0)]
    folder = written(tmp_path, records, root, **settings)
    matter, text = card_of(folder)
    assert [config["config_name"] for config in matter["configs"]] == offered
    assert f"loads {', '.join(offered)}." in text
    for name in offered:
        rows = loaded(folder, name)
        assert set(rows) == ({"train", "test"} if "split" in settings else {"train"})
        assert sum(map(len, rows.values())) == len(records)
        if name == "records":
            found = [from_row(Record, row) for part in rows.values() for row in part]
            assert sorted(found, key=str) == sorted(records, key=str)
    unlisted = [line for line in text.splitlines() if "in JSON lines (plain" in line]
    assert bool(unlisted) == ("parquet" in settings.get("formats", ()))


def test_rows_are_loaded_as_they_were_written(tmp_path: Path, root: Path) -> None:
    folder = written(tmp_path, [record(root, "n3", 0), record(root, "n1", 2)], root, formats=JSON_FORMATS)
    for config in card_of(folder)[0]["configs"]:
        lines = (folder / config["data_files"][0]["path"]).read_text(encoding="utf-8").splitlines()
        assert loaded(folder, config["config_name"])["train"] == [json.loads(line) for line in lines]
    table = pq.read_table(folder / "records.parquet").to_pylist()
    assert table == [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_picture_after_megabytes_without_one_loads(tmp_path: Path, root: Path) -> None:
    """`datasets` infers types from the first 10 MiB; columns that begin empty need those of the card."""
    bare = [record(root, f"b{number}", 0, "x" * 2**20) for number in range(12)]
    folder = written(tmp_path, [*bare, record(root, "n1", 2)], root, formats=["plain", "records", "messages"])
    (with_images,) = (row for row in loaded(folder, "plain")["train"] if row["image"])
    assert with_images["image"] == ["n1/0.png", "n1/1.png"]
    (with_images,) = (row for row in loaded(folder, "messages")["train"] if row["images"])
    assert with_images["images"] == ["n1/0.png", "n1/1.png"]
    (with_captions,) = (row for row in loaded(folder, "records")["train"] if row["captions"])
    assert with_captions["placements"][0]["image_id"] == "n1/0.png"


def test_a_file_that_begins_with_megabytes_without_a_picture_loads_without_the_card(tmp_path: Path, root: Path) -> None:
    """As LLaMA-Factory and ms-swift load it, and as the card says for what it does not offer."""
    bare = [record(root, f"b{number}", 0, "x" * 2**20) for number in range(12)]
    records = [*bare, record(root, "n1", 2), record(root, "n3", 0), record(root, "n2", 1)]
    folder = written(tmp_path, records, root, formats=["plain", "messages", "sharegpt"])
    ids = [f"event of {news}" for news in ("n1", *(f"b{number}" for number in range(12)), "n3", "n2")]
    for name, column in (("annotation.plain", "image"), ("messages", "images"), ("sharegpt", "images")):
        files = str(folder / f"{name}.jsonl")
        rows = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
        assert (rows["id"][:], rows[column][0], rows[column][14]) == (ids, ["n1/0.png", "n1/1.png"], ["n2/0.png"])
        assert rows[column][1:14] == [[]] * 13


def test_of_two_exports_at_once_the_later_one_writes_the_data_set(tmp_path: Path, root: Path) -> None:
    records = [record(root, "n1", 2), record(root, "n2", 1)]

    def read() -> Iterator[Record]:
        yield records[0]
        written(tmp_path, records, root, formats=["plain", "records"])  # another start of the job, meanwhile
        yield records[1]

    config = check(ExportConfig, {"formats": ["plain", "records"]}, "test")
    with pytest.raises(EngineError, match=f"another start of the job has taken over {tmp_path}/dataset; this one"):
        export(tmp_path / "dataset", read, make_target(root, PACK, config), Origin())
    assert [path.name for path in tmp_path.iterdir() if "dataset" in path.name] == ["dataset"]
    assert [len(rows["train"]) for rows in map(partial(loaded, tmp_path / "dataset"), ("plain", "records"))] == [2, 2]


def test_a_failed_export_leaves_no_files_that_fill_the_disk(tmp_path: Path, root: Path) -> None:
    (tmp_path / ".dataset.0123456789ab.tmp").mkdir()  # of a killed one

    def read() -> Iterator[Record]:
        yield record(root, "n1", 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = make_target(root, PACK, check(ExportConfig, {"formats": ["plain"]}, "test"))
    with pytest.raises(DiskError, match=r"/\.dataset\.\w+\.tmp cannot be written: No space left on device"):
        export(tmp_path / "dataset", read, target, Origin())
    assert {path.name for path in tmp_path.iterdir()} == {"root", "dataset"}
    assert list((tmp_path / "dataset").iterdir()) == []


def test_rows_stay_in_order_where_a_picture_comes_early(tmp_path: Path, root: Path) -> None:
    records = [record(root, "n3", 0, "x" * 2**18), record(root, "n1", 2), record(root, "n2", 1)]
    folder = written(tmp_path, records, root, formats=["messages"])
    lines = (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["event of n3", "event of n1", "event of n2"]


def test_a_parquet_file_without_any_row_is_not_offered(tmp_path: Path, root: Path) -> None:
    gone = [record(root, "gone", 1)]
    folder = written(tmp_path, gone, root, formats=["parquet", "records"], embed_images=True)
    matter, text = card_of(folder)
    assert [config["config_name"] for config in matter["configs"]] == ["records"]
    assert "1 samples are not in the Parquet file" in text
    assert len(loaded(folder, "records")["train"]) == 1


def test_no_column_of_a_loadable_format_is_without_declaration(tmp_path: Path, root: Path) -> None:
    folder = written(tmp_path, [record(root, "n1", 2)], root, formats=JSON_FORMATS)
    info = {entry["config_name"]: entry["features"] for entry in card_of(folder)[0]["dataset_info"]}
    for name in set(columns.LOADABLE) - {"parquet"}:
        (row,) = loaded(folder, name)["train"]
        assert [feature["name"] for feature in info[name]] == list(row)
