"""The settings of a build: source, stages, exports, prices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig, SamplingConfig
from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, Shipped, Written
from imageref_ray.core.config.source import SourceConfig


class StageConfig(SamplingConfig):
    """Sampling of one stage, and its own engine where it has one."""

    engine: EngineConfig | None = Field(None, description="annotator of this stage alone (default: the build's engine)")


class PlaceConfig(StageConfig):
    """The same of placement, and how much its reply says of its reasons."""

    analysis_words: int | None = Field(
        None,
        ge=0,
        description="most words of `analysis` and of `explanation`, each; 0 leaves both out (by default: as the pack "
        "words it, up to 400 characters)",
    )


class ExamplesConfig(Config):
    """In-context examples of one stage: earlier turns before every request of it."""

    file: Shipped[Path] = Field(
        description="JSON list of examples, in the paper's form or with a document or response each"
    )
    count: int = Field(2, ge=1, description="how many are shown")
    choose: Literal["first", "similar", "none"] = Field(
        "first",
        description="the first of the file: all requests begin with the same tokens, which the prefix cache keeps; "
        "similar: those whose text is most like the document or response at hand: requests then share the system "
        "prompt, and the examples with those that chose the same (images of one document do); none: not one",
    )


class SplitConfig(Config):
    """Shares of the events; a split whose share is 0 is not written."""

    train: float = Field(0, ge=0, le=1)
    validation: float = Field(0, ge=0, le=1)
    test: float = Field(0, ge=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, validation and test add up to {total:g}; make it 1, e.g. 0.9, 0.05 and 0.05")
        return self


Format = Literal[
    "plain", "caption", "captions", "insertion", "records", "mixture", "messages", "sharegpt", "llava", "parquet"
]
"""What a build can write; `imageref_ray.dataset.export.FILES` says what each holds."""


class ExportConfig(Config):
    """What a build writes of its finished records, for whom, and into which splits."""

    formats: tuple[Format, ...] = ("plain", "caption", "captions", "insertion", "records", "mixture")
    variant: Literal["plain", "caption"] = Field("plain", description="answers of messages, sharegpt, llava, parquet")
    embed_images: bool = Field(False, description="parquet: with the image files themselves instead of their paths")
    tokenizer: Own[str | None] = Field(
        None, description="checkpoint that counts each row's `length`; without: an estimate"
    )
    split: SplitConfig | None = Field(None, description="by event; without: everything in one file a format")
    license: str = Field("", description="Hugging Face licence identifier (cc-by-4.0, …) or the licence in words")

    @model_validator(mode="after")
    def _has_something_to_list(self) -> ExportConfig:
        listed = {"plain", "caption"}.intersection(self.formats) and (self.split is None or self.split.train > 0)
        if "mixture" in self.formats and not listed:
            raise ValueError("mixture lists training annotations; add plain or caption and a train split, or drop it")
        return self


class BuildConfig(PassConfig):
    """`imageref build`: documents with images → training set."""

    source: SourceConfig
    prompts: Own[str] = Field("default-en", description="prompt pack: a shipped name or the path of a YAML file")
    caption_examples: ExamplesConfig | None = Field(None, description="in-context examples for captions")
    place_examples: ExamplesConfig | None = Field(None, description="in-context examples for placement")
    respond: StageConfig = StageConfig()
    caption: StageConfig = StageConfig()
    place: PlaceConfig = PlaceConfig()
    context_tokens: int = Field(
        4096,
        ge=1,
        description="text kept on each side of an image in captioning (counted by a vllm engine's tokenizer, else "
        "estimated)",
    )
    max_images: int = Field(50, ge=1, description="samples with more images are left out (and reported)")
    cache: Written[Path | None] = Field(
        None, description="file of replies shared with other runs: equal descriptions and captions are not asked again"
    )
    export: ExportConfig = ExportConfig()
