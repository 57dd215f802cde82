"""The answer of `POST /v1/instructions` as the OpenAPI description has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imageref_ray.serving.event_stream import described


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Retry(_Part):
    """What was written in a unit's place: taken where it was rewritten, refused too where it was dropped."""

    text: str
    probability: float | None


class UnitObject(_Part):
    """A sentence or section of the answer; `probability`: of yes, asked whether the image shows it."""

    index: int
    text: str
    outcome: Literal["kept", "rewritten", "dropped"]
    became: str | None
    probability: float | None = Field(description="null: not asked, or the engine gives no log-probabilities")
    retry: Retry | None


class Candidate(_Part):
    """A short answer; `weight`: exp(mean log-probability)³ × 100, or how many drew it where the engine gives none."""

    text: str
    weight: float


class InstructionAnswer(_Part):
    """The whole answer; a stream ends with it, too."""

    id: str
    object: Literal["instruction"]
    created: int
    model: str
    task: str
    question: str
    draft: str | None = Field(description="what came with the model's question; to yours, the answer in one pass")
    one_pass: str | None = Field(description="the answer in one pass, before correction")
    units: list[UnitObject]
    candidates: list[Candidate] = Field(description="answers to a knowledge question")
    answer: str
    ended: Literal["end", "steps", "repeats", "length"] | None = Field(description="why correction ended")
    finish_reason: Literal["stop", "length"]
    usage: dict[str, Any]


RESPONSES = described(InstructionAnswer)
