"""OpenAI's chat wire format: request body → engine `Request`; `Reply` → completion object or event stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Literal

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines.base import BrokenReply, Engine, Message, Reply, Request, Sampling, Token
from imageref_ray.serving.chat_body import OPTIONS, ChatBody, ImagePart, Strict, TextPart, Turn, check_together
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.event_stream import DONE, data_event
from imageref_ray.serving.guides import guide_of
from imageref_ray.serving.request_images import ImageError, receive_image

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def to_request(body: ChatBody, settings: ServeConfig, engine: Engine | None = None) -> Request:
    """The request for an engine (None: one without options). Raises WireError."""
    check_together(body, getattr(engine, "context", None), settings.max_tokens)
    images: list[Image] = []
    turns, prefix = _open_turn(body)
    messages = tuple(_message(turn, i, images, settings) for i, turn in enumerate(turns))
    given = body.max_completion_tokens or body.max_tokens
    known = getattr(engine, "options", frozenset[str]())
    sampling = Sampling(
        temperature=1.0 if body.temperature is None else body.temperature,
        max_tokens=given or settings.max_tokens,
        min_tokens=body.min_tokens or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        options=options(body, known),
    )
    return Request(
        messages,
        sampling,
        guide_of(body),
        prefix,
        n=body.n or 1,
        logprobs=_logprobs(body, known),
        must_fit=given is not None,
    )


def options(body: Strict, known: frozenset[str]) -> dict[str, Any]:
    """The further sampling parameters that change something. Raises WireError for one that the engine has not."""
    given = {name: getattr(body, name, None) for name in OPTIONS}
    changed = {name: value for name, value in given.items() if value is not None and value != OPTIONS[name]}
    for name in changed.keys() - known:
        raise WireError(f"`{name}` is not supported by the engine of this endpoint; leave it out", name)
    return changed


def _logprobs(body: ChatBody, known: frozenset[str]) -> int | None:
    if not body.logprobs:
        return None
    if "logprobs" not in known:
        raise WireError("`logprobs` is not supported by the engine of this endpoint; leave it out", "logprobs")
    return body.top_logprobs or 0


def _open_turn(body: ChatBody) -> tuple[list[Turn], str]:
    """The complete turns, and the text of the turn to continue ("" for none)."""
    if not body.continue_final_message:
        return body.messages, ""
    *turns, last = body.messages
    if not turns or last.role != "assistant" or not isinstance(last.content, str):
        message = "continue_final_message needs several messages, the last one an assistant's with plain text"
        raise WireError(message, "continue_final_message")
    return turns, last.content


def _message(turn: Turn, at: int, images: list[Image], settings: ServeConfig) -> Message:
    if isinstance(turn.content, str):
        return Message(ROLES[turn.role], (turn.content,))
    parts: list[str | Image] = []
    for i, part in enumerate(turn.content):
        where = f"messages[{at}].content[{i}]"
        if isinstance(part, TextPart):
            parts.append(part.text)
        elif len(images) == settings.max_images:
            raise WireError(f"more than {settings.max_images} images in one request", where)
        else:
            images.append(_image(part, f"chat/{len(images)}", where, settings))
            parts.append(images[-1])
    return Message(ROLES[turn.role], tuple(parts))


def _image(part: ImagePart, image_id: str, where: str, settings: ServeConfig) -> Image:
    url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
    try:
        return receive_image(url, image_id, settings)
    except ImageError as error:
        raise WireError(f"{where}: the image {error}", where) from None


def completion(reply: Reply, model: str) -> dict[str, Any]:
    """The whole answer as one `chat.completion` object. Raises BrokenReply where the engine broke it off."""
    tokens = reply.tokens or (None,) * len(reply.texts)
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "logprobs": _logprobs_object(of_text),
            "finish_reason": finish_reason(reason),
        }
        for i, (text, reason, of_text) in enumerate(zip(reply.texts, reply.finish_reasons, tokens, strict=True))
    ]
    return {**_head("chat.completion", model), "choices": choices, "usage": usage_object(reply.usage)}


async def events(replies: AsyncIterator[Reply], model: str, n: int, include_usage: bool) -> AsyncGenerator[str, None]:
    """Server-sent events of `chat.completion.chunk` objects, closed by `[DONE]`. Raises as `completion`."""
    head = _head("chat.completion.chunk", model)

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return data_event({**head, "choices": choices, **more})

    def choice(index: int, delta: dict[str, str], reason: str | None = None, logprobs: Any = None) -> Any:
        return [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]

    for index in range(n):
        yield event(choice(index, {"role": "assistant", "content": ""}))
    reasons, usage = ["stop"] * n, Usage()
    async for reply in replies:
        for index, text in enumerate(reply.texts, start=reply.index):
            tokens = reply.tokens[index - reply.index] if reply.tokens else None
            reasons[index] = finish_reason(reply.finish_reasons[index - reply.index]) or reasons[index]
            if text or tokens:
                yield event(choice(index, {"content": text}, logprobs=_logprobs_object(tokens)))
        usage = reply.usage
    for index, reason in enumerate(reasons):
        yield event(choice(index, {}, reason))
    if include_usage:
        yield event([], usage=usage_object(usage))
    yield DONE


def finish_reason(reason: str) -> str:
    """Why a reply ended, in OpenAI's words. Raises BrokenReply where it is not whole."""
    if reason in ("error", "abort"):
        raise BrokenReply(f"a reply ended with finish_reason {reason}")
    return "stop" if reason == "until" else reason


def _logprobs_object(tokens: Sequence[Token] | None) -> dict[str, Any] | None:
    """OpenAI's `logprobs`: every generated token with its alternatives."""
    if tokens is None:
        return None
    content = [
        {**_token(token.text, token.logprob), "top_logprobs": [_token(*other) for other in token.top]}
        for token in tokens
    ]
    return {"content": content}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode(errors="replace"))}


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
