"""Which settings name files or folders, and what of that is refused before a job begins."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from imageref_ray.batch import manifest
from imageref_ray.commands.cli import main
from imageref_ray.core.config import (
    BuildConfig,
    Config,
    ConfigError,
    DemoConfig,
    EvaluateConfig,
    InstructConfig,
    JudgeConfig,
    TrainConfig,
    VllmConfig,
    VqaConfig,
    check,
    check_places,
    load,
)
from imageref_ray.core.config.places import Access
from imageref_ray.dataset import mixture

ROOT = Path(__file__).parents[2]

OWN = {
    "BuildConfig.prompts": "read into the recipe, which travels to the workers",
    "DemoConfig.prompts": "as a build's",
    "EvaluateConfig.data": "read into rows before Ray starts",
    "EvaluateConfig.labels": "read for the metrics, before and after the pass",
    "EvaluateConfig.prompts": "read into the pack, which travels to the workers",
    "ExportConfig.tokenizer": "counts rows when records are exported, after the passes",
    "ImagesConfig.exclude": "read when images are listed, before Ray starts",
    "InputsConfig.captions": "read into rows before Ray starts",
    "InputsConfig.insertions": "read into rows before Ray starts",
    "InputsConfig.responses": "read into rows before Ray starts",
    "InstructConfig.question_file": "read into rows before Ray starts",
    "InstructConfig.prompts": "read into the pack, which travels to the workers",
    "JudgeConfig.answers": "read into rows before Ray starts",
    "JudgeConfig.data": "read into rows before Ray starts",
    "JudgeConfig.human": "read for the metrics, before the pass",
    "JudgeConfig.judges": "read for the metrics, before the pass",
    "JudgeConfig.rubric": "read into the rubric, which travels to the workers",
    "QuestionsConfig.annotations": "read into rows before Ray starts",
    "QuestionsConfig.questions": "read into rows before Ray starts",
    "SourceConfig.exclude": "read when samples are listed, before Ray starts",
    "SourceConfig.labels": "read when samples are listed, before Ray starts",
    "SpeedConfig.prompts": "a measurement has no workers",
    "VqaConfig.prompts": "read into the pack, which travels to the workers",
}
"""The settings of files that only the process reads that starts the job, and why that is so."""

INSIDE = {
    "QuestionsConfig.image_name": "a pattern of names inside `images`",
    "SourceConfig.events": "a name inside `root`",
    "SourceConfig.files": "names or patterns inside `root`",
    "SourceConfig.pages": "names or patterns inside `root`",
}
"""The settings that name files inside a folder that another setting names."""

ENGINE = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}
JOBS: dict[str, tuple[type[Config], dict[str, Any], list[str]]] = {
    "build": (
        BuildConfig,
        {"source": {"root": "corpus"}, "output": "run", "engine": ENGINE, "cache": "replies.sqlite"},
        ["output: run", "source.root: corpus", "cache: replies.sqlite"],
    ),
    "plan": (BuildConfig, {"source": {"root": "corpus"}, "output": "/run", "engine": ENGINE}, ["source.root: corpus"]),
    "instruct": (
        InstructConfig,
        {"images": {"root": "pictures"}, "output": "run", "engine": ENGINE},
        ["output: run", "images.root: pictures"],
    ),
    "train": (
        TrainConfig,
        {"model": "org/name", "output": "/run", "mixture": {"news": {"annotation": "rows.jsonl"}}},
        ["mixture.news.root: .", "mixture.news.annotation: rows.jsonl"],
    ),
    "evaluate placement": (
        EvaluateConfig,
        {"data": "rows.jsonl", "labels": "label.csv", "root": "test", "output": "run", "engine": ENGINE},
        ["output: run", "root: test"],
    ),
    "evaluate vqa": (
        VqaConfig,
        {"sets": {"news": {"questions": "q.json", "images": "test"}}, "output": "run", "engine": ENGINE},
        ["output: run", "sets.news.images: test"],
    ),
    "evaluate judge": (
        JudgeConfig,
        {"data": "rows.jsonl", "answers": {"mine": "a.jsonl"}, "root": "test", "output": "run", "engine": ENGINE},
        ["output: run", "root: test"],
    ),
    "demo": (DemoConfig, {"engine": ENGINE, "train": {}, "instruct": {}}, ["output: runs/demo"]),
}
"""Job → its model, settings with relative paths, and those of them that a cluster's workers would not find."""


