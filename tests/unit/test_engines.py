"""Engines are found by name, wrong models are refused before anything starts."""

import re
from pathlib import Path
from typing import Any

import pytest

from imageref_ray import engines
from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, OpenAIConfig, ScriptedConfig, TransformersConfig, VllmConfig
from imageref_ray.engines.base import Message, Request, RequestError
from imageref_ray.engines.openai.engine import OpenAIEngine


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "has no config.json"),
        ("{", "not valid JSON"),
        ('{"architectures": ["Qwen2ForCausalLM"]}', "^engine.model: .* is Qwen2ForCausalLM, not InternVL"),
        ("{}", "of no named architecture"),
    ],
)
def test_a_folder_that_is_no_internvl_is_refused(tmp_path: Path, config: str | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ConfigError, match=words):
        engines.check_model(str(tmp_path))


@pytest.mark.parametrize("kind", [VllmConfig, TransformersConfig])
def test_an_engine_takes_a_folder_of_any_architecture_and_needs_to_be_told_which(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"^engine.model: .* has no config\.json"):
        engines.check(kind(model=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"config\.json names no architecture"):
        engines.check(kind(model=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    engines.check(kind(model=str(tmp_path)))
    engines.check(kind(model="Qwen/Qwen2.5-VL-7B-Instruct"))


@pytest.mark.parametrize("model", ["runs/gone", "./gone", "/gone/model", "gone"])
def test_a_missing_model_is_refused(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ConfigError, match=f"^model: {re.escape(model)} does not exist"):
        engines.check_model(model, "model")


def test_a_hub_name_is_taken_at_its_word() -> None:
    engines.check_model("OpenGVLab/InternVL3-8B-hf")


def test_embedded_is_the_checkpoint_in_the_package_and_a_folder_of_that_name_has_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "embedded").mkdir()
    engines.check_model("embedded")
    assert (Path(resolve_model("embedded")) / "model.safetensors").is_file()
    assert resolve_model("./embedded") == "./embedded"
    with pytest.raises(ConfigError, match=r"embedded has no config\.json"):
        engines.check_model("./embedded")


@pytest.mark.parametrize("script", ["nonsense", "tests.scripted:nothing", "not.there:at_all"])
def test_a_script_that_is_not_there_is_refused(script: str) -> None:
    with pytest.raises(ConfigError, match="expected package"):
        engines.check(ScriptedConfig(script=script))


def test_an_engine_that_cannot_score_a_given_text_is_refused_and_one_that_can_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"openai.*no log-likelihood.*set engine\.kind: vllm or transformers, or leave choice"
    ):
        engines.check_scoring(OpenAIConfig(model="m"))
    engines.check_scoring(VllmConfig(model="m"))
    engines.check_scoring(TransformersConfig(model="m"))


async def test_chat_completions_refuse_to_score_without_a_call() -> None:
    engine = OpenAIEngine(OpenAIConfig(model="m", base_url="http://127.0.0.1:1/v1"))
    with pytest.raises(RequestError, match=r"score with engine\.kind vllm"):
        await engine.generate(Request((Message("user", ("What?",)),), prefix="a boat", scored=True))
    await engine.close()
