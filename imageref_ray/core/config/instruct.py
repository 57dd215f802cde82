"""The settings of instruction generation and correction."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import SamplingConfig
from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, OwnFiles, SharedOrBucket
from imageref_ray.core.config.source import FetchConfig


class InstructSamplingConfig(SamplingConfig):
    """Sampling parameters of one kind of reply about an image."""

    min_tokens: int = Field(0, ge=0, description="minimum tokens per reply")

    @model_validator(mode="after")
    def _ordered(self) -> InstructSamplingConfig:
        if self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}, more than max_tokens, {self.max_tokens}; lower it")
        return self


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
        'JSONL file of {"image": path or address, "id": name}',
    )
    root: SharedOrBucket = Field(
        description="folder of images, searched recursively, or s3://bucket/prefix or gs://bucket/prefix; for kind "
        "manifest: its JSONL file"
    )
    exclude: OwnFiles = Field(
        (),
        description="file, or files, of image ids to skip: one per line, a JSON list of ids or annotations (LLaVA's, "
        "A-OKVQA's), or a JSON object like COCO's",
    )
    limit: int | None = Field(None, ge=1, description="use only the first N images")
    max_image_bytes: int = Field(20_000_000, ge=1, description="bytes; larger image files are refused")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels; larger images are refused before decoding")
    fetch: FetchConfig = Field(
        FetchConfig(), description="how images behind addresses are fetched, and where a manifest's may come from"
    )

    @model_validator(mode="after")
    def _a_manifest_is_a_file(self) -> ImagesConfig:
        if self.kind == "manifest" and isinstance(self.root, str):
            raise ValueError(f"a manifest is a file, but root is {self.root}; give a JSONL file that lists addresses")
        return self


class InstructConfig(PassConfig):
    """`imageref instruct`: images → questions, answers corrected against the image → training set."""

    images: ImagesConfig = Field(description="images to write instructions about")
    prompts: Own[str] = Field(
        "en", description="instruction pack: a shipped name (en, zh, compact) or the path of a YAML file"
    )
    tasks: tuple[Literal["conversation", "detail", "reasoning", "okvqa", "a_okvqa"], ...] = Field(
        ("conversation", "detail", "reasoning"),
        min_length=1,
        description="kinds of instructions to generate; okvqa and a_okvqa are knowledge questions with short answers",
    )
    stages: tuple[Literal["ask", "answer"], ...] = Field(
        ("ask", "answer"),
        min_length=1,
        description="ask: questions with drafts; answer: answers, corrected or (knowledge questions) weighted; only "
        "ask writes no training rows, only answer takes the questions of question_file",
    )
    question_file: Own[Path | None] = Field(
        None,
        description="questions to answer: a run's dataset/instructions.jsonl, or JSON objects with image (or image_id) "
        "and question, as a list or one a line",
    )
    questions: int = Field(1, ge=1, description="questions per image and task; repeated ones are dropped")
    generate: InstructSamplingConfig = Field(
        InstructSamplingConfig(), description="sampling of the questions with their drafts"
    )
    answer: InstructSamplingConfig = Field(
        InstructSamplingConfig(), description="sampling of the answer that is then corrected"
    )
    correct: CorrectConfig | None = Field(
        CorrectConfig(), description="correction of the answers; null: drafts are used unchanged"
    )
    short: InstructSamplingConfig = Field(
        InstructSamplingConfig(temperature=1.0, min_tokens=1, max_tokens=10),
        description="sampling of the short answers to knowledge questions",
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

    @model_validator(mode="after")
    def _questions_come_from_one_place(self) -> InstructConfig:
        if "ask" in self.stages and self.question_file:
            raise ValueError("question_file is given, but stages has ask; set stages: [answer] to answer its questions")
        if "ask" not in self.stages and not self.question_file:
            raise ValueError("stages has no ask; set question_file to the file whose questions are answered")
        knowledge = {"okvqa", "a_okvqa"}
        if "ask" not in self.stages and not self.correct and (others := sorted({*self.tasks} - knowledge)):
            named = ", ".join(others)
            raise ValueError(f"stages is [answer] and correct is null: questions of {named} get no answer; set correct")
        return self
