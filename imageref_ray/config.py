"""One pydantic model per job: YAML file + `--set key=value` in, a frozen, fully checked config out.

Unknown keys fail, every message says what is wrong, where, and how to mend it. Relative paths are
relative to the working directory.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ConfigError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it (exit code 2)."""


class Config(BaseModel):
    """Base of all configs: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineConfig(Config):
    """Which engine answers, and how big its pool is."""

    kind: Literal["vllm", "openai", "scripted"] = "vllm"
    model: str = Field(description="checkpoint folder, hub name or, for openai, the served model's name")
    args: dict[str, Any] = Field({}, description="engine arguments passed on as they are (AsyncEngineArgs for vllm)")
    actors: tuple[int, int] = Field((1, 1), description="least and most engine actors in the autoscaling pool")
    concurrency: int = Field(64, ge=1, description="requests in flight per actor")
    cpus: float = Field(1, ge=0, description="CPUs reserved per actor")
    gpus: float = Field(0, ge=0, description="GPUs reserved per actor")
    env: dict[str, str] = Field({}, description="environment variables of the actor's process")
    base_url: str | None = Field(None, description="openai: where the endpoint is (…/v1)")
    api_key_env: str = Field("OPENAI_API_KEY", description="openai: the environment variable that holds the key")
    timeout_s: float = Field(120, gt=0, description="openai: seconds before one request is given up")
    script: str | None = Field(None, description="scripted: `package.module:function` that computes each reply")


class SourceConfig(Config):
    """Where samples come from."""

    kind: Literal["paper"] = "paper"
    root: Path = Field(description="folder with news/, image/ and the event file (the paper's layout)")
    events: str = Field("events.jsonl", description="event file inside root")
    limit: int | None = Field(None, ge=1, description="read only the first N events")
    max_image_bytes: int = Field(20_000_000, ge=1, description="larger files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class StageConfig(Config):
    """Sampling of one stage."""

    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(1024, ge=1)


class BuildConfig(Config):
    """`imageref build`: documents with images → training set."""

    source: SourceConfig
    output: Path = Field(description="run directory; made if missing, resumed if it holds the same work")
    engine: EngineConfig
    prompts: str = Field("default-en", description="prompt pack: a shipped name or the path of a YAML file")
    caption_examples: Path | None = Field(None, description="in-context examples for captions (the paper's JSON list)")
    place_examples: Path | None = Field(None, description="in-context examples for placement")
    examples: int = Field(2, ge=0, description="how many in-context examples are used")
    respond: StageConfig = StageConfig()
    caption: StageConfig = StageConfig()
    place: StageConfig = StageConfig()
    context_tokens: int = Field(4096, ge=1, description="text kept on each side of an image in captioning (estimated)")
    max_images: int = Field(50, ge=1, description="samples with more images are left out (and reported)")
    commit_records: int = Field(32, ge=1, description="records per commit")
    commit_seconds: float = Field(30, gt=0, description="longest time between commits")


class MixtureEntry(Config):
    """One data set of a mixture (InternVL's meta JSON)."""

    root: Path = Field(Path("."), description="folder that image paths are relative to")
    annotation: Path
    repeat_time: float = Field(1.0, gt=0, description="below 1: a seeded share of the samples; above: repeats")
    data_augment: bool = False
    length: int | None = None
    max_dynamic_patch: int | None = Field(None, ge=1, description="most tiles per image in this set")


class LoraConfig(Config):
    """Low-rank adaptation of the language model's linear layers."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)


class TrainConfig(Config):
    """`imageref train`: mixture + InternVL checkpoint → fine-tuned checkpoint (Ray Train + DeepSpeed)."""

    model: str = Field(description="InternVL checkpoint in Hugging Face format (folder or hub name)")
    output: Path = Field(description="run directory; the result lands in <output>/model")
    mixture: dict[str, MixtureEntry] | Path = Field(description="data sets by name, or a meta JSON file")
    workers: int = Field(2, ge=1)
    cpus_per_worker: float = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    accelerator_type: str | None = Field(None, description="GPU kind in a mixed cluster, in Ray's words: A100, …")
    zero_stage: Literal[0, 1, 2, 3] = 2
    steps: int = Field(1000, ge=1)
    global_batch: int = Field(128, ge=1)
    per_device_batch: int = Field(2, ge=1)
    batch_tokens: int | None = Field(
        None,
        ge=16,
        description="fill batches up to this many padded tokens per device instead of per_device_batch samples",
    )
    learning_rate: float = Field(4e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.999)
    drop_path: float = Field(0.0, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    sequence_length: int = Field(16_384, ge=16)
    freeze: tuple[Literal["vision", "projector", "language"], ...] = ("vision",)
    fresh: tuple[Literal["vision", "projector", "language"], ...] = Field(
        (), description="parts that start from random weights instead of the checkpoint's (not with ZeRO-3)"
    )
    lora: LoraConfig | None = None
    gradient_checkpointing: bool = True
    group_by: Literal["length", "dataset", "none"] = Field(
        "length", description="what the samples of one batch share: like length, or one data set (and like length)"
    )
    max_tiles: int = Field(6, ge=1, description="most 448 px tiles per image (a thumbnail is added beyond one)")
    system: str = Field("", description="system prompt put before every conversation")
    checkpoint_every: int = Field(50, ge=1)
    keep_checkpoints: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1)
    seed: int = 42


class EvaluateConfig(Config):
    """`imageref evaluate placement`: test set + engine → image-position metrics."""

    data: Path = Field(description="annotation JSONL of the test set (reference answers with images)")
    root: Path = Field(Path("."), description="folder that image paths are relative to")
    labels: Path = Field(description="position labels (label CSV)")
    output: Path
    engine: EngineConfig
    mode: tuple[Literal["guided", "free"], ...] = ("guided", "free")
    label_slots: Literal["before", "after"] = Field(
        "before", description="where the labels' slots stand: after every header, or after every other line"
    )
    variant: Literal["plain", "caption"] = Field("plain", description="`IMAGE_k` or `![caption](IMAGE_k)`")
    paper: bool = Field(False, description="the paper's own conventions instead of the corrected ones")
    system: str = ""
    max_tokens: int = Field(1024, ge=1)
    limit: int | None = Field(None, ge=1)
    commit_records: int = Field(32, ge=1)
    commit_seconds: float = Field(30, gt=0)
    seed: int = 0


class DemoConfig(Config):
    """`imageref demo`: the whole way on the embedded corpus. Paths of the parts all lie under `output`."""

    output: Path = Path("runs/demo")
    train_events: int = Field(192, ge=1)
    test_events: int = Field(48, ge=1)
    shown_events: int = Field(12, ge=0, description="test events that the report shows with their pictures")
    engine: EngineConfig = Field(description="annotator, and how base and student are run")
    prompts: str = "compact"
    variant: Literal["plain", "caption"] = Field("plain", description="how answers name a picture")
    train: dict[str, Any] = Field(description="train settings other than model, output and mixture")


C = TypeVar("C", bound=Config)


def load(kind: type[C], path: Path, overrides: Iterable[str] = ()) -> C:
    """Read a YAML file, apply `key.sub=value` overrides, check everything.

    Raises ConfigError for a missing file, bad YAML, an unknown key (with the nearest known one) or a bad value.
    """
    if not path.is_file():
        raise ConfigError(f"config file {path} does not exist; give the path of a YAML file, e.g. one of jobs/configs/")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}; mend the file") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, not `key: value` lines; mend the file")
    return check(kind, _overridden(values, overrides), str(path))


def check(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validate plain values as a config; `where` names their origin in errors."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_sentence(kind, item) for item in error.errors())) from None


def _overridden(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: expected key=value, e.g. --set engine.concurrency=32")
        node = values = {**values}
        *parents, last = key.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = {**child} if isinstance(child, dict) else {}
            node = node[parent]
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override}: the value is not valid YAML; quote it: --set '{key}=\"…\"'") from None
    return values


def _sentence(kind: type[Config], item: Any) -> str:
    """One pydantic error as `key: what (how to mend)`."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{key or 'config'}: {item['msg'].lower()}"
    *parents, last = item["loc"]
    known = _fields(kind, [str(part) for part in parents])
    near = difflib.get_close_matches(str(last), known, n=1)
    mend = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(known)
    return f"unknown key {key} ({mend})"


def _fields(kind: Any, parents: list[str]) -> list[str]:
    for parent in parents:
        found = getattr(kind, "model_fields", {}).get(parent)
        kind = found.annotation if found else kind
    return list(getattr(kind, "model_fields", {}))
