"""OpenAI's chat wire format as a client speaks it: Request → JSON body; the reply's text → Reply or Fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from imageref_ray.core.config import OpenAIConfig
from imageref_ray.core.records import Usage
from imageref_ray.core.text import repaired
from imageref_ray.engines.base import Guide, Message, Reply, Request
from imageref_ray.engines.openai.errors import Fault, error_text, of_status
from imageref_ray.engines.openai.images import data_url

NATIVE = frozenset({"response_format", "structured_outputs"})
"""Fields by which an endpoint follows a guide itself."""

REPLACEABLE = {
    "response_format": ("response_format", "json_schema"),
    "structured_outputs": ("structured_outputs",),
    "max_tokens": ("max_completion_tokens",),
    "min_tokens": ("min_tokens",),
}
"""Field that requests can do without → words of a refusal that show that the endpoint does not support it."""


PREFILL = {"continue_final_message": True, "add_generation_prompt": False}
"""Fields that ask for the continuation of the last, open turn (vLLM, SGLang and others know them)."""


def messages(request: Request, config: OpenAIConfig) -> list[dict[str, Any]]:
    """The turns, images as data URLs, the open turn last. Raises RefusedError for an image that cannot be read."""
    chat = [{"role": message.role, "content": _content(message, config)} for message in request.messages]
    return [*chat, {"role": "assistant", "content": request.prefix}] if request.prefix else chat


def _content(message: Message, config: OpenAIConfig) -> str | list[dict[str, Any]]:
    if not message.images:
        return "".join(part for part in message.parts if isinstance(part, str))
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": data_url(part, config.picture, config.picture_limits)}}
        for part in message.parts
    ]


def body(
    request: Request, chat: list[dict[str, Any]], config: OpenAIConfig, unsupported: frozenset[str]
) -> dict[str, Any]:
    """The whole JSON body, without `unsupported` fields. `config.args` are fields of it (null leaves one out)."""
    sampling = request.sampling
    fields: dict[str, Any] = {
        "model": config.model,
        "messages": chat,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens" if "max_tokens" in unsupported else "max_tokens": sampling.max_tokens,
        "n": request.n,
        **_config_fields(config),
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.min_tokens:
        fields["min_tokens"] = sampling.min_tokens
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if request.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.prefix:
        fields |= PREFILL
    if request.guide:
        fields |= {name: value for name, value in _guide(request.guide).items() if name not in unsupported}
    return {name: value for name, value in fields.items() if value is not None}


def _config_fields(config: OpenAIConfig) -> dict[str, Any]:
    """The fields that the config adds to every body."""
    args = {name: value for name, value in config.args.items() if name != "extra_body"}
    return {**args, **config.args.get("extra_body", {})}


def _guide(guide: Guide) -> dict[str, Any]:
    if guide.kind == "json":
        schema = {"name": "reply", "schema": guide.value, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {guide.kind: list(guide.value) if guide.kind == "choice" else guide.value}}


def unsupported_fields(refusal: str, sent: Mapping[str, Any], config: OpenAIConfig) -> frozenset[str]:
    """The fields that a refusal names and that we can do without; not those that the user's config sets."""
    ours = sent.keys() - _config_fields(config).keys()
    return frozenset(
        name for name, signs in REPLACEABLE.items() if name in ours and any(sign in refusal for sign in signs)
    )


def refuses_prefill(refusal: str) -> bool:
    """Whether a refusal names a field that asks to continue the open turn."""
    return any(name in refusal for name in PREFILL)


