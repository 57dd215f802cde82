"""Any OpenAI-compatible endpoint: Request → chat completion → Reply. Pictures travel as base64 data URLs.

Retries what may pass (busy, time-out, server error) with back-off and jitter, and waits as long as Retry-After says.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
from pathlib import Path
from typing import Any

import openai
import PIL.Image

from imageref_ray.config import ConfigError, EngineConfig
from imageref_ray.engines.base import EngineError, Guide, Reply, Request, RequestError
from imageref_ray.records import Image, Usage

RETRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
REFUSED = (400, 413, 422)
"""What a server answers when this one request is at fault."""


class OpenAIEngine:
    """Chat completions of `config.model` at `config.base_url`; `config.args` go into every request."""

    def __init__(self, config: EngineConfig) -> None:
        key = os.environ.get(config.api_key_env)
        if not key and not config.base_url:
            raise ConfigError(f"no API key: set {config.api_key_env}, or engine.base_url for an endpoint without one")
        self._config = config
        self._client = openai.AsyncOpenAI(
            api_key=key or "none", base_url=config.base_url, timeout=config.timeout_s, max_retries=0
        )
        self._room = asyncio.Semaphore(config.concurrency)

    async def generate(self, request: Request) -> Reply:
        """One reply. Raises RequestError when the server refuses this request, EngineError when it serves none."""
        messages = await asyncio.to_thread(_messages, request)
        async with self._room:
            for attempt in range(1, RETRIES + 1):
                try:
                    return _reply(
                        await self._client.chat.completions.create(
                            model=self._config.model, messages=messages, **_options(request, self._config.args)
                        )
                    )
                except openai.APIError as error:
                    wait = _wait(error, attempt)
                    if wait is None or attempt == RETRIES:
                        raise self._failed(error) from error
                await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _failed(self, error: openai.APIError) -> RequestError | EngineError:
        text = " ".join(str(error).split())
        if isinstance(error, openai.APITimeoutError):
            return RequestError(f"no answer within {self._config.timeout_s} s in {RETRIES} attempts")
        if isinstance(error, openai.APIStatusError) and (error.status_code in REFUSED or error.status_code >= 500):
            return RequestError(f"the endpoint answered {error.status_code}: {text}")
        where = self._config.base_url or "api.openai.com"
        return EngineError(f"{where} does not serve {self._config.model}: {text}")


def _wait(error: openai.APIError, attempt: int) -> float | None:
    """Seconds until the next attempt, None where another would not help."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else 0
    if status and status not in (408, 409, 429) and status < 500:
        return None
    after = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    if after.replace(".", "", 1).isdigit():
        return min(float(after), LONGEST_WAIT_S)
    return min(FIRST_WAIT_S * 2.0 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.5)


def _options(request: Request, args: dict[str, Any]) -> dict[str, Any]:
    sampling = request.sampling
    extra: dict[str, Any] = dict(args.get("extra_body", {}))
    options: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "n": request.n,
        **{key: value for key, value in args.items() if key != "extra_body"},
    }
    if sampling.seed is not None:
        options["seed"] = sampling.seed
    if sampling.stop:
        options["stop"] = list(sampling.stop)
    if request.logprobs is not None:
        options |= {"logprobs": True, "top_logprobs": request.logprobs}
    if request.prefix:
        extra |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.guide and request.guide.kind == "json":
        schema = {"name": "reply", "schema": request.guide.value, "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.guide:
        extra["structured_outputs"] = _structured(request.guide)
    return options | ({"extra_body": extra} if extra else {})


def _structured(guide: Guide) -> dict[str, Any]:
    return {guide.kind: list(guide.value) if guide.kind == "choice" else guide.value}


def _messages(request: Request) -> list[Any]:
    chat: list[Any] = [
        {"role": message.role, "content": [_part(part) for part in message.parts] if message.images else _text(message)}
        for message in request.messages
    ]
    return [*chat, {"role": "assistant", "content": request.prefix}] if request.prefix else chat


def _text(message: Any) -> str:
    return "".join(message.parts)


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": data_url(part)}}


def data_url(image: Image) -> str:
    """The file as it is, as a data URL. Raises RequestError where it cannot be read as a picture."""
    try:
        data = Path(image.uri).read_bytes()
        with PIL.Image.open(image.uri) as picture:
            kind = PIL.Image.MIME.get(picture.format or "", "image/jpeg")
    except OSError as error:
        raise RequestError(f"{image.uri} cannot be sent: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _reply(completion: Any) -> Reply:
    used = completion.usage
    details = getattr(used, "prompt_tokens_details", None)
    usage = Usage(
        requests=1,
        prompt_tokens=used.prompt_tokens if used else 0,
        image_tokens=int(getattr(details, "image_tokens", 0) or 0),
        cached_tokens=int(getattr(details, "cached_tokens", 0) or 0),
        generated_tokens=used.completion_tokens if used else 0,
    )
    return Reply(
        texts=tuple(choice.message.content or "" for choice in completion.choices),
        finish_reasons=tuple(choice.finish_reason or "stop" for choice in completion.choices),
        usage=usage,
        logprobs=tuple(
            tuple(token.logprob for token in choice.logprobs.content or ())
            for choice in completion.choices
            if choice.logprobs
        ),
    )
