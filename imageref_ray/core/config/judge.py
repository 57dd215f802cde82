"""The settings of a judge's evaluation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from imageref_ray.core.config.passes import PassConfig
from imageref_ray.core.config.places import Own, Shared

REFERENCE = "reference"
"""The baseline that is the test set's own answers."""


class JudgeConfig(PassConfig):
    """`imageref evaluate judge`: test set + answers + a judge → ratings, or win rates."""

    data: Own[Path] = Field(description="annotation JSONL of the test set: questions, and reference answers")
    root: Shared[Path] = Field(Path("."), description="folder that image paths are relative to")
    answers: Own[dict[str, Own[Path]]] = Field(
        min_length=1,
        description='files of answers by the name of their system: JSONL of `{"id", "result"}`',
    )
    rubric: Own[str] = Field(
        "single",
        description="what is judged and how: single, pairwise, images, citation, relative, or the path of a YAML file",
    )
    baseline: str = Field(
        REFERENCE, description="pairwise: the system that every other is compared with, or reference (the test set's)"
    )
    max_tokens: int = Field(1024, ge=1, description="maximum tokens per judgement")
    human: Own[Path | None] = Field(
        None, description="CSV of people's ratings (id, system, and a column per measure) to measure agreement with"
    )
    judges: Own[dict[str, Own[Path]]] = Field(
        {}, description="finished runs of other judges by name, to measure the agreement with them"
    )
    limit: int | None = Field(None, ge=1, description="judge only the answers to the first N questions")
    seed: int = Field(0, description="seed of the bootstrap for confidence intervals")

    @model_validator(mode="after")
    def _check_names(self) -> JudgeConfig:
        if wrong := [name for name in self.answers if not name or "/" in name]:
            raise ValueError(f"answers: {wrong[0]!r} is no name for a system; give one without /")
        if REFERENCE in self.answers:
            raise ValueError("answers.reference: this name is the test set's own answers; give another")
        if self.baseline not in (REFERENCE, *self.answers):
            raise ValueError(f"baseline: {self.baseline} is not a name in answers ({', '.join(self.answers)})")
        if [*self.answers] == [self.baseline]:
            raise ValueError(f"answers: {self.baseline} is the baseline; give the system to compare with it")
        if taken := sorted({"judge", "human"} & self.judges.keys()):
            raise ValueError(f"judges.{taken[0]}: this name has a meaning already; give another")
        return self
