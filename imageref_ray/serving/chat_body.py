"""`POST /v1/chat/completions`: every field that a request may have, with its type and bounds (OpenAI's and vLLM's).

Nothing is ignored silently: a field is honoured, or it is one of `IGNORED`, which change no answer, or the request is
refused by the field's name.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from imageref_ray.serving.errors import WireError

IGNORED = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "request_id",
    "safety_identifier",
    "session_id",
    "store",
    "user",
)
"""Fields about the caller, which no answer depends on: accepted and not read."""

WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "add_generation_prompt": (None, True, False),
    "add_special_tokens": (None, False),
    "audio": (None,),
    "echo": (None, False),
    "function_call": (None, "auto", "none"),
    "functions": (None, []),
    "length_penalty": (None, 1.0),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "prompt_logprobs": (None,),
    "reasoning_effort": (None, "none"),
    "service_tier": (None, "auto", "default"),
    "spaces_between_special_tokens": (None, True),
    "tool_choice": (None, "auto", "none"),
    "tools": (None, []),
    "truncate_prompt_tokens": (None,),
    "use_beam_search": (None, False),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""Field that this endpoint cannot honour → the values that ask for nothing; another value is refused."""

INT64 = 2**63 - 1
TokenIds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=1024)]


class Strict(BaseModel):
    """A part of a request: unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ImageUrl(Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = Field(None, description="accepted and not read")


class TextPart(Strict):
    type: Literal["text"]
    text: str


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl | str


class Turn(Strict):
    """One message; content is a text or a list of `text` and `image_url` parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = Field(None, description="accepted and not read")


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class JsonSchemaFormat(Strict):
    """The `json_schema` of a response format; `schema` binds the reply, always strictly."""

    name: str | None = Field(None, max_length=64)
    description: str | None = None
    schema_: dict[str, JsonValue] = Field(alias="schema")
    strict: bool | None = None


class TextFormat(Strict):
    type: Literal["text", "json_object"]


class SchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


class StructuredOutputs(Strict):
    """vLLM's guides: one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    regex: Annotated[str, Field(min_length=1)] | None = None
    choice: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None
    json_: dict[str, JsonValue] | None = Field(None, alias="json")


def _declare(schema: dict[str, Any]) -> None:
    """Say in the JSON Schema which further fields are accepted."""
    refused = {
        name: {"enum": list(values), "description": "other values are refused"}
        for name, values in WITHOUT_EFFECT.items()
    }
    ignored = {name: {"description": "accepted and not read"} for name in IGNORED}
    schema["properties"] |= {**refused, **ignored}


class Sampled(Strict):
    """How the tokens of a reply are drawn, within vLLM's bounds."""

    min_tokens: int | None = Field(None, ge=0, le=INT64)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, lt=2**31, description="0 or -1: all tokens")
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=1e6)


class ChatBody(Sampled):
    """A chat completion, with vLLM's further sampling parameters and structured outputs.

    With `continue_final_message` the reply continues the last message, which must be an assistant's.
    """

    model_config = ConfigDict(json_schema_extra=_declare)

    messages: list[Turn] = Field(min_length=1, max_length=2048)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1, le=INT64)
    max_completion_tokens: int | None = Field(None, ge=1, le=INT64)
    logit_bias: (
        Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]], ...]
        | None
    ) = Field(None, max_length=1024, description="token id → what is added to its logit")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="needs logprobs: true")
    n: int | None = Field(None, ge=1, le=16)
    seed: int | None = Field(None, ge=-INT64, le=INT64)
    stop: str | Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=16)] | None = (
        Field(None, min_length=1)
    )
    stop_token_ids: TokenIds | None = None
    allowed_token_ids: Annotated[TokenIds, Field(min_length=1)] | None = None
    bad_words: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=256)] | None = (
        None
    )
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="needs stream: true")
    response_format: Annotated[TextFormat | SchemaFormat, Field(discriminator="type")] | None = None
    structured_outputs: StructuredOutputs | None = None
    continue_final_message: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, values: Any) -> Any:
        """Leave out what has no effect. Raises for a field that would have one which this endpoint does not give."""
        if not isinstance(values, dict):
            return values
        for name, accepted in WITHOUT_EFFECT.items():
            if name in values and json.dumps(values[name]) not in map(json.dumps, accepted):
                message = "`{param}` is not supported by this endpoint; leave it out"
                raise PydanticCustomError("unsupported", message, {"param": name})
        return {name: value for name, value in values.items() if name not in WITHOUT_EFFECT and name not in IGNORED}


OPTIONS: dict[str, Any] = {
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "logit_bias": {},
    "stop_token_ids": [],
    "allowed_token_ids": None,
    "bad_words": [],
    "ignore_eos": False,
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
}
"""Sampling parameter beyond `Sampling`'s own fields → the value that changes nothing."""


def check_together(body: ChatBody, context: int | None, most: int) -> None:
    """Fields that need or exclude each other, and lengths against the model's context. Raises WireError.

    `most` is the reply's maximum where the request gives none. All in tokens.
    """
    if body.stream_options is not None and not body.stream:
        raise WireError("`stream_options` needs `stream: true`", "stream_options")
    if body.top_logprobs is not None and not body.logprobs:
        raise WireError("`top_logprobs` needs `logprobs: true`", "top_logprobs")
    if body.structured_outputs and body.response_format and body.response_format.type != "text":
        raise WireError("`structured_outputs` and `response_format` exclude each other", "structured_outputs")
    given = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
    wanted = body.max_completion_tokens or body.max_tokens
    check_length(given, wanted, context)
    if (body.min_tokens or 0) > (wanted or most):
        message = f"`min_tokens` is {body.min_tokens}, more than the {wanted or most} that the reply may have"
        raise WireError(message, "min_tokens")


def check_length(name: str, wanted: int | None, context: int | None) -> None:
    """Raise WireError where a reply of `wanted` tokens leaves no room for any prompt in the model's context."""
    if wanted and context and wanted >= context:
        message = f"`{name}` is {wanted}, but the model's context is {context} tokens, with the prompt in it"
        raise WireError(message, name, code="context_length_exceeded")
