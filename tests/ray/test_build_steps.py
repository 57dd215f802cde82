"""A build in steps over files gives the data set of the build in one go, byte for byte; each step is a job as any."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.watchdog import Stopped
from imageref_ray.commands.build import build
from imageref_ray.commands.inspection import inspect
from imageref_ray.commands.plan import plan
from imageref_ray.commands.retry import retry
from imageref_ray.core.config import BuildConfig, ConfigError, check
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.picturenews import corpus


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen events, one more that has documents of two of them, and a picture that is gone."""
    root = tmp_path_factory.mktemp("news")
    corpus.write(root, 16, 5)
    events = read(root / "events.jsonl")
    shared = [*events[2]["sources"], *events[3]["sources"]]
    write_jsonl(
        root / "events.jsonl", [*events[:8], {**events[2], "paasEventID": "77", "sources": shared}, *events[8:]]
    )
    next(iter((root / "image" / events[3]["sources"][0]["newsID"]).iterdir())).unlink()
    return root


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config(news: Path, output: Path, script: str = "opinionated", **more: Any) -> BuildConfig:
    engine = {"kind": "scripted", "model": "none", "script": f"tests.scripted:{script}"}
    values = {"source": {"root": news}, "output": output, "commit_records": 4, "preflight": False, "engine": engine}
    return check(BuildConfig, {**values, **more}, "test")


def run(settings: BuildConfig) -> dict[str, Any]:
    return build(settings, Console(file=io.StringIO()))


def contents(output: Path) -> dict[str, bytes]:
    """Every file of the data set but its card, without the name of the run's folder."""
    files = {path.name: path.read_bytes() for path in (output / "dataset").iterdir() if path.name != "README.md"}
    return {name: content.replace(str(output).encode(), b"RUN") for name, content in files.items()}


@pytest.fixture(scope="module")
def whole(local_ray: None, news: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The build in one go: its summary and its folder."""
    output = tmp_path_factory.mktemp("whole")
    return run(config(news, output)), output


def test_three_steps_over_files_give_the_data_set_of_one_go(
    whole: tuple[dict[str, Any], Path], news: Path, tmp_path: Path
) -> None:
    together, folder = whole
    assert 8 < together["records"] < 17 and together["problems"]["RequestError"] + together["records"] == 17
    written: dict[str, str] = {}
    for stage in ("respond", "caption"):
        summary = run(config(news, tmp_path / stage, stages=[stage]))
        assert len(summary["files"]) == 1
        written |= summary["files"]
    assert sorted(written) == ["captions", "responses"]
    steps = run(config(news, tmp_path / "place", stages=["place"], inputs=written))
    assert contents(tmp_path / "place") == contents(folder)
    assert len(contents(folder)) == 8
    assert steps["requests"] == steps["records"] == together["records"]
    assert steps["quarantined"] == together["quarantined"]
    assert steps["problems"].keys() == {"MissingImage", "MissingResponse", "MissingCaption"}
    card = (tmp_path / "place" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "Taken from files, whoever wrote them: responses, captions. A model wrote the rest." in card


def test_what_three_files_say_is_put_together_without_an_engine(
    whole: tuple[dict[str, Any], Path], news: Path, tmp_path: Path
) -> None:
    together, folder = whole
    given = {name: together["files"][name] for name in ("responses", "captions")}
    given["insertions"] = together["files"]["insertion"]
    values = {"source": {"root": news}, "output": tmp_path / "again", "stages": [], "inputs": given}
    summary = run(check(BuildConfig, values, "test"))
    assert contents(tmp_path / "again") == contents(folder)
    assert (summary["records"], summary["requests"]) == (together["records"], 0)
    with pytest.raises(ConfigError, match="stages is empty, so no model is asked"):
        plan(check(BuildConfig, values, "test"), console=Console(file=io.StringIO()))


def test_a_step_is_planned_stopped_resumed_retried_inspected_and_exported_again(
    local_ray: None, news: Path, tmp_path: Path
) -> None:
    engine = {"kind": "scripted", "script": "tests.scripted:moody_annotator", "env": {"MENDED": f"{tmp_path}/mended"}}
    settings = config(news, tmp_path / "run", prompts="compact", engine=engine, stages=["caption"])
    (tmp_path / "mended").touch()
    planned = plan(settings, 17, console=Console(file=io.StringIO()))
    (tmp_path / "mended").unlink()
    with pytest.raises(Stopped, match="the budget of 0 tokens is used up"):
        run(settings.model_copy(update={"max_budget": "0 tokens"}))
    with pytest.raises(RunFailed, match="RequestError in caption"):
        run(settings)
    (tmp_path / "mended").touch()
    with pytest.raises(ConfigError, match="has an outcome for every record, so nothing is left to plan"):
        plan(settings, 17, console=Console(file=io.StringIO()))
    summary = retry(tmp_path / "run", stage="caption", console=Console(file=io.StringIO()))
    assert planned.figures["requests"].value == summary["requests"] == 2 * len(captions(tmp_path / "run"))
    assert summary["plan"]["requests"] == {"relative": 0.0, "inside": True}
    assert [path.name for path in (tmp_path / "run" / "dataset").iterdir()] == ["captions.jsonl"]
    inspect(tmp_path / "run", samples=3, seed=0)
    assert "Two red boats." in (tmp_path / "run" / "inspect.html").read_text(encoding="utf-8")
    (tmp_path / "run" / "dataset" / "captions.jsonl").unlink()
    assert run(settings)["files"].keys() == {"captions"} and captions(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was created with other settings \(sampling\.respond"):
        run(settings.model_copy(update={"stages": ("respond", "caption")}))


def captions(output: Path) -> list[str]:
    return [text for row in read(output / "dataset" / "captions.jsonl") for text in row["caption"].values()]


def test_two_stages_on_two_engines_take_what_files_have_once(local_ray: None, news: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").write_bytes((news / "captions.jsonl").read_bytes() + b'{"nid": ')
    other = {"engine": {"kind": "scripted", "model": "other", "script": "tests.scripted:annotator"}}
    given = {"captions": str(tmp_path / "captions.jsonl")}
    settings = config(
        *(news, tmp_path / "run", "annotator"),
        prompts="compact", source={"root": news, "limit": 3}, stages=["respond", "place"], place=other, inputs=given,
    )  # fmt: skip
    summary = run(settings)
    assert (summary["records"], summary["requests"], summary["problems"]["BrokenLine"]) == (3, 6, 1)
    assert len(list(store.results(tmp_path / "run/passes/1-respond"))) == 3
    truth = {image: text for row in read(news / "captions.jsonl") for image, text in row["caption"].items()}
    (first, *_) = read(tmp_path / "run" / "dataset" / "captions.jsonl")
    assert first["caption"] == {image: truth[image] for image in first["caption"]} and "description" not in first
    unknown = [f.message for f in store.failures(tmp_path / "run") if f.error == "UnknownId"]
    assert unknown and all("which is not among the samples that were read" in message for message in unknown)
