"""A run directory knows whose work it holds."""

import json
from pathlib import Path

import pytest

from imageref_ray.batch import manifest
from imageref_ray.core.config import ConfigError, OpenAIConfig, TransformersConfig, VllmConfig

SETTINGS = {"engine": {"model": "a", "args": {"dtype": "float32"}}, "limit": None}


def test_the_same_work_resumes_and_other_work_is_refused_key_by_key(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert manifest.begin(run, SETTINGS) is None
    assert manifest.begin(run, SETTINGS) is None
    other = {"engine": {"model": "b", "args": {"dtype": "float32"}}, "limit": 3}
    with pytest.raises(ConfigError) as refused:
        manifest.begin(run, other)
    assert "engine.model 'a' → 'b', limit None → 3" in str(refused.value)
    assert "give another output or delete" in str(refused.value)


def test_a_finished_run_gives_its_summary_back(tmp_path: Path) -> None:
    manifest.begin(tmp_path, SETTINGS)
    manifest.finish(tmp_path, {"output": "x"}, SETTINGS, {"records": 4})
    assert manifest.begin(tmp_path, SETTINGS) == {"records": 4}
    held = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert held["fingerprint"] == manifest.fingerprint(SETTINGS)


def test_speed_settings_and_the_folder_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    def settings(folder: str, weights: bytes, **more: object) -> str:
        model = tmp_path / folder / "checkpoint"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(weights)
        config = VllmConfig.model_validate({"model": str(model), **more})
        return manifest.fingerprint(manifest.engine_settings(config))

    first = settings("a", b"1", concurrency=4, args={"max_num_seqs": 8, "dtype": "float32"})
    assert settings("b", b"1", concurrency=9, args={"enforce_eager": True, "dtype": "float32"}) == first
    assert settings("c", b"2", args={"dtype": "float32"}) != first
    assert settings("d", b"1", args={"dtype": "bfloat16"}) != first
    assert settings("e", b"1", args={"dtype": "float32"}, template_args={"enable_thinking": False}) != first


def test_what_loads_a_checkpoint_and_in_which_precision_changes_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")

    def settings(**more: object) -> str:
        config = TransformersConfig.model_validate({"kind": "transformers", "model": str(tmp_path), **more})
        return manifest.fingerprint(manifest.engine_settings(config))

    first = settings()
    assert settings(batch=2, device="cpu", concurrency=9) == first
    assert len({first, settings(dtype="float32"), settings(template_args={"enable_thinking": False})}) == 3
    assert manifest.fingerprint(manifest.engine_settings(VllmConfig(model=str(tmp_path)))) != first
    (tmp_path / "config.json").write_text("{ }")
    assert settings() != first


def test_how_an_endpoint_is_asked_changes_the_fingerprint_and_how_fast_does_not() -> None:
    def settings(**more: object) -> str:
        config = OpenAIConfig.model_validate({"model": "m", **more})
        return manifest.fingerprint(manifest.engine_settings(config))

    assert settings(concurrency=9, timeout_s=5, patience_s=9, headers={"x": "y"}, base_url="http://b/v1") == settings()
    assert len({settings(), settings(picture="thumbnail"), settings(guides="validate")}) == 3


def test_a_large_file_is_told_apart_by_its_end(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(bytes(2**21) + b"a")
    b.write_bytes(bytes(2**21) + b"b")
    assert manifest.content_identity(a, whole=0) != manifest.content_identity(b, whole=0)


def test_a_new_export_changes_what_was_written_and_not_how_it_was_made(tmp_path: Path) -> None:
    config = {"output": "x", "export": {"formats": ["plain"]}}
    settings = {"job": "build", **SETTINGS}
    manifest.begin(tmp_path, settings, config)
    manifest.finish(tmp_path, config, settings, {"records": 4, "files": {"plain": "a"}})
    before = manifest.finished(tmp_path)
    manifest.revise(tmp_path, {"export": {"formats": ["llava"]}}, {"records": 4, "files": {"llava": "b"}})
    after = manifest.finished(tmp_path)
    assert after["config"] == {"output": "x", "export": {"formats": ["llava"]}}
    assert manifest.job_and_config(tmp_path) == ("build", after["config"])
    assert manifest.begin(tmp_path, settings) == after["summary"] == {"records": 4, "files": {"llava": "b"}}
    assert all(after[key] == before[key] for key in ("fingerprint", "settings", "git", "finished"))
    assert after["revised"]["at"]
