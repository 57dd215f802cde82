"""The answer of `POST /v1/reference` as the OpenAPI description has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imageref_ray.serving.event_stream import described


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Reference(_Part):
    """A picture in the answer: `IMAGE_k`, after the `slot`-th block that is no header."""

    k: int
    id: str = Field(description="the document's id and the number of the image in it")
    url: str = Field(description="the path that was sent, or sha256:… of a data URL")
    alt: str
    document: str
    sha256: str
    slot: int
    caption: str


class Citation(_Part):
    """The documents that a block rests on, as far as its pictures say."""

    block: int
    documents: list[str]


class BreachObject(_Part):
    """What was removed or repaired, and why."""

    kind: Literal["exists", "slot", "once", "source", "html", "link"]
    message: str
    k: int


class LeftOut(_Part):
    """An image (its number or address, none for another part of a page) that could not be used."""

    document: str
    image: int | str | None
    reason: str


class ReferenceAnswer(_Part):
    """The whole answer; a stream ends with it, too."""

    id: str
    object: Literal["reference"]
    created: int
    model: str
    method: Literal["direct", "staged"]
    finish_reason: Literal["stop", "length"] = Field(description="length: the token limit cut a part of the answer")
    markdown: str
    html: str = Field("", description="with format: html")
    references: list[Reference]
    citations: list[Citation]
    breaches: list[BreachObject]
    left_out: list[LeftOut]
    usage: dict[str, Any]


RESPONSES = described(ReferenceAnswer)
