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

    data: Own[Path] = Field(description="annotation JSONL of the test set: prompts, and reference answers with images")
    root: Shared[Path] = Field(Path("."), description="folder that image paths are relative to")
    labels: Own[Path | None] = Field(
        None,
        description="label CSV: relevance of every image at every position; without it only their order is measured",
    )
    mode: tuple[Literal["guided", "structured", "free", "captions", "staged"], ...] = Field(
        ("guided", "free"),
        min_length=1,
        description="guided: the reference's text is fixed and the model chooses an image or none at every slot; "
        "structured: the same in one request, as JSON; free: the model writes the whole answer; captions: free, with "
        "captions in place of the images; staged: response, captions and placement, each by prompting",
    )
    label_slots: Literal["before", "after"] = Field(
        "before",
        description="slots of the labels: before (one after every header line) or after (one after every other line)",
    )
    variant: Literal["plain", "caption"] = Field(
        "plain", description="how answers refer to images: `IMAGE_k` (plain) or `![caption](IMAGE_k)` (caption)"
    )
    paper: bool = Field(False, description="reproduce the paper's scoring conventions instead of the corrected ones")
    system: str = Field("", description="system prompt of every request (the one the model was trained with)")
    prompts: Own[str] = Field(
        "default-en",
        description="structured, captions, staged: prompt pack, a shipped name (default-en, default-zh, compact) or "
        "the path of a YAML file",
    )
    max_tokens: int = Field(1024, ge=1, description="maximum tokens per reply (guided: of one slot it is 32)")
    context_tokens: int = Field(
        4096, ge=0, description="captions, staged: most tokens of text shown before and after an image to caption it"
    )
    max_images: int | None = Field(
        None, ge=1, description="questions with more images are left out, with a row that says so (baselines: 20)"
    )
    limit: int | None = Field(None, ge=1, description="evaluate only the first N questions that have labels")
    seed: int = Field(0, description="seed of the bootstrap for confidence intervals")


def names_by_number(pattern: str) -> bool:
    """Whether a pattern such as `{:012d}.jpg` turns two numbers into two file names."""
    try:
        return pattern.format(1) != pattern.format(2)
    except (ValueError, LookupError, AttributeError):
        return False


class QuestionsConfig(Config):
    """One annotated data set: a flat list (A-OKVQA and similar), or the published pair of files (OKVQA, VQAv2)."""

    questions: Own[Path] = Field(
        description="questions with their answers: a JSON list, JSON lines, or the published file"
    )
    annotations: Own[Path | None] = Field(
        None, description="the published annotations file, if questions and answers are in two files"
    )
    images: Shared[Path] = Field(description="folder that image paths are relative to")
    image_name: str = Field(
        "{:012d}.jpg",
        description="file name pattern of a numbered image, relative to images, e.g. val2014/COCO_val2014_{:012d}.jpg",
    )

    @field_validator("image_name")
    @classmethod
    def _numbered(cls, pattern: str) -> str:
        if not names_by_number(pattern):
            raise ValueError(f"{pattern} does not turn a number into a file name; give a pattern like {{:012d}}.jpg")
        return pattern


class VqaConfig(PassConfig):
    """`imageref evaluate vqa`: annotated questions + engine → VQA accuracy and multiple-choice accuracy."""

    sets: dict[str, QuestionsConfig] = Field(min_length=1, description="annotated data sets by name")
    prompts: Own[str] = Field(
        "en", description="instruction pack: a shipped name (en, zh, compact) or the path of a YAML file"
    )
    mode: tuple[Literal["direct", "choice"], ...] = Field(
        ("direct",),
        min_length=1,
        description="direct: the model writes a short answer; choice: the most likely of the given choices",
    )
    max_tokens: int = Field(16, ge=1, description="direct: maximum tokens per answer")
    limit: int | None = Field(None, ge=1, description="evaluate only the first N questions of every data set")
    commit_records: int = Field(256, ge=1, description="questions per commit")
    seed: int = Field(0, description="seed of the bootstrap for confidence intervals")


class DemoConfig(Config):
    """`imageref demo`: every job on the embedded corpus; all outputs are under `output`."""

    output: Written[Path] = Field(Path("runs/demo"), description="run directory of the demo")
    train_events: int = Field(192, ge=1, description="generated events to train on")
    test_events: int = Field(48, ge=1, description="generated events to evaluate on")
    shown_events: int = Field(12, ge=0, description="test events shown in the report with their images")
    shown_pictures: int = Field(8, ge=0, description="corrected answers shown in the report with their images")
    engine: EngineConfig = Field(description="engine of the annotator and of the evaluated models")
    prompts: Own[str] = Field("compact", description="prompt pack: a shipped name or the path of a YAML file")
    variant: Literal["plain", "caption"] = Field(
        "plain", description="how answers refer to images: `IMAGE_k` (plain) or `![caption](IMAGE_k)` (caption)"
    )
    train: dict[str, Any] = Field(description="settings of the train job, except model, output and mixture")
    instruct: dict[str, Any] = Field(
        description="settings of the instruct job, except images.root, output, engine and prompts"
    )
