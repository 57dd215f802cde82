"""The settings of an evaluation, and of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from imageref_ray.config.base import Config
from imageref_ray.config.engine import EngineConfig


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
    instruct: dict[str, Any] = Field(
        description="instruct settings other than images' root, output, engine and prompts"
    )