class _Refusable(BaseModel):
    """A message; the names of what the model thought before it are those of vLLM, SGLang, DeepSeek and gateways."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None

    @property
    def thoughts(self) -> str:
        """The reasoning that the endpoint has taken out of the text."""
        parts = self.content if isinstance(self.content, list) else []
        found = (self.reasoning_content, self.reasoning, *(part.get("thinking") for part in parts))
        return next((one if isinstance(one, str) else str(one) for one in found if one), "")


class _Alternative(BaseModel):
    token: str = ""
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Tokens(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    message: _Refusable
    finish_reason: str | None = None
    logprobs: _Tokens | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Details(BaseModel):
    cached_tokens: int | None = None
    image_tokens: int | None = None


class _Costs(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


def read(text: str, request: Request) -> Reply:
    """The reply in a body with status 200. Raises Fault, with what it cost, for anything but a whole completion."""
    try:
        content = repaired(json.loads(text))
    except (ValueError, RecursionError):
        raise Fault("unusable", "not JSON", f"the reply is not JSON: {error_text(text)}") from None
    if isinstance(content, dict) and content.get("error"):
        raise _wrapped(content["error"], text)
    usage, images_counted = _usage(content)
    try:
        choices = _Completion.model_validate(content).choices
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "reply"
        message = f"the reply is not a chat completion ({where}: {first['msg']}): {error_text(text)}"
        raise Fault("unusable", "not a completion", message, usage=usage) from None
    if len(choices) < request.n:
        message = f"{request.n} answers requested, {len(choices)} returned; the endpoint ignores `n`"
        raise Fault("refused", "too few answers", message, usage=usage)
    return Reply(
        texts=tuple(_text(choice, request, usage) for choice in choices),
        finish_reasons=tuple(choice.finish_reason or "stop" for choice in choices),
        usage=usage,
        logprobs=tuple(
            tuple(token.logprob for token in choice.logprobs.content or ()) for choice in choices if choice.logprobs
        ),
        openings=tuple(_opening(choice.logprobs) for choice in choices if choice.logprobs),
        images_counted=images_counted,
    )


def _opening(tokens: _Tokens) -> dict[str, float]:
    """The likeliest first tokens with their log-probabilities, the generated one among them."""
    first = (tokens.content or [])[:1]
    return {one.token: one.logprob for token in first for one in (*token.top_logprobs, token)}


def _wrapped(error: Any, text: str) -> Fault:
    """The fault for an error in a reply with status 200, as gateways send it."""
    code = str(error.get("code", "")) if isinstance(error, dict) else ""
    if code.isdecimal() and 400 <= int(code) < 600:
        return of_status(int(code), text, {})
    return Fault("unusable", "error with status 200", f"the endpoint answered 200 with an error: {error_text(text)}")


def _text(choice: _Choice, request: Request, usage: Usage) -> str:
    message, reason = choice.message, choice.finish_reason
    if message.refusal or reason == "content_filter":
        reason = message.refusal or "blocked by its content filter"
        raise Fault("refused", "declined", f"the model refuses to answer: {reason}", usage=usage)
    if isinstance(message.content, list):
        text = "".join(str(part.get("text", "")) for part in message.content if part.get("type") == "text")
    else:
        text = message.content or ""
    if not text.strip() and message.thoughts:
        return f"<think>{message.thoughts}"  # as if the endpoint had left it in: whoever asked must hear of it
    # An empty text may be what a guide asked for, or what the token limit left.
    if message.content is None and reason != "length" and (request.guide is None or request.guide.kind == "json"):
        raise Fault("unusable", "no text", f"the reply has no text (finish_reason {reason})", usage=usage)
    return text


def _usage(content: Any) -> tuple[Usage, bool]:
    """One call and its tokens, 0 where the endpoint does not count them; and whether it counts those of images."""
    if not isinstance(content, dict) or "choices" not in content:
        return Usage(), False
    try:
        costs = _Costs.model_validate(content.get("usage") or {})
    except ValidationError:
        costs = _Costs()
    details = costs.prompt_tokens_details or _Details()
    prompt, total = costs.prompt_tokens or 0, costs.total_tokens or 0
    usage = Usage(
        requests=1,
        prompt_tokens=prompt,
        image_tokens=details.image_tokens or 0,
        cached_tokens=details.cached_tokens or 0,
        # Some endpoints leave the tokens of reasoning out of all but the total.
        generated_tokens=max(costs.completion_tokens or 0, total - prompt if prompt else 0),
    )
    return usage, details.image_tokens is not None
