"""The endpoint's arguments as a file and as a command line give them → checked settings."""

from pathlib import Path

import pytest
import yaml

from imageref_ray.core.config import ConfigError, ServeConfig
from imageref_ray.serving.arguments import read_settings

ROOT = Path(__file__).parents[2]


def test_the_shipped_config_says_what_is_served_without_one() -> None:
    shipped = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text(encoding="utf-8"))["applications"][0]["args"]
    images = ROOT / shipped["images"]
    assert read_settings(shipped) == read_settings({}).model_copy(update={"images": images})


def test_text_from_a_command_line_is_read_as_set_reads_it() -> None:
    given = {"engine.gpus": "1", "engine.actors": "[1, 4]", "engine.args.max_model_len": "512", "max_tokens": "64"}
    settings = read_settings(given)
    assert (settings.engine.gpus, settings.engine.actors, settings.max_tokens) == (1, (1, 4), 64)
    before, after = (one.engine.model_dump()["args"] for one in (read_settings({}), settings))
    assert after == {**before, "max_model_len": 512}


def test_a_setting_that_is_text_stays_as_it_was_written() -> None:
    texts = {"system": "Note: be brief # and kind", "name": "8", "model": "team/123"}
    settings = read_settings(texts)
    assert (settings.system, settings.name, settings.engine.model) == (texts["system"], "8", "team/123")


def test_the_short_model_goes_to_the_engine_of_a_file_too() -> None:
    settings = read_settings({"model": "team/other", "engine": {"gpus": 1}})
    assert (settings.engine.model, settings.engine.gpus) == ("team/other", 1)


@pytest.mark.parametrize("form", ["file", "command line"])
def test_a_setting_of_the_engine_leaves_its_others_as_they_are(form: str) -> None:
    nested = {"engine": {"concurrency": 8, "args": {"max_model_len": 512}}}
    flat = {"engine.concurrency": "8", "engine.args.max_model_len": "512"}
    before, after = read_settings({}).engine.model_dump(), read_settings(nested if form == "file" else flat).engine
    assert after.model_dump() == before | {"concurrency": 8, "args": before["args"] | {"max_model_len": 512}}


def test_an_engine_of_ones_own_brings_none_of_the_embedded_settings() -> None:
    settings = read_settings({"engine": {"model": "team/other"}})
    assert settings == ServeConfig.model_validate({"engine": {"model": "team/other"}})


def test_relative_paths_are_found_from_the_working_directory_or_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "pack.yaml").touch()
    monkeypatch.chdir(tmp_path)
    settings = read_settings({"model": "mine", "images": "pictures", "prompts": "pack.yaml"})
    assert settings.engine.model == str(tmp_path / "mine")
    assert settings.images == tmp_path / "pictures"
    assert settings.prompts == str(tmp_path / "pack.yaml")
    (tmp_path / "embedded").mkdir()
    assert read_settings({}).engine.model == "embedded"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"modell": "/x"}, "unknown key modell .did you mean model?"),
        ({"engine.gpu": "1"}, "unknown key engine.gpu .did you mean gpus?"),
        ({"max_tokens": "many"}, "max_tokens: input should be a valid integer"),
        ({"engine.args": "{a: "}, "the value is not valid YAML"),
        ({"engine": {"kind": "vllm"}}, "engine.model: field required"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(args)
    assert "--set" not in str(caught.value)
