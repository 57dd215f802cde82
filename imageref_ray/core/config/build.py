"""The settings of a build: source, stages, exports, prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.engine import EngineConfig, PoolConfig, SamplingConfig, ScriptedConfig
from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, Shipped, Written
from imageref_ray.core.config.source import SourceConfig

Stage = Literal["respond", "caption", "place"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The stages of a build, in their order."""

INPUT_OF: dict[Stage, str] = {"respond": "responses", "caption": "captions", "place": "insertions"}
"""Stage → the setting of `inputs` whose file has its results."""

NO_ENGINE = ScriptedConfig(script="imageref_ray.commands.annotation.passes:nobody")
"""The engine of a build without any stage: it is never asked."""


class InputsConfig(Config):
    """Results of stages that are left out, in the ImageRef-VL release's files: the release's, an earlier build's or a
    person's."""

    responses: Own[Path | None] = Field(
        None, description='in place of stage respond: JSONL of {"id": sample, "result": Markdown}'
    )
    captions: Own[Path | None] = Field(
        None, description='in place of stage caption: JSONL of {"nid": document, "caption": {"document/file": text}}'
    )
    insertions: Own[Path | None] = Field(
        None,
        description='in place of stage place: JSONL of {"event_id": sample, "image_paths": ["document/file"], '
        '"result": predictions}',
    )

    def given(self) -> dict[str, Path]:
        """The files that are given, by the name of their setting."""
        files = {"responses": self.responses, "captions": self.captions, "insertions": self.insertions}
        return {name: path for name, path in files.items() if path is not None}


class StageConfig(SamplingConfig):
    """Sampling of one stage, and an engine of its own if it needs one."""

    engine: EngineConfig | None = Field(None, description="engine for this stage only; default: the build's engine")


class PlaceConfig(StageConfig):
    """StageConfig of the placement stage, and how long the reasons in its reply may be."""

    analysis_words: int | None = Field(
        None,
        ge=0,
        description="maximum words of `analysis` and of `explanation`, each; 0 leaves both out; default: as the prompt "
        "pack says, up to 400 characters",
    )


class ExamplesConfig(Config):
    """In-context examples of one stage: earlier turns put before each of its requests."""

    file: Shipped[Path] = Field(
        description="JSON list of examples, in the paper's format or each with its own document or response"
    )
    count: int = Field(2, ge=1, description="examples per request")
    choose: Literal["first", "similar", "none"] = Field(
        "first",
        description="first: the first `count` of the file; all requests start with the same tokens, so the prefix "
        "cache serves them; similar: those whose text is most similar to the document or response; requests then share "
        "the system prompt, and the examples only with requests that chose the same ones (images of one document do); "
        "none: no examples",
    )


class SplitConfig(Config):
    """Fractions of the events per split, adding up to 1; a split of 0 is not written."""

    train: float = Field(0, ge=0, le=1, description="fraction of the events for training")
    validation: float = Field(0, ge=0, le=1, description="fraction of the events for validation")
    test: float = Field(0, ge=0, le=1, description="fraction of the events for testing")
    seed: int = Field(0, description="seed of the assignment of events to splits")

    @model_validator(mode="after")
    def _adds_up_to_one(self) -> SplitConfig:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"train, validation and test add up to {total:g}; they must add up to 1, e.g. 0.9, 0.05 and 0.05"
            )
        return self


Format = Literal[
    "plain",
    "caption",
    "responses",
    "captions",
    "insertion",
    "records",
    "mixture",
    "messages",
    "sharegpt",
    "llava",
    "parquet",
]
"""Export formats; `imageref_ray.dataset.export.FILES` says what each file contains."""


class ExportConfig(Config):
    """Formats and splits of the training set that a build writes."""

    formats: tuple[Format, ...] = Field(
        ("plain", "caption", "responses", "captions", "insertion", "records", "mixture"),
        description="formats to write: plain and caption (InternVL annotations with `IMAGE_k` or "
        "`![caption](IMAGE_k)`), responses, captions and insertion (the ImageRef-VL release's files), records "
        "(everything about a sample), mixture (InternVL's meta JSON), messages (ms-swift), sharegpt (LLaMA-Factory), "
        "llava, parquet",
    )
    variant: Literal["plain", "caption"] = Field(
        "plain",
        description="how answers refer to images in messages, sharegpt, llava and parquet: `IMAGE_k` (plain) or "
        "`![caption](IMAGE_k)` (caption)",
    )
    embed_images: bool = Field(False, description="parquet: store the image files themselves instead of their paths")
    tokenizer: Own[str | None] = Field(
        None,
        description="checkpoint (folder, hub name or `embedded`) whose tokenizer counts each row's `length`; default: "
        "lengths are estimated",
    )
    split: SplitConfig | None = Field(
        None, description="split by event into train, validation and test; default: one file per format"
    )
    license: str = Field(
        "", description="licence of the data set: a Hugging Face identifier (cc-by-4.0, …) or free text"
    )

    @model_validator(mode="after")
    def _mixture_has_annotations(self) -> ExportConfig:
        listed = {"plain", "caption"}.intersection(self.formats) and (self.split is None or self.split.train > 0)
        if "mixture" in self.formats and not listed:
            raise ValueError(
                "mixture lists training annotations; add plain or caption and a train split, or remove mixture"
            )
        return self


