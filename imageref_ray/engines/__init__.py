"""An `EngineConfig` in, an engine out. An engine's module is imported only when that engine is made."""

from __future__ import annotations

import gc
import importlib
import re
from pathlib import Path

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import CheckpointConfig, ConfigError, EngineConfig, OpenAIConfig
from imageref_ray.core.json_files import read_json
from imageref_ray.engines import tiles
from imageref_ray.engines.base import Engine
from imageref_ray.engines.chat_template import INTERNVL

TABLE = {
    "vllm": "imageref_ray.engines.vllm:VllmEngine",
    "transformers": "imageref_ray.engines.transformers:TransformersEngine",
    "openai": "imageref_ray.engines.openai.engine:OpenAIEngine",
    "scripted": "imageref_ray.engines.scripted:ScriptedEngine",
}
"""Engine kind → `module:class`, whose constructor takes the `EngineConfig`."""

FILLED = frozenset({"messages", "model", "n", "stream"})
"""Fields of a chat completion that every request sets itself; a config may not."""


def make(config: EngineConfig) -> Engine:
    """The engine that a config names, started (a vLLM engine takes its GPUs or cores now)."""
    module, name = TABLE[config.kind].split(":")
    engine: Engine = getattr(importlib.import_module(module), name)(config)
    gc.collect()
    gc.freeze()  # what is loaded by now stays loaded: collecting it would halt every request (vLLM: for 1 s)
    return engine


def check(config: EngineConfig) -> None:
    """Raise ConfigError for settings that would fail later, in an actor: a wrong model, a missing script."""
    least, most = config.actors
    if not 1 <= least <= most:
        raise ConfigError(f"engine.actors is {[least, most]}; expected [least, most] with 1 <= least <= most")
    if isinstance(config, CheckpointConfig):
        check_checkpoint(config)
    elif config.kind == "openai":
        check_endpoint(config)
    elif config.kind == "scripted":
        module, colon, name = config.script.partition(":")
        try:
            function = getattr(importlib.import_module(module), name, None) if colon and module else None
        except ImportError as error:
            raise ConfigError(f"engine.script {config.script}: {error}; expected package.module:function") from None
        if not callable(function):
            raise ConfigError(f"engine.script is {config.script!r}; expected package.module:function")


def check_scoring(config: EngineConfig) -> None:
    """Raise ConfigError for an engine that cannot return how likely a given text is (`Request.scored`)."""
    if config.kind == "openai":
        raise ConfigError(
            "engine.kind is openai, but chat completions return no log-likelihood of a given text, "
            "which choosing among answers needs; set engine.kind: vllm or transformers, or leave choice out of mode"
        )


def check_endpoint(config: OpenAIConfig) -> None:
    """Raise ConfigError for an invalid address, and for arguments that every request sets itself."""
    url = config.base_url
    if url is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
        raise ConfigError(f"engine.base_url is {url!r}; expected an address like http://127.0.0.1:8000/v1")
    if url is not None and url.rstrip("/").endswith("/chat/completions"):
        raise ConfigError(f"engine.base_url is {url}; give the part before /chat/completions")
    extra = config.args.get("extra_body", {})
    if not isinstance(extra, dict):
        raise ConfigError(f"engine.args.extra_body is {extra!r}; expected `field: value` lines")
    if taken := sorted(FILLED & {*config.args, *extra}):
        raise ConfigError(f"engine.args sets {', '.join(taken)}, which every request sets itself; leave it out")


def check_checkpoint(config: CheckpointConfig) -> None:
    """Raise ConfigError unless `engine.model` is a folder in Hugging Face format, of any model, or may be a name.

    Also for tiles of a model that has none, and for tiles that are set twice.
    """
    names = _architectures(config.model, "engine.model")
    if names == []:
        raise ConfigError(
            f"engine.model: {config.model}/config.json names no architecture; give a Hugging Face checkpoint"
        )
    if names is not None:
        tiles.check(config, names)
    if "max_patches" in (config.args.get("mm_processor_kwargs") or {}):
        raise ConfigError("engine.args.mm_processor_kwargs sets max_patches; set engine.max_tiles instead")


def check_model(model: str, key: str = "engine.model", *, ask_hub: bool = False) -> None:
    """Raise ConfigError unless `model` is an InternVL folder in Hugging Face format, or may be a hub name.

    `key` is the setting that names it. A hub name is looked up (on the hub or in its cache) only with `ask_hub`.
    """
    names = _architectures(model, key)
    if names is None:
        names = _architectures_on_hub(model, key) if ask_hub else [INTERNVL]
    if INTERNVL not in names:
        kind = ", ".join(names) or "of no named architecture"
        raise ConfigError(f"{key}: {model} is {kind}, not {INTERNVL}; give an …-hf checkpoint of InternVL")


def _architectures(model: str, key: str) -> list[str] | None:
    """The classes that a checkpoint folder names; None for what may be a hub name."""
    path = Path(resolve_model(model))
    if not path.exists():
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model) or path.parent.exists():
            raise ConfigError(f"{key}: {model} does not exist; give a checkpoint folder or a hub name")
        return None
    config = path / "config.json"
    try:
        settings = read_json(config)
    except OSError:
        raise ConfigError(f"{key}: {config.parent} has no config.json; give a Hugging Face checkpoint folder") from None
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    names = settings.get("architectures") or [] if isinstance(settings, dict) else []
    return [str(name) for name in names]


def _architectures_on_hub(model: str, key: str) -> list[str]:
    from transformers import AutoConfig

    try:
        names: list[str] | None = AutoConfig.from_pretrained(model).architectures
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{key}: {model} is not on the hub ({reason}); give a folder or another name") from None
    return names or []
