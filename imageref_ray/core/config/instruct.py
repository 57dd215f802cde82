"""The settings of instruction generation and correction."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import SamplingConfig
from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, Shared


class CorrectConfig(Config):
    """How an answer is corrected, unit by unit (the VIGC method's loop)."""

    style: Literal["vig", "vic"] = Field("vig", description="asked by the instruction, or by the bare question")
    unit: Literal["sentence", "section"] = "sentence"
    steps: int = Field(4, ge=1, description="most units of an answer")
    last_all: bool = Field(False, description="the last step keeps all that follows")
    reread: Literal["continue", "after", "verify"] = Field(
        "after", description="plain continuation; the image once more after the text so far; a yes/no question per unit"
    )
    threshold: float = Field(0.5, ge=0, le=1, description="verify: least probability of a unit that is kept")


class ImagesConfig(Config):
    """Which images instructions are about."""

    kind: Literal["coco", "objects365", "folder", "manifest"] = "folder"
    root: Shared[Path] = Field(
        description="folder of images, searched with its sub-folders; for kind manifest its JSONL file"
    )
    exclude: Own[Path | None] = Field(None, description="ids of images to leave out: one a line, or a JSON list")
    limit: int | None = Field(None, ge=1, description="use only the first N images")
    max_image_bytes: int = Field(20_000_000, ge=1, description="larger files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class InstructConfig(PassConfig):
    """`imageref instruct`: images → questions, answers corrected against the image → training set."""

    images: ImagesConfig
    prompts: Own[str] = Field(
        "en", description="instruction pack: a shipped name (en, compact) or the path of a YAML file"
    )
    tasks: tuple[Literal["conversation", "detail", "reasoning", "okvqa", "a_okvqa"], ...] = Field(
        ("conversation", "detail", "reasoning"), min_length=1
    )
    questions: int = Field(1, ge=1, description="questions an image and task; repeated ones are dropped")
    generate: SamplingConfig = SamplingConfig()
    answer: SamplingConfig = Field(SamplingConfig(), description="the answer that is corrected")
    correct: CorrectConfig | None = Field(CorrectConfig(), description="null: drafts are used as they are")
    candidates: int = Field(5, ge=1, description="answers drawn to a knowledge question")
    topk: int | None = Field(None, ge=1, description="knowledge: train on the heaviest answers only")
    score_thr: float = Field(0.0, ge=0, le=500, description="knowledge: least weight of an answer to train on")
    uses: tuple[Literal["vig", "vic", "vqg"], ...] = Field(("vig", "vic"), min_length=1, description="training tasks")
    draws: int = Field(1, ge=1, description="training rows a question and use")
    seed: int = 42
