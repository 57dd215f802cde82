"""OpenAI's chat wire format: request body → engine `Request`; `Reply` → completion object or event stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines.base import Guide, Message, Reply, Request, Sampling
from imageref_ray.serving.request_images import ImageError, receive_image

UNSUPPORTED = ("tools", "functions", "audio", "logprobs", "top_logprobs", "logit_bias", "modalities")
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class WireError(ValueError):
    """A request body that cannot be answered; `param` is the field at fault, as in OpenAI's error objects."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.status, self.code = param, status, code


class Turn(BaseModel):
    """One message; content is a text or a list of `text` and `image_url` parts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`, with two of vLLM's extensions.

    `structured_outputs` is one of regex, json, choice; with `continue_final_message` the reply continues the last
    message, which must be an assistant's.
    """

    model_config = ConfigDict(extra="allow")

    messages: list[Turn] = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=16)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    continue_final_message: bool | None = None


def to_request(body: ChatBody, folder: Path, settings: ServeConfig) -> Request:
    """The engine's request; data URLs are written to `folder`. Raises WireError."""
    for key in UNSUPPORTED:
        if (body.model_extra or {}).get(key):
            raise WireError(f"`{key}` is not supported by this endpoint", key)
    if body.stream and (body.n or 1) > 1:
        raise WireError("`n` above 1 cannot be streamed", "n")
    images: list[Image] = []
    turns, prefix = _open_turn(body)
    messages = tuple(_message(turn, i, images, folder, settings) for i, turn in enumerate(turns))
    sampling = Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        max_tokens=body.max_completion_tokens or body.max_tokens or settings.max_tokens,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
    )
    return Request(messages, sampling, _guide(body), prefix, n=body.n or 1)


def _open_turn(body: ChatBody) -> tuple[list[Turn], str]:
    """The complete turns, and the text of the turn to continue ("" for none)."""
    if not body.continue_final_message:
        return body.messages, ""
    *turns, last = body.messages
    if not turns or last.role != "assistant" or not isinstance(last.content, str):
        message = "continue_final_message needs several messages, the last one an assistant's with plain text"
        raise WireError(message, "continue_final_message")
    return turns, last.content


def _message(turn: Turn, at: int, images: list[Image], folder: Path, settings: ServeConfig) -> Message:
    if isinstance(turn.content, str):
        return Message(ROLES[turn.role], (turn.content,))  # type: ignore[arg-type]
    parts: list[str | Image] = []
    for i, part in enumerate(turn.content):
        where = f"messages[{at}].content[{i}]"
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif part.get("type") == "image_url":
            if len(images) == settings.max_images:
                raise WireError(f"more than {settings.max_images} images in one request", where)
            images.append(_image(part, f"chat/{len(images)}", where, folder, settings))
            parts.append(images[-1])
        else:
            raise WireError(f"{where}: expected a `text` or an `image_url` part", where)
    return Message(ROLES[turn.role], tuple(parts))  # type: ignore[arg-type]


def _image(part: dict[str, Any], image_id: str, where: str, folder: Path, settings: ServeConfig) -> Image:
    image_url = part.get("image_url")
    url = image_url.get("url") if isinstance(image_url, dict) else image_url
    if not isinstance(url, str):
        raise WireError(f"{where}: image_url.url is missing", where)
    try:
        return receive_image(url, image_id, folder / image_id.replace("/", "-"), settings)
    except ImageError as error:
        raise WireError(f"{where}: the image {error}", where) from None


def _guide(body: ChatBody) -> Guide | None:
    response_format = body.response_format or {"type": "text"}
    if body.structured_outputs:
        if len(body.structured_outputs) != 1 or not body.structured_outputs.keys() <= {"regex", "json", "choice"}:
            raise WireError("structured_outputs takes exactly one of regex, json, choice", "structured_outputs")
        ((kind, value),) = body.structured_outputs.items()
        return Guide(kind, tuple(value) if kind == "choice" else value)  # type: ignore[arg-type]
    if response_format.get("type") == "text":
        return None
    if response_format.get("type") == "json_object":
        return Guide("json", {"type": "object"})
    schema = (response_format.get("json_schema") or {}).get("schema")
    if response_format.get("type") != "json_schema" or not isinstance(schema, dict):
        message = "response_format.type must be one of text, json_object, json_schema (with json_schema.schema)"
        raise WireError(message, "response_format")
    return Guide("json", schema)


def completion(reply: Reply, model: str) -> dict[str, Any]:
    """The whole answer as one `chat.completion` object."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": reason}
        for i, (text, reason) in enumerate(zip(reply.texts, reply.finish_reasons, strict=True))
    ]
    return {**_head("chat.completion", model), "choices": choices, "usage": usage_object(reply.usage)}


async def events(replies: AsyncIterator[Reply], model: str, include_usage: bool) -> AsyncIterator[str]:
    """Server-sent events of `chat.completion.chunk` objects, closed by `[DONE]`."""
    head = _head("chat.completion.chunk", model)

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps({**head, 'choices': choices, **more}, ensure_ascii=False)}\n\n"

    def choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

    yield event(choice({"role": "assistant", "content": ""}))
    reason, usage = "stop", Usage()
    async for reply in replies:
        reason, usage = reply.finish_reasons[0] or reason, reply.usage
        if reply.text:
            yield event(choice({"content": reply.text}))
    yield event(choice({}, reason))
    if include_usage:
        yield event([], usage=usage_object(usage))
    yield "data: [DONE]\n\n"


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object, with image tokens beside the cached ones."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.generated_tokens,
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "image_tokens": usage.image_tokens},
    }


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
