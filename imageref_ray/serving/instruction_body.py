"""`POST /v1/instructions`: the fields of a request, with the names of `imageref instruct`'s settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from imageref_ray.core.config import CorrectConfig
from imageref_ray.serving.chat_body import INT64, Sampled, check_length
from imageref_ray.serving.errors import WireError
from imageref_ray.stages.ask import SHORT
from imageref_ray.stages.prompts.instruct import TASKS

HOW = ("style", "unit", "steps", "last_all", "threshold")
"""Fields that say how an answer is corrected."""


def _said(name: str) -> str | None:
    """What the settings say of a field that is one of theirs."""
    return CorrectConfig.model_fields[name].description


class InstructionBody(Sampled):
    """An image and a task, with or without a question; greedy unless `temperature` says otherwise."""

    image: str = Field(description="data URL, or a path in the configured folder")
    task: Literal["conversation", "detail", "reasoning", "okvqa", "a_okvqa"] = "conversation"
    question: str | None = Field(None, pattern=r"\S", description="default: the model asks one")
    correction: Literal["continue", "after", "verify", "none"] | None = Field(
        None, description=f"{_said('reread')}; none: drafts are not corrected. Default: after; knowledge tasks: none"
    )
    style: Literal["vig", "vic"] | None = Field(None, description=_said("style"))
    unit: Literal["sentence", "section"] | None = Field(None, description=_said("unit"))
    steps: int | None = Field(None, ge=1, le=100, description=_said("steps"))
    last_all: bool | None = Field(None, description=_said("last_all"))
    threshold: float | None = Field(None, ge=0, le=1, description=_said("threshold"))
    max_tokens: int | None = Field(None, ge=1, le=INT64, description="of every text")
    n: int | None = Field(
        None,
        ge=1,
        le=16,
        description="every text is the likeliest of n; knowledge tasks: n answers. Needs a temperature above 0",
    )
    seed: int | None = Field(None, ge=-INT64, le=INT64)
    model: str | None = None
    stream: bool | None = None

    @property
    def knowledge(self) -> bool:
        """Whether the answer is the best of a few short ones."""
        return TASKS[self.task] == "knowledge"

    @property
    def correct(self) -> CorrectConfig | None:
        """How the answer is corrected; None: it is not."""
        if self.knowledge or self.correction == "none":
            return None
        given = {"reread": self.correction, **{name: getattr(self, name) for name in HOW}}
        return CorrectConfig.model_validate({name: value for name, value in given.items() if value is not None})

    @property
    def warmth(self) -> float:
        """The temperature: short answers are drawn, all else is greedy, unless the request says otherwise."""
        default = SHORT.temperature if self.knowledge else 0.0
        return default if self.temperature is None else self.temperature


def check_together(body: InstructionBody, context: int | None, most: int) -> None:
    """Fields that need or exclude each other, and lengths against the model's context. Raises WireError.

    `most` is the maximum of a text where the request gives none. All in tokens.
    """
    if body.question is not None and body.correction == "none" and not body.knowledge:
        message = "nothing answers `question` with correction none; take continue for the answer in one pass"
        raise WireError(message, "correction")
    _check_effect(body)
    check_length("max_tokens", body.max_tokens, context)
    longest = body.max_tokens or (SHORT.max_tokens if body.knowledge else most)
    if (body.min_tokens or 0) > longest:
        raise WireError(f"`min_tokens` is {body.min_tokens}, more than the {longest} of a text", "min_tokens")
    if (body.n or 1) > 1 and body.warmth == 0:
        raise WireError(f"{body.n} texts at temperature 0 are all the same; raise `temperature` or leave `n` out", "n")


def _check_effect(body: InstructionBody) -> None:
    """Raise WireError for a field that changes nothing beside the others."""
    idle = {name: f"correction {body.correction}" for name in HOW if body.correction == "none"}
    if body.correction != "verify":
        idle["threshold"] = f"correction {body.correction or 'after'}"
    if body.knowledge:
        idle = dict.fromkeys((*HOW, "correction"), f"task {body.task}")
    for name, where in idle.items():
        if getattr(body, name) not in (None, "none"):
            raise WireError(f"`{name}` has no effect with {where}; leave it out", name)
