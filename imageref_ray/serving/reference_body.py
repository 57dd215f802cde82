"""The body of `POST /v1/reference`: every field that it may have, with its type and bounds."""

from __future__ import annotations

from typing import Literal

from babel import Locale, UnknownLocaleError
from pydantic import Field

from imageref_ray.core.config import ServeConfig
from imageref_ray.serving.chat_body import Strict, check_length
from imageref_ray.serving.errors import WireError
from imageref_ray.stages.prompts import load_pack

_INT64 = 2**63 - 1


class SentDocument(Strict):
    """A document and its images (data URLs, or paths in the configured folder).

    In a `text` the marker `[Image k]` is the place of `images[k]`, from 0. Markdown and HTML have images in their own
    ways: as data URLs, or by an address that is in `images`, or in `names`, which say what the page calls each of them.
    """

    id: str | None = Field(None, min_length=1)
    title: str = ""
    text: str
    format: Literal["text", "markdown", "html"] = "text"
    url: str = ""
    images: list[str] = Field(default_factory=list)
    names: list[str] | None = Field(None, description="as many as images; with format markdown or html")


class ReferenceBody(Strict):
    """A question, its documents, and the sampling of the answer (greedy by default)."""

    question: str = Field(min_length=1)
    documents: list[SentDocument] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=_INT64, description="of each reply of the model")
    temperature: float = Field(0, ge=0, le=2)
    seed: int | None = Field(None, ge=-_INT64, le=_INT64)
    method: Literal["direct", "staged"] | None = None
    stream: bool | None = None
    format: Literal["markdown", "html"] = Field("markdown", description="html: the answer has both")
    language: str | None = Field(
        None, pattern=r"^[^\W\d_][\w ()-]{1,39}$", description="of the answer: a code (de, pt-BR) or a name (German)"
    )


def check_fields(body: ReferenceBody, settings: ServeConfig, context: int | None) -> None:
    """Fields that need or exclude each other, and what this endpoint cannot do. Raises WireError."""
    check_length("max_tokens", body.max_tokens, context)
    ids = [document.id or str(i) for i, document in enumerate(body.documents, start=1)]
    if len(set(ids)) < len(ids):
        raise WireError("two documents have the same id", "documents")
    for i, document in enumerate(body.documents):
        if document.names is None:
            continue
        where = f"documents[{i}].names"
        if document.format == "text":
            raise WireError("`names` are read with `format` markdown or html", where)
        if len(document.names) != len(document.images):
            message = f"{len(document.names)} `names` of {len(document.images)} `images`; give one for each"
            raise WireError(message, where)
    if sum(len(document.images) for document in body.documents) > settings.max_images:
        raise WireError(f"more than {settings.max_images} images in one request", "documents")
    if body.language and not load_pack(settings.prompts).language:
        message = "the prompts of this endpoint take no `language`; leave it out and ask in the language of the answer"
        raise WireError(message, "language")
    language_of(body)


def language_of(body: ReferenceBody) -> str:
    """The language's name in English, "" for none. Raises WireError for a code that is none."""
    given = body.language or ""
    code = given.replace("-", "_")
    if not given or len(code.split("_")[0]) > 3:
        return given
    try:
        return Locale.parse(code).english_name or given
    except (UnknownLocaleError, ValueError):
        raise WireError(f"`{given}` is no code of a language; write its name", "language") from None