class BuildConfig(PassConfig):
    """`imageref build`: documents with images → training set."""

    source: SourceConfig = Field(description="where the documents and their images come from")
    stages: tuple[Stage, ...] = Field(
        STAGES,
        description="stages to run; without place or its `inputs` only the files of these stages are written; [] with "
        "all `inputs`: the training set is put together from them, without any engine",
    )
    inputs: InputsConfig = Field(InputsConfig(), description="results of the stages that are left out")
    prompts: Own[str] = Field("default-en", description="prompt pack: a shipped name or the path of a YAML file")
    caption_examples: ExamplesConfig | None = Field(None, description="in-context examples for captioning")
    place_examples: ExamplesConfig | None = Field(None, description="in-context examples for placement")
    respond: StageConfig = Field(StageConfig(), description="stage that writes the textual response")
    caption: StageConfig = Field(StageConfig(), description="stage that describes and captions every image")
    place: PlaceConfig = Field(PlaceConfig(), description="stage that decides which image belongs at which position")
    context_tokens: int = Field(
        4096,
        ge=1,
        description="tokens of text kept on each side of an image in captioning (counted with a vllm engine's "
        "tokenizer, estimated for other engines)",
    )
    max_images: int = Field(50, ge=1, description="samples with more images are skipped and reported")
    refused_images: Literal["leave_out", "fail"] = Field(
        "leave_out",
        description="an image that the engine refuses: it leaves its sample, with a row that says why (leave_out), or "
        "fails the sample (fail); a sample of which all images are refused fails",
    )
    cache: Written[Path | None] = Field(
        None,
        description="reply cache file shared with other runs: a description or caption that is in it is not requested "
        "again",
    )
    export: ExportConfig = Field(ExportConfig(), description="formats and splits of the training set")

    @field_validator("stages")
    @classmethod
    def _in_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return tuple(stage for stage in STAGES if stage in stages)

    @model_validator(mode="before")
    @classmethod
    def _without_stages_needs_no_engine(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("stages") in ([], ()) and "engine" not in values:
            return {**values, "engine": NO_ENGINE}
        return values

    @model_validator(mode="after")
    def _every_result_has_one_origin(self) -> BuildConfig:
        given = self.inputs.given()
        if twice := [stage for stage in self.stages if INPUT_OF[stage] in given]:
            stage = twice[0]
            raise ValueError(
                f"inputs.{INPUT_OF[stage]} stands for the stage {stage}, but {stage} runs too; remove it, or leave "
                f"{stage} out of stages"
            )
        if "respond" in self.stages and self.inputs.insertions:
            raise ValueError(
                "inputs.insertions belongs to the responses it was made for, but stages writes new ones; give "
                "inputs.responses in place of stage respond, or remove inputs.insertions"
            )
        if (given or "place" in self.stages or not self.stages) and (missing := self.missing()):
            named = " and ".join(f"{stage} or inputs.{INPUT_OF[stage]}" for stage in missing)
            raise ValueError(
                f"with stages [{', '.join(self.stages)}]{' and inputs' if given else ''} a training set is put "
                f"together, and for that {named} {'is' if len(missing) == 1 else 'are'} missing; add it, or set stages "
                "to respond, caption or both, without inputs, to write only their files"
            )
        return self

    def engines(self) -> tuple[PoolConfig, ...]:
        """The engines that the stages ask."""
        own = (getattr(self, name).engine for name in self.stages)
        return (self.engine, *(engine for engine in own if engine))

    def missing(self) -> tuple[Stage, ...]:
        """Stages whose results come neither from the run nor from a file; none: a training set is made."""
        given = self.inputs.given()
        left = (stage for stage in STAGES if stage not in self.stages and INPUT_OF[stage] not in given)
        return tuple(stage for stage in left if stage != "respond" or self.source.kind != "samples")

    def left_out(self) -> tuple[Stage, ...]:
        """Stages whose results a training set takes from files, or from the source."""
        return () if self.missing() else tuple(stage for stage in STAGES if stage not in self.stages)
