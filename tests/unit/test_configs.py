"""Every YAML file that is shipped parses with its model."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from imageref_ray.core import config
from imageref_ray.core.config import (
    BuildConfig,
    Config,
    ConfigError,
    EvaluateConfig,
    InstructConfig,
    JudgeConfig,
    TrainConfig,
    VllmConfig,
    VqaConfig,
    load,
)

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "jobs" / "configs").glob("*.yaml"))


def kind_of(values: dict[str, Any]) -> type[Config]:
    """Which job a file is for: each model has a key that no other has."""
    if "source" in values:
        return BuildConfig
    if "images" in values:
        return InstructConfig
    if "mixture" in values:
        return TrainConfig
    if "sets" in values:
        return VqaConfig
    if "answers" in values:
        return JudgeConfig
    return EvaluateConfig if "data" in values else config.DemoConfig


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_parses(path: Path) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    load(kind_of(values), path)


def test_configs_are_shipped_for_every_job() -> None:
    assert {BuildConfig, InstructConfig, TrainConfig, EvaluateConfig, JudgeConfig, VqaConfig} <= {
        kind_of(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in SHIPPED
    }


def test_an_override_reaches_the_nested_key_and_leaves_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    file.write_text("source: {root: corpus}\nengine: {model: m, args: {a: 1}}\noutput: out\n")
    changed = load(BuildConfig, file, ["engine.args.b=2", "engine.concurrency=3"])
    assert isinstance(changed.engine, VllmConfig)
    assert changed.engine.args == {"a": 1, "b": 2}
    assert changed.engine.concurrency == 3
    assert load(BuildConfig, file).engine.model_dump()["args"] == {"a": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"- a list",
        b"key: [unclosed",
        b"output: o\nsource: {root: r}\nengine: {modell: m}",
        "output: café".encode("cp1252"),
        b"output: " + b"9" * 5000,
    ],
)
def test_a_bad_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load(BuildConfig, file)