def models(kind: type[Config] = Config) -> Iterator[type[Config]]:
    """The settings of all jobs and their parts; what other files hold is not a job's to open."""
    for one in kind.__subclasses__():
        if one.__module__.startswith("imageref_ray.core.config."):
            yield one
            yield from models(one)


def marks() -> Iterator[tuple[str, Any, Access | None]]:
    """Every field of every config, with its mark."""
    for model in models():
        for name, field in model.model_fields.items():
            if name in model.__annotations__:  # not the base class's again
                yield (
                    f"{model.__name__}.{name}",
                    field,
                    next((m for m in field.metadata if isinstance(m, Access)), None),
                )


def kinds(annotation: Any) -> set[Any]:
    """All types that an annotation is made of."""
    return {annotation}.union(*(kinds(part) for part in get_args(annotation)))


def nothing_was_made(folder: Path, *but: str) -> bool:
    return {path.name for path in folder.iterdir()} == set(but)


def test_every_setting_that_is_a_path_says_who_opens_it() -> None:
    unmarked = {name for name, field, mark in marks() if Path in kinds(field.annotation) and mark is None}
    assert not unmarked


def test_every_text_setting_that_may_be_a_path_says_who_opens_it() -> None:
    words = re.compile(r"\b(path|file|folder|checkpoint)s?\b", re.IGNORECASE)
    found = {
        name
        for name, field, mark in marks()
        if str in kinds(field.annotation) and field.description and words.search(field.description) and mark is None
    }
    assert found == set(INSIDE)


def test_what_only_the_starting_process_opens_is_listed_with_its_reason() -> None:
    assert {name for name, _, mark in marks() if mark and mark.by == "own"} == set(OWN)


@pytest.mark.parametrize("name", JOBS)
def test_a_job_on_a_cluster_refuses_relative_paths_in_one_line_before_it_makes_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, settings, wrong = JOBS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    Path("job.yaml").write_text(yaml.safe_dump(settings))
    assert main([*name.split(), "--config", "job.yaml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith(f"imageref: {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} relative, but")
    assert "give an absolute path on storage that all machines mount, e.g. /mnt/shared" in printed.err
    assert nothing_was_made(tmp_path, "job.yaml")


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("address", [None, "", "local"])
def test_without_a_cluster_relative_paths_are_fine(
    name: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    model, settings, _ = JOBS[name]
    check_places(check(model, settings, "test"))


def test_an_output_given_on_the_command_line_is_held_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    more = ["--set", f"source.root={tmp_path}", "--set", f"engine.model={tmp_path}", "--output", "../runs/./first"]
    assert main(["build", "--config", str(ROOT / "jobs/configs/picturenews.yaml"), *more]) == 2
    stderr = capsys.readouterr().err
    assert "imageref: output: ../runs/first is relative" in stderr and "e.g. /mnt/shared/runs/first" in stderr


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("build", BuildConfig),
        ("evaluate", EvaluateConfig),
        ("instruct-aokvqa", InstructConfig),
        ("instruct-coco", InstructConfig),
        ("instruct-objects365", InstructConfig),
        ("instruct-okvqa", InstructConfig),
        ("judge", JudgeConfig),
        ("train", TrainConfig),
        ("vqa", VqaConfig),
    ],
)
def test_the_cluster_configs_that_are_shipped_pass(
    name: str, kind: type[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    check_places(load(kind, ROOT / "jobs" / "configs" / f"cluster-{name}.yaml"))


def test_a_folder_with_a_model_may_travel_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    (tmp_path / "models" / "own").mkdir(parents=True)
    given = {"source": {"root": "/data"}, "output": "/run", "engine": {"model": "models/own"}}
    with pytest.raises(ConfigError, match=r"^engine\.model: models/own is relative"):
        check_places(check(BuildConfig, given, "test"))
    check_places(check(BuildConfig, {**given, "engine": {"model": "models/of-the-hub"}}, "test"))
    check_places(check(BuildConfig, {**given, "engine": {"kind": "openai", "model": "models/own"}}, "test"))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"working_dir": "gcs://a.zip"}}))
    check_places(check(BuildConfig, given, "test"))
    with pytest.raises(ConfigError, match=r"^output: run is relative"):
        check_places(check(BuildConfig, {**given, "output": "run"}, "test"))


