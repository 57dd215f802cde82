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
    """How an answer is corrected, unit by unit (the loop of the VIGC method)."""

    style: Literal["vig", "vic"] = Field(
        "vig", description="how the question is asked: with its instruction (vig), or alone (vic)"
    )
    unit: Literal["sentence", "section"] = Field("sentence", description="what one step of a correction covers")
    steps: int = Field(4, ge=1, description="maximum units of an answer; the rest is cut off")
    last_all: bool = Field(False, description="the last step keeps the rest of the answer instead of one unit")
    reread: Literal["continue", "after", "verify"] = Field(
        "after",
        description="continue: the answer is only cut to its steps; after: each unit is written again with the text so "
        "far before the image; verify: a yes/no question per unit, with another try for a rejected one",
    )
    threshold: float = Field(0.5, ge=0, le=1, description="verify: minimum probability of `yes` for a unit to be kept")


class ImagesConfig(Config):
    """The images to write instructions about."""

    kind: Literal["coco", "objects365", "folder", "manifest"] = Field(
        "folder",
        description="coco and objects365: files named as in these data sets; folder: every image file; manifest: a "
        'JSONL file of {"image": path, "id": name}',
    )
    root: Shared[Path] = Field(description="folder of images, searched recursively; for kind manifest: its JSONL file")
    exclude: Own[Path | None] = Field(None, description="file of image ids to skip: one per line, or a JSON list")
    limit: int | None = Field(None, ge=1, description="use only the first N images")
    max_image_bytes: int = Field(20_000_000, ge=1, description="bytes; larger image files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels; larger images are refused before decoding")


class InstructConfig(PassConfig):
    """`imageref instruct`: images → questions, answers corrected against the image → training set."""

    images: ImagesConfig = Field(description="images to write instructions about")
    prompts: Own[str] = Field(
        "en", description="instruction pack: a shipped name (en, compact) or the path of a YAML file"
    )
    tasks: tuple[Literal["conversation", "detail", "reasoning", "okvqa", "a_okvqa"], ...] = Field(
        ("conversation", "detail", "reasoning"),
        min_length=1,
        description="kinds of instructions to generate; okvqa and a_okvqa are knowledge questions with short answers",
    )
    questions: int = Field(1, ge=1, description="questions per image and task; repeated ones are dropped")
    generate: SamplingConfig = Field(SamplingConfig(), description="sampling of the questions with their drafts")
    answer: SamplingConfig = Field(SamplingConfig(), description="sampling of the answer that is then corrected")
    correct: CorrectConfig | None = Field(
        CorrectConfig(), description="correction of the answers; null: drafts are used unchanged"
    )
    candidates: int = Field(5, ge=1, description="knowledge questions: answers sampled per question")
    topk: int | None = Field(
        None, ge=1, description="knowledge questions: train only on the k answers with the highest weight"
    )
    score_thr: float = Field(
        0.0, ge=0, le=500, description="knowledge questions: minimum weight of an answer to train on"
    )
    uses: tuple[Literal["vig", "vic", "vqg"], ...] = Field(
        ("vig", "vic"),
        min_length=1,
        description="training tasks: vig (instruction → question and answer), vic (question → answer), vqg (answer → "
        "question)",
    )
    draws: int = Field(1, ge=1, description="training rows per question and training task")
    seed: int = Field(42, description="seed of sampling and of the training rows")
