"""A finished build writes other files from its records: without an engine, and its card and manifest stay true."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray import sources
from imageref_ray.batch import manifest, store
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.build import build, fingerprint_settings
from imageref_ray.core.config import BuildConfig, check
from imageref_ray.core.records import Placement, Record, to_row
from imageref_ray.dataset.export import Origin, export, make_target
from imageref_ray.picturenews import corpus

RESPONSE = "# A day out\nWhat happened.\n### The harbour\nBoats came."


def config(run: Path, source: str, **export: Any) -> BuildConfig:
    engine = {"kind": "scripted", "model": "none", "script": "tests.scripted:broken"}  # whoever asks it, fails
    values = {"source": {"root": source}, "output": str(run), "engine": engine, "export": export}
    return check(BuildConfig, values, "test")


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("news")
    corpus.write(root, 6, 5)
    return root


@pytest.fixture
def run(tmp_path: Path, news: Path) -> Path:
    """A finished build of six events, one of them in the quarantine, with a file of conversations."""
    done = config(tmp_path / "run", str(news), formats=["plain", "messages"])
    samples = [item for item in sources.read(done.source) if isinstance(item, Record)][:5]
    placed = tuple(Placement(slot) for slot in (1, 2))
    records = [Record(item.sample, RESPONSE, placements=placed) for item in samples]
    store.Store(done.output).write([store.Result(record.sample.id, to_row(record)) for record in records], [])
    recipe = make_recipe(done)
    settings = fingerprint_settings(done, recipe)
    manifest.begin(done.output, settings, done.model_dump(mode="json"))
    to = make_target(done.source.root, recipe.pack, done.export)
    files = export(done.output / "dataset", lambda: iter(records), to, Origin())
    outcome = {"records": 5, "quarantined": 1, "problems": {"ParseError": 1}, "seconds": 8.0, "files": files}
    manifest.finish(done.output, done.model_dump(mode="json"), settings, outcome)
    return done.output


def again(run: Path, **export: Any) -> tuple[dict[str, Any], str]:
    """The build once more: its summary and what it says."""
    screen = io.StringIO()
    summary = build(config(run, manifest.job_and_config(run)[1]["source"]["root"], **export), Console(file=screen))
    return summary, " ".join(screen.getvalue().split())


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "dataset").iterdir())


def test_a_changed_export_is_written_from_the_records_and_nothing_of_the_old_one_is_left(run: Path) -> None:
    assert names(run) == ["README.md", "annotation.plain.jsonl", "dataset_info.json", "messages.jsonl"]
    split = {"train": 0.6, "test": 0.4}
    summary, printed = again(run, formats=["plain", "llava"], split=split, license="cc-by-4.0")
    wrote = ["annotation.plain.test.jsonl", "annotation.plain.train.jsonl", "llava.test.json", "llava.train.json"]
    assert names(run) == ["README.md", *wrote]
    assert "is done: 5 records; export.formats, export.license, export.split changed; wrote README.md, " in printed
    assert "without any engine; removed annotation.plain.jsonl, dataset_info.json, messages.jsonl" in printed
    lines = [line for part in wrote[:2] for line in (run / "dataset" / part).read_text(encoding="utf-8").splitlines()]
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == 5
    card = (run / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card and "1 × ParseError" in card and "llava.train.json" in card
    finished = manifest.finished(run)
    assert finished["summary"] == summary and summary["seconds"] == 8.0
    assert (
        finished["config"]["export"]["formats"]
        == manifest.job_and_config(run)[1]["export"]["formats"]
        == ["plain", "llava"]
    )
    assert again(run, formats=["plain", "llava"], split=split, license="cc-by-4.0") == (
        summary,
        f"{run} is done: 5 records, nothing left to do",
    )


def test_a_file_that_is_gone_is_written_again(run: Path) -> None:
    (run / "dataset" / "messages.jsonl").unlink()
    _, printed = again(run, formats=["plain", "messages"])
    assert "; missing: messages.jsonl; wrote README.md, annotation.plain.jsonl" in printed and "removed" not in printed
    assert "messages.jsonl" in names(run)
