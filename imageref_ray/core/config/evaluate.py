"""The settings of an evaluation, and of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig
from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, Shared, Written


class EvaluateConfig(PassConfig):
    """`imageref evaluate placement`: test set + engine → image-position metrics."""

    data: Own[Path] = Field(description="annotation JSONL of the test set (reference answers with images)")
    root: Shared[Path] = Field(Path("."), description="folder that image paths are relative to")
    labels: Own[Path] = Field(description="position labels (label CSV)")
    mode: tuple[Literal["guided", "free"], ...] = ("guided", "free")
    label_slots: Literal["before", "after"] = Field(
        "before", description="where the labels' slots stand: after every header, or after every other line"
    )
    variant: Literal["plain", "caption"] = Field("plain", description="`IMAGE_k` or `![caption](IMAGE_k)`")
    paper: bool = Field(False, description="the paper's own conventions instead of the corrected ones")
    system: str = ""
    max_tokens: int = Field(1024, ge=1)
    limit: int | None = Field(None, ge=1)
    seed: int = 0


class QuestionsConfig(Config):
    """One annotated set: a flat list (A-OKVQA and alike), or with `annotations` the published pair (OKVQA, VQAv2)."""

    questions: Own[Path] = Field(
        description="JSON list of questions with their answers, or the published questions file"
    )
    annotations: Own[Path | None] = Field(None, description="the published annotations file")
    images: Shared[Path] = Field(description="folder that image paths are relative to")
    image_name: str = Field(
        "{:012d}.jpg", description="file of a numbered image under images, e.g. val2014/COCO_val2014_{:012d}.jpg"
    )

    @field_validator("image_name")
    @classmethod
    def _numbered(cls, pattern: str) -> str:
        try:
            distinct = pattern.format(1) != pattern.format(2)
        except (ValueError, LookupError, AttributeError):
            distinct = False
        if not distinct:
            raise ValueError(f"{pattern} makes no file name of a number; expected a pattern like {{:012d}}.jpg")
        return pattern


class VqaConfig(PassConfig):
    """`imageref evaluate vqa`: annotated questions + engine → VQA accuracy and multiple-choice accuracy."""

    sets: dict[str, QuestionsConfig] = Field(min_length=1, description="annotated sets by name")
    prompts: Own[str] = Field(
        "en", description="instruction pack: a shipped name (en, compact) or the path of a YAML file"
    )
    mode: tuple[Literal["direct", "choice"], ...] = Field(
        ("direct",), min_length=1, description="a short answer in own words; the likeliest of the given choices"
    )
    max_tokens: int = Field(16, ge=1, description="direct: longest answer")
    limit: int | None = Field(None, ge=1, description="ask only the first N questions of every set")
    commit_records: int = Field(256, ge=1, description="questions per commit")
    seed: int = Field(0, description="of the intervals' resampling")


class DemoConfig(Config):
    """`imageref demo`: the whole way on the embedded corpus. Paths of the parts all lie under `output`."""

    output: Written[Path] = Path("runs/demo")
    train_events: int = Field(192, ge=1)
    test_events: int = Field(48, ge=1)
    shown_events: int = Field(12, ge=0, description="test events that the report shows with their pictures")
    shown_pictures: int = Field(8, ge=0, description="corrected answers that the report shows with their pictures")
    engine: EngineConfig = Field(description="annotator, and how base and student are run")
    prompts: Own[str] = "compact"
    variant: Literal["plain", "caption"] = Field("plain", description="how answers name a picture")
    train: dict[str, Any] = Field(description="train settings other than model, output and mixture")
    instruct: dict[str, Any] = Field(
        description="instruct settings other than images' root, output, engine and prompts"
    )