def test_the_engine_of_one_stage_and_roots_of_images_are_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / "captioner").mkdir()
    given = {
        "source": {"root": "/data", "fetch": {"allow_roots": ["/more", "s3://bucket/pictures", "others"]}},
        "output": "/run",
        "engine": ENGINE,
        "caption": {"engine": {"model": "captioner"}},
    }
    wanted = r"^source\.fetch\.allow_roots\.2: others and caption\.engine\.model: captioner are relative"
    with pytest.raises(ConfigError, match=wanted):
        check_places(check(BuildConfig, given, "test"))


def test_a_meta_file_of_data_sets_is_held_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / "rows.jsonl").touch()
    meta = tmp_path / "meta.json"
    config = check(TrainConfig, {"model": "org/name", "output": "/run", "mixture": str(meta)}, "test")
    meta.write_text(json.dumps({"news": {"annotation": str(tmp_path / "rows.jsonl"), "root": "pictures"}}))
    with pytest.raises(ConfigError, match=r"meta\.json: sets\.news\.root: pictures is relative"):
        mixture.entries(config)
    meta.write_text(json.dumps({"news": {"annotation": str(tmp_path / "rows.jsonl"), "root": "/pictures"}}))
    assert mixture.entries(config)["news"].root == Path("/pictures")


def test_many_wrong_settings_are_a_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    sets = {f"set{number}": {"annotation": "rows.jsonl"} for number in range(20)}
    config = check(TrainConfig, {"model": "org/name", "output": "run", "mixture": sets}, "test")
    with pytest.raises(ConfigError, match=r"mixture\.set1\.root: \. and 37 more are relative") as refused:
        check_places(config)
    assert len(str(refused.value)) < 500


def test_retry_on_a_cluster_refuses_a_relative_run_and_leaves_it_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = check(BuildConfig, {**JOBS["build"][1], "source": {"root": "/corpus"}, "cache": None}, "test")
    manifest.begin(Path("run"), {"job": "build"}, config.model_dump(mode="json"))
    manifest.finish(Path("run"), config.model_dump(mode="json"), {"job": "build"}, {"records": 1})
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    before = sorted(path.name for path in Path("run").iterdir())
    assert main(["retry", "run"]) == 2
    assert capsys.readouterr().err.startswith("imageref: output: run is relative, but RAY_ADDRESS is set")
    assert sorted(path.name for path in Path("run").iterdir()) == before == ["fingerprint.json", "manifest.json"]


@pytest.mark.parametrize("address", ["s3://bucket/Run", "gs://b/r", "hdfs:///r", "abfs://c@a/r", "file:///r", "S3:/b"])
@pytest.mark.parametrize("name", JOBS)
def test_an_address_is_refused_as_output_and_creates_no_folder(
    name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(yaml.safe_dump(JOBS[name][1]))
    assert main([*name.split(), "--config", "job.yaml", "--output", address]) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert f"output: {address} is an address, but only paths of a mounted file system are supported here" in stderr
    assert nothing_was_made(tmp_path, "job.yaml")


@pytest.mark.parametrize("name", [name for name, _, mark in marks() if mark and "model" not in name])
def test_no_path_setting_takes_an_address_that_it_cannot_read(name: str) -> None:
    kind, _, field = name.partition(".")
    (model,) = (candidate for candidate in models() if candidate.__name__ == kind)
    value = ["hdfs://b/k"] if field == "allow_roots" else "hdfs://b/k"
    words = r"hdfs://b/k is (an address, but only paths|not a folder, s3://bucket/prefix or gs://)"
    with pytest.raises(ConfigError, match=rf"{field}: {words}"):
        check(model, {field: value}, "test")


def test_an_address_given_as_a_path_is_refused_as_well() -> None:
    with pytest.raises(ValueError, match="s3:/bucket/run is an address"):
        DemoConfig(output=Path("s3://bucket/run"), engine=VllmConfig(model="m"), train={}, instruct={})


@pytest.mark.parametrize(
    "arguments",
    [
        "picturenews --events 2 --out s3://bucket/corpus",
        "inspect . --out s3://bucket/page.html",
        "retry s3://bucket/run",
        "check s3://bucket/rows.jsonl",
        "score --labels s3://bucket/label.csv --predictions p.jsonl",
        "serve --config s3://bucket/serve.yaml",
    ],
)
def test_an_argument_that_is_a_path_takes_no_address(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    assert "s3://bucket/" in (stderr := capsys.readouterr().err) and "only paths of a mounted file system" in stderr
    assert nothing_was_made(tmp_path)
