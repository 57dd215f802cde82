"""Paths in a mixture file: from the file where they are there, else from the working folder, as InternVL's own."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray.core.config import ConfigError, ExportConfig, TrainConfig
from imageref_ray.core.records import Document, Image, Record, Sample
from imageref_ray.dataset import mixture
from imageref_ray.dataset.check import check
from imageref_ray.dataset.export import Origin, export, make_target
from imageref_ray.dataset.mixture_paths import relative
from imageref_ray.stages import prompts

ROW = {"id": "1", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "A."}]}


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def rows(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    return path


def entry(meta: Path, values: Any) -> Any:
    """The one entry of a mixture file of these values, as training reads it."""
    meta.parent.mkdir(parents=True, exist_ok=True)
    meta.write_text(json.dumps({"news": values}), encoding="utf-8")
    return mixture.entries(TrainConfig(model="m", output=Path("o"), mixture=meta))["news"]


def exported(run: Path, root: Path) -> Path:
    """An export into `run` of one sample with a picture in `root`; returns its mixture file."""
    (root / "n1").mkdir(parents=True)
    PIL.Image.new("RGB", (4, 4)).save(root / "n1" / "0.png")
    image = Image("n1/0.png", str(root / "n1" / "0.png"), "aa", 4, 4)
    record = Record(Sample("7", "?", (Document("n1", "T", "Text.", (image,)),)), "# Day\nText.")
    config = ExportConfig(formats=("plain", "mixture"))
    target = make_target(root, prompts.load_pack("compact"), config)
    return Path(export(run / "dataset", lambda: iter([record]), target, Origin())["mixture"])


def test_a_run_that_was_moved_trains_and_is_checked(tmp_path: Path) -> None:
    meta = exported(tmp_path / "run", tmp_path / "run" / "images")
    (values,) = json.loads(meta.read_text(encoding="utf-8")).values()
    assert (values["annotation"], values["root"]) == ("annotation.plain.jsonl", "../images")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "dataset" / "mixture.json"
    drawn, skipped = mixture.draw(mixture.entries(TrainConfig(model="m", output=tmp_path, mixture=moved)), 1, 0)
    assert drawn[0].images[0].is_file() and not skipped
    report = check(moved.parent / "annotation.plain.jsonl")
    assert (report.images, report.unchecked, report.findings) == (1, 0, ())


def test_what_lies_elsewhere_keeps_its_whole_path(tmp_path: Path) -> None:
    meta = exported(tmp_path / "runs" / "first", tmp_path / "corpus")
    (values,) = json.loads(meta.read_text(encoding="utf-8")).values()
    assert values["root"] == str((tmp_path / "corpus").resolve())
    assert relative(Path("/data/images"), Path("/rows")) == "/data/images"
    assert relative(tmp_path / "rows", tmp_path / "rows") == "."


def test_internvls_own_files_are_from_the_working_folder(tmp_path: Path, working_folder: Path) -> None:
    rows(working_folder / "playground" / "a.jsonl")
    (working_folder / "images").mkdir()
    values = {"root": "images", "annotation": "playground/a.jsonl"}
    found = entry(tmp_path / "shell" / "meta.json", values)
    assert (found.root, found.annotation) == (Path("images"), Path("playground/a.jsonl"))
    rows(tmp_path / "shell" / "playground" / "a.jsonl")  # only one of both is beside the file
    assert entry(tmp_path / "shell" / "meta.json", values) == found
    (tmp_path / "shell" / "images").mkdir()
    beside = entry(tmp_path / "shell" / "meta.json", values)
    assert (beside.root, beside.annotation) == (tmp_path / "shell/images", tmp_path / "shell/playground/a.jsonl")


def test_an_absolute_path_and_a_missing_root_are_read(tmp_path: Path) -> None:
    path = rows(tmp_path / "data" / "a.jsonl")
    assert entry(tmp_path / "sets" / "meta.json", {"annotation": str(path), "root": "/pictures"}).root == Path(
        "/pictures"
    )
    rows(tmp_path / "sets" / "b.jsonl")
    assert entry(tmp_path / "sets" / "meta.json", {"annotation": "b.jsonl"}).root == tmp_path / "sets"


@pytest.mark.parametrize("value", [5, None, ["a.jsonl"], "x" * 5000, "a\0b", "gone.jsonl", "s3://bucket/a.jsonl"])
def test_what_is_no_path_is_refused_with_its_set(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sets\.news\.annotation|mixture\.news\.annotation"):
        entry(tmp_path / "meta.json", {"root": "/pictures", "annotation": value})


def test_on_a_cluster_paths_beside_the_file_are_whole_and_others_are_refused(
    tmp_path: Path, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    rows(working_folder / "a.jsonl")
    values = {"root": "/pictures", "annotation": "a.jsonl"}
    meta = tmp_path / "sets" / "meta.json"
    with pytest.raises(ConfigError, match=r"meta\.json: sets\.news\.annotation: a\.jsonl is relative"):
        entry(meta, values)
    rows(meta.parent / "a.jsonl")
    assert entry(meta, values).annotation == meta.parent / "a.jsonl"
