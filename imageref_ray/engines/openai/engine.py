"""Any OpenAI-compatible endpoint: Request → chat completions → Reply. Images are sent as base64 data URLs.

    request ─▶ gate (rate limit) ─▶ call ─▶ reply ─▶ fits its guide? ─▶ Reply
                 ▲                   └▶ fault ─▶ verdict ─▶ FAIL_REQUEST: RequestError, its record is quarantined
                 └──── wait ◀──── RETRY ◀──────────┘    └▶ FAIL_ENDPOINT: EngineError, the run stops

Usage counts every call that was answered with a completion: also those that could not be used, corrections, and
probes, which tell a dead endpoint from a bad request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from typing import Any, TypeVar

import openai

from imageref_ray.core.config import ConfigError, OpenAIConfig
from imageref_ray.core.records import Usage
from imageref_ray.engines.base import (
    EngineError,
    Guide,
    Message,
    RefusedError,
    Reply,
    Request,
    RequestError,
    Sampling,
    UnsupportedError,
)
from imageref_ray.engines.openai import errors, protocol, structured_output
from imageref_ray.engines.openai.errors import Fault
from imageref_ray.engines.openai.rate_limit import Gate, backoff
from imageref_ray.engines.openai.verdict import Circuit, Limits, Trial, Verdict, decide, waits_too_long
from imageref_ray.engines.reasoning import answer

T = TypeVar("T")

LOG = logging.getLogger(__name__)

HARMLESS = Request((Message("user", ("Say yes.",)),), Sampling(max_tokens=16))
"""The probe: nothing can be wrong with this request, so an endpoint that fails it is at fault."""

NO_PREFILL = "the endpoint cannot continue an answer that has begun"


class OpenAIEngine:
    """Chat completions of `config.model` at `config.base_url`; `config.args` are fields of every request."""

    def __init__(self, config: OpenAIConfig) -> None:
        self._config = config
        key = _plain(config.api_key_env, os.environ.get(config.api_key_env, ""))
        if not key and not config.base_url:
            raise ConfigError(f"no API key: set {config.api_key_env}, or engine.base_url for an endpoint without one")
        self._client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=config.base_url,
            timeout=config.timeout_s,
            max_retries=0,
            default_headers={name: _header(name, value) for name, value in config.headers.items()},
        )
        self._gate = Gate(config.concurrency, config.rate_limit)
        retries = config.retries
        self._circuit = Circuit(Limits(retries.tries, retries.busy_tries, retries.failures, config.patience_s))
        self._probing = asyncio.Lock()
        self._unsupported = protocol.NATIVE if config.guides == "validate" else frozenset()
        self._prefill = config.prefill == "auto"
        self._warned = False

    async def generate(self, request: Request) -> Reply:
        """One reply, which fits the request's guide unless the token limit cut it off.

        Raises RequestError when this request cannot be answered (UnsupportedError: nor any that has a prefix),
        EngineError when the endpoint is at fault.
        """
        if request.scored:
            raise RequestError("chat completions return no log-likelihood of a given text; score with engine.kind vllm")
        if request.guide is None:
            return await self._ask(request, Usage())
        structured_output.check(request.guide)
        reply = await self._ask(request, Usage())
        for i, reason in enumerate(reply.finish_reasons):
            if reason != "length":  # a correction would be cut off as well; the stage reports the limit
                reply = await self._fitted(request, request.guide, reply, i)
        return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _fitted(self, request: Request, guide: Guide, reply: Reply, i: int) -> Reply:
        """The reply with text i made to fit the guide; the model may correct itself once."""
        first = answer(reply.texts[i], guide)
        try:
            return replace(reply, texts=_with(reply.texts, i, structured_output.fit(first, guide)))
        except structured_output.Misfit as misfit:
            second = await self._ask(structured_output.correction(request, first, misfit), reply.usage)
        text, reason = second.text, second.finish_reasons[0]
        try:
            text = text if reason == "length" else structured_output.fit(answer(text, guide), guide)
        except structured_output.Misfit as misfit:
            message = f"the reply does not fit its guide, nor does its correction: {misfit}"
            raise RequestError(message, second.usage) from None
        return Reply(
            texts=_with(reply.texts, i, text),
            finish_reasons=_with(reply.finish_reasons, i, reason),
            usage=second.usage,
            logprobs=_with(reply.logprobs, i, *second.logprobs[:1]),
            openings=_with(reply.openings, i, *second.openings[:1]),
        )

    async def _ask(self, request: Request, spent: Usage) -> Reply:
        """One completion, however many calls it takes; its usage includes what was spent before."""
        trial, unsupported = Trial(spent), self._unsupported
        chat = await asyncio.to_thread(protocol.messages, request, self._config)
        while True:
            try:
                async with self._gate.slot() as began:
                    if request.prefix and not self._prefill:
                        raise UnsupportedError(NO_PREFILL, trial.spent)
                    unsupported |= self._unsupported  # what other requests have learned meanwhile
                    body = protocol.body(request, chat, self._config, unsupported)
                    reply = await self._counted(body, request, began)
            except Fault as fault:
                trial.failed(fault, time.monotonic())
                if fault.kind == "refused" and request.prefix and protocol.refuses_prefill(str(fault)):
                    self._prefill = False
                    raise UnsupportedError(f"{NO_PREFILL}: {fault}", trial.spent) from fault
                if fault.kind == "refused" and (more := protocol.unsupported_fields(str(fault), body, self._config)):
                    unsupported |= more  # for all requests once this one is answered without
                else:
                    await self._act(fault, trial)
            else:
                self._unsupported |= unsupported
                self._warn_of_uncounted(reply.usage)
                return replace(reply, usage=trial.spent + reply.usage)

    def _warn_of_uncounted(self, usage: Usage) -> None:
        """Warn once, in the run's log: missing token counts must not be taken for 0."""
        if not usage.prompt_tokens and not self._warned:
            self._warned = True
            LOG.warning("%s returns no token counts; this run's usage shows 0", self._client.base_url)

    async def _counted(self, body: dict[str, Any], request: Request, began: float) -> Reply:
        """One call, whose outcome adjusts the rate limit. Raises Fault."""
        try:
            reply = await self._call(body, request)
        except Fault as fault:
            if fault.kind in ("busy", "broken"):
                self._gate.failed(began)
            raise
        self._gate.answered()
        self._circuit.answered(time.monotonic())
        return reply

    async def _call(self, body: dict[str, Any], request: Request) -> Reply:
        """One call. Raises Fault."""
        create = self._client.chat.completions.with_raw_response.create
        try:
            # The client's own time-out starts anew with every byte; this one is for the call as a whole.
            async with asyncio.timeout(self._config.timeout_s):
                answer = await create(model=self._config.model, messages=body["messages"], extra_body=body)
        except (TimeoutError, openai.APIError) as error:
            raise errors.of_error(error, self._config.timeout_s) from error
        return protocol.read(answer.text, request)

    async def _act(self, fault: Fault, trial: Trial) -> None:
        """Wait, where another call may help; else raise RequestError or EngineError, whichever is at fault."""
        self._circuit.failed(fault, time.monotonic())
        verdict = await self._verdict(fault, trial)
        if verdict is Verdict.FAIL_ENDPOINT:
            error = self._endpoint_error(fault, trial)
            if trial.probe is not None:
                self._circuit.reset()  # a server keeps running and may ask again, once the endpoint is back
            raise error from (trial.probe or fault)
        if verdict is Verdict.FAIL_REQUEST:
            tries = f" (in {trial.failures} tries)" if trial.failures > 1 else ""
            raise RefusedError(f"{fault}{tries}", trial.spent) from fault
        if fault.wait_s is None:
            await asyncio.sleep(backoff(self._config.rate_limit, trial.failures))
        else:
            self._gate.hold(fault.wait_s)

    async def _verdict(self, fault: Fault, trial: Trial) -> Verdict:
        """What to do, after a probe where one is needed. One at a time: one request's probe serves those that wait."""
        async with self._probing:
            verdict = decide(fault, trial, self._circuit, time.monotonic())
            if verdict is Verdict.PROBE:
                await self._probe(trial)
                verdict = decide(fault, trial, self._circuit, time.monotonic())
        return verdict

    async def _probe(self, trial: Trial) -> None:
        """Ask the endpoint something harmless and record the outcome in `trial` and the circuit."""
        trial.probed = True
        body = protocol.body(HARMLESS, protocol.messages(HARMLESS, self._config), self._config, self._unsupported)
        try:
            trial.spent += (await self._call(body, HARMLESS)).usage
        except Fault as fault:
            trial.probe = fault
        else:
            self._circuit.answered(time.monotonic())

    def _endpoint_error(self, fault: Fault, trial: Trial) -> EngineError:
        """Why the run stops, and what to check."""
        where = f"{self._client.base_url} ({self._config.model})"
        if trial.probe is not None:
            report = self._circuit.report(time.monotonic())
            return EngineError(
                f"{where} answers no requests: {report}; a test request failed as well: {trial.probe}; "
                "check the endpoint"
            )
        if waits_too_long(fault, self._circuit.limits):
            return EngineError(
                f"{where} asks to wait {fault.wait_s:.0f} s, longer than engine.patience_s: {fault}; "
                "wait or raise engine.patience_s"
            )
        return EngineError(
            f"{where} does not accept our requests: {fault}; check engine.base_url, engine.model and the API key"
        )


def _with(values: tuple[T, ...], i: int, *value: T) -> tuple[T, ...]:
    """`values` with `value` at i, unchanged if there is none."""
    return (*values[:i], *value, *values[i + 1 :]) if value else values


def _header(name: str, value: str) -> str:
    """A header's value; `$NAME` is read from the environment, so that no secret is in a config or manifest."""
    if not value.startswith("$"):
        return _plain(f"engine.headers.{name}", value)
    secret = os.environ.get(value[1:])
    if secret is None:
        raise ConfigError(
            f"engine.headers.{name} is {value}, which is not set; set {value[1:]} or leave the header out"
        )
    return _plain(value[1:], secret)


def _plain(name: str, value: str) -> str:
    """A value that a header can hold, without the line break that comes with a key read from a file."""
    if not (value.strip().isascii() and value.strip().isprintable()):
        raise ConfigError(f"{name} contains characters that an HTTP header cannot; set it to the key alone")
    return value.strip()
