"""`imageref init`, `schema` and `--dry-run`: a config that runs, what it may hold, and what it would do."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from imageref_ray.commands.cli import main
from imageref_ray.commands.init import PARTS, starter
from imageref_ray.commands.schema import CONFIGS, schema
from imageref_ray.commands.table import JOBS
from imageref_ray.core.config import check
from imageref_ray.picturenews import corpus
from imageref_ray.serving.arguments import read_settings

ROOT = Path(__file__).parents[2]
BUILDS = [
    (source, engine) for source in ("folder", "samples", "paper") for engine in ("vllm", "transformers", "openai")
]
ALL = [("build", *pair) for pair in BUILDS] + [(job, "folder", "vllm") for job in JOBS if job != "build"]


def values(text: str) -> Any:
    return yaml.safe_load(text)


@pytest.mark.parametrize(("job", "source", "engine"), ALL)
def test_every_starter_is_a_valid_config_without_a_mark_left(job: str, source: str, engine: str) -> None:
    text = starter(job, source, engine)
    assert not {"# SOURCE", "# ENGINE"} & set(text.splitlines())
    assert max(map(len, text.splitlines())) <= 140
    if job == "serve":
        assert read_settings(values(text)["applications"][0]["args"]).engine.kind == "vllm"
    else:
        check(CONFIGS[job], values(text), job)


@pytest.mark.parametrize(("job", "source", "engine"), ALL)
def test_what_a_starter_suggests_in_comments_is_valid_too(job: str, source: str, engine: str) -> None:
    lines = []
    for line in starter(job, source, engine).splitlines():
        bare = line.lstrip()
        if bare.startswith("# ") and ":" in bare and not bare[2].isupper():
            line = line[: len(line) - len(bare)] + bare[2:]
        lines.append(line)
    config = values("\n".join(lines))
    if job == "serve":
        read_settings(config["applications"][0]["args"])
    else:
        check(CONFIGS[job], config, job)


def test_no_part_of_a_starter_is_left_out() -> None:
    used = {
        *JOBS,
        "engine-vllm",
        "engine-transformers",
        "engine-openai",
        "source-folder",
        "source-samples",
        "source-paper",
    }
    assert {path.stem for path in PARTS.glob("*.yaml")} == used


def test_the_engine_that_a_starter_begins_with_is_the_one_of_the_shipped_configs() -> None:
    shipped = values((ROOT / "jobs" / "configs" / "picturenews.yaml").read_text(encoding="utf-8"))
    assert values(starter("build"))["engine"] == shipped["engine"]


def test_init_writes_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "build", "--source", "paper"]) == 0
    assert "imageref build --config build.yaml --dry-run" in capsys.readouterr().out
    assert main(["init", "build"]) == 2
    assert "build.yaml already exists; give another file" in capsys.readouterr().err
    assert main(["init", "train", "--out", "-"]) == 0
    assert values(capsys.readouterr().out)["model"] == "embedded"
    assert main(["init", "serve", "--engine", "openai"]) == 2
    assert main(["init", "train", "--out", "no/such/folder/train.yaml"]) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_fit_the_schema_of_their_job(path: Path) -> None:
    given = values(path.read_text(encoding="utf-8"))
    keys = {"source": "build", "images": "instruct", "mixture": "train", "sets": "evaluate-vqa"}
    keys |= {"answers": "evaluate-judge", "data": "evaluate"}
    job = next(name for key, name in keys.items() if key in given)
    jsonschema.validate(given, schema(job))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**given, "no_such_key": 1}, schema(job))


@pytest.mark.parametrize("job", sorted(CONFIGS))
def test_schema_prints_a_valid_schema_that_describes_every_setting(job: str, capsys: Any) -> None:
    assert main(["schema", job]) == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed["additionalProperties"] is False
    tables = {job: printed, **printed["$defs"]}
    settings = [(name, key, value) for name, table in tables.items() for key, value in table["properties"].items()]
    assert [(name, key) for name, key, value in settings if not value.get("description")] == []


def test_a_dry_run_tells_a_finished_training_from_a_begun_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    output = tmp_path / "run"
    (output / "model").mkdir(parents=True)
    (output / "fingerprint.json").write_text("{}")
    main(["init", "train"])
    command = ["train", "--config", "train.yaml", "--dry-run", "--set", "output=run"]
    main(command)
    assert "unfinished run: would be resumed" in capsys.readouterr().out
    (output / "summary.json").write_text("{}")
    main(command)
    assert "finished run: would not be run again" in capsys.readouterr().out


def test_a_dry_run_shows_settings_and_paths_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    main(["init", "build", "--source", "paper"])
    capsys.readouterr()
    command = ["build", "--config", "build.yaml", "--dry-run", "--set", "source.limit=3"]
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "limit: 3" in printed
    assert any(line.split() == ["source.root", "corpus", "MISSING"] for line in printed.splitlines())
    corpus.write(tmp_path / "corpus", 1, 3)
    assert main(command) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert ["source.root", "corpus", "found"] in rows
    assert ["engine.model", "embedded", "in the package"] in rows
    assert ["output", "runs/build", "new"] in rows
    assert {path.name for path in tmp_path.iterdir()} == {"build.yaml", "corpus"}
    assert main([*command, "--set", "engine.model=gone"]) == 2
