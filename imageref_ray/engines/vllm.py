"""vLLM inside the process that makes it (a Ray actor, a Serve replica): Request → chat text + images → Reply.

Any model that vLLM runs: what is asked of it is written by `chat_template.py`. Images carry their sha256, and into how
many tiles they may be cut, as multimodal uuid: vLLM's processor, encoder and prefix caches then hit across requests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any

from vllm import AsyncEngineArgs, AsyncLLMEngine
from vllm.config import ModelConfig
from vllm.exceptions import VLLMClientError
from vllm.model_executor.model_loader import get_model_cls
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.renderers.hf import resolve_chat_template
from vllm.sampling_params import RequestOutputKind
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, VllmConfig
from imageref_ray.core.images import open_rgb
from imageref_ray.core.pixels import keep, kept
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines import chat_template, cpu_affinity, tiles
from imageref_ray.engines.base import BrokenReply, EngineDied, RefusedError, Reply, Request, RequestError, Token
from imageref_ray.engines.chat_template import ChatTemplate
from imageref_ray.engines.reasoning import opened
from imageref_ray.engines.vllm_sampling import OPTIONS, sampling

DEFAULTS: dict[str, Any] = {
    "disable_log_stats": True,
    "limit_mm_per_prompt": {"video": 0},
    "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
}
"""Engine arguments unless the config says otherwise: free white space under a JSON guide may never end, and memory is
set aside for the largest video where one may come."""

AS_IT_STANDS = {"add_special_tokens": False}
"""How a prompt is tokenized: its first token is in the text."""


class VllmEngine:
    """One AsyncLLMEngine for `config.model`; `config.args` are AsyncEngineArgs."""

    options = OPTIONS | {"logprobs"}

    def __init__(self, config: VllmConfig) -> None:
        try:
            args = AsyncEngineArgs(model=resolve_model(config.model), **{**DEFAULTS, **config.args})
        except TypeError as error:
            raise ConfigError(f"engine.args: {error}; see vLLM's AsyncEngineArgs for the known ones") from None
        try:
            model = args.create_model_config()
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"engine.model: vLLM cannot run {config.model} ({reason}); engine.kind: transformers may"
            ) from error
        # Before the weights are loaded: without a template nothing can be asked.
        self._template = template(model, config.template_args)
        self._image_token = chat_template.image_token(model.hf_config)
        self.tiles = tiles.of_checkpoint(config, model.architectures, model.hf_image_processor_config)
        """How the images of a request are cut; None: in the model's own way."""
        if self.tiles:  # for the memory that vLLM sets aside; each request says its own number
            largest = {"max_patches": self.tiles.max_tiles, "crop_to_patches": True}
            args.mm_processor_kwargs = {**(args.mm_processor_kwargs or {}), **largest}
        with cpu_affinity.apart() if current_platform.is_cpu() else nullcontext():
            # vLLM's defaults go by what it is used for. Without a word of that they are those of no card: on an H200
            # 2,048 tokens and 128 requests at once, where it would take 16,384 and 1,024.
            self._engine = AsyncLLMEngine.from_engine_args(args, usage_context=UsageContext.LLM_CLASS)
        self.context: int = model.max_model_len
        """Tokens of a prompt and its reply together."""
        self._numbers = itertools.count()

    async def generate(self, request: Request) -> Reply:
        """One reply. Raises RequestError (too long, undecodable image, bad guide) or EngineDied."""
        prefix = self._template.prefix(request) if request.scored else []
        final: RequestOutput | None = None
        ends, mark = request.until, ""
        kind = RequestOutputKind.CUMULATIVE if ends else RequestOutputKind.FINAL_ONLY
        async with aclosing(self.outputs(request, kind)) as outputs:
            async for output in outputs:
                mark = opened(output.prompt) if final is None else mark  # the prompt is the same in every output
                final = output
                if ends and not final.finished and ends(mark + final.outputs[0].text):
                    break
        assert final is not None
        reply = dataclasses.replace(self._reply(final, self._usage(final), request.logprobs), thinking=mark)
        if request.scored:
            scores = prefix_logprobs(final, prefix)
            return dataclasses.replace(reply, texts=("",), finish_reasons=("stop",), logprobs=(scores,))
        return reply

    async def stream(self, request: Request) -> AsyncGenerator[Reply, None]:
        """The texts in pieces: each reply holds what is new of one and the usage so far, its last piece why it ended.

        Raises what `generate` raises.
        """
        usage: Usage | None = None
        async with aclosing(self.outputs(request, RequestOutputKind.DELTA)) as outputs:
            async for output in outputs:
                thinking = ""
                if usage is None:  # the prompt, which may be long, is counted and looked at once
                    usage, thinking = self._usage(output), opened(output.prompt)
                else:
                    usage = dataclasses.replace(usage, generated_tokens=usage.generated_tokens + _generated(output))
                for one in output.outputs:
                    reply = self._reply(output, usage, request.logprobs, [one])
                    end = (one.finish_reason or "",)
                    yield dataclasses.replace(reply, finish_reasons=end, index=one.index, thinking=thinking)

    @property
    def died(self) -> bool:
        """Whether the engine's own process is gone, also where no request has met it yet."""
        died: bool = self._engine.errored
        return died

    async def outputs(self, request: Request, kind: RequestOutputKind) -> AsyncGenerator[RequestOutput, None]:
        """vLLM's own outputs, the tokens of the prompt among them. Raises what `generate` raises."""
        prompt: dict[str, Any] = {"prompt": self._template.render(request)}
        images = request.images
        if images:
            prompt["multi_modal_data"] = {"image": await self._open(images)}
            most = self.tiles.per_image(len(images)) if self.tiles else None
            prompt["multi_modal_uuids"] = {"image": [_uuid(image, most) for image in images]}
            if most:
                prompt["mm_processor_kwargs"] = {"max_patches": most}
        name = f"{id(self):x}-{next(self._numbers)}"
        tokenization: dict[str, Any] = dict(AS_IT_STANDS)
        if request.must_fit:
            tokenization["max_length"] = max(0, self.context - request.sampling.max_tokens)
        try:
            # Closed at once when its reader stops reading: that is what ends the request inside the engine.
            outputs = self._engine.generate(prompt, sampling(request, kind), name, tokenization_kwargs=tokenization)
            async with aclosing(outputs):
                async for output in outputs:
                    yield output
        except EngineDeadError as error:
            raise EngineDied(f"the vLLM engine died: {error}") from error
        except EngineGenerateError as error:
            raise BrokenReply(f"vLLM could not answer: {error.__cause__ or error}") from error
        except (VLLMClientError, ValueError, TypeError) as error:
            raise RefusedError(f"{' '.join(str(error).split())} ({len(images)} images in it)") from error

    async def _open(self, images: tuple[Image, ...]) -> list[Any]:
        try:
            return list(await asyncio.gather(*map(_decode, images)))
        except (OSError, ValueError, SyntaxError) as error:
            raise RefusedError(f"an image cannot be opened: {error}") from error

    def _usage(self, output: RequestOutput) -> Usage:
        prompt = list(output.prompt_token_ids or ())
        return Usage(
            requests=1,
            prompt_tokens=len(prompt),
            image_tokens=prompt.count(self._image_token),
            cached_tokens=output.num_cached_tokens or 0,
            generated_tokens=_generated(output),
        )

    def _reply(
        self, output: RequestOutput, usage: Usage, top: int | None, outputs: Sequence[Any] | None = None
    ) -> Reply:
        """The reply in an output, or in some of its texts; `top` is how many alternatives its tokens have."""
        outputs = output.outputs if outputs is None else outputs
        return Reply(
            texts=tuple(one.text for one in outputs),
            finish_reasons=tuple(one.finish_reason or "until" for one in outputs),
            usage=usage,
            logprobs=tuple(_chosen(one) for one in outputs if one.logprobs is not None),
            openings=tuple(_opening(one) for one in outputs if one.logprobs is not None),
            tokens=tuple(_tokens(one, top or 0) for one in outputs if one.logprobs is not None),
            images_counted=self._image_token is not None,
        )


async def _decode(image: Image) -> Any:
    if pixels := kept(image.sha256):
        return pixels
    pixels = await asyncio.to_thread(open_rgb, image.uri)
    keep(image.sha256, pixels)
    return pixels


def _generated(output: RequestOutput) -> int:
    return sum(len(one.token_ids) for one in output.outputs)


def _uuid(image: Image, max_tiles: int | None) -> str | None:
    """The name in vLLM's caches of what an image becomes, which depends on its tiles; None: vLLM makes one."""
    return f"{image.sha256}:{max_tiles}" if image.sha256 and max_tiles else image.sha256 or None


def template(model: ModelConfig, variables: Mapping[str, Any] | None = None) -> ChatTemplate:
    """The chat template of a model, with vLLM's own way to write an image. Raises ConfigError where it has none."""
    tokenizer = cached_tokenizer_from_config(model)
    if chat_template.INTERNVL in model.architectures:
        return chat_template.internvl(tokenizer, variables)
    text = resolve_chat_template(tokenizer, None, None, model_config=model)
    return ChatTemplate(tokenizer, _placeholder(model), text, variables=variables)


def _placeholder(model: ModelConfig) -> chat_template.Placeholder | None:
    """How vLLM's implementation of the model wants the k-th image written; None where it reads no images."""
    if not model.is_multimodal_model:
        return None
    written = partial(get_model_cls(model).get_placeholder_str, "image")
    try:
        written(1)
    except ValueError:
        return None
    return written


def prefix_logprobs(output: RequestOutput, prefix: Sequence[int]) -> tuple[float, ...]:
    """The log-probabilities of the prompt's last tokens, which must be those of `prefix` (else RequestError).

    Images come before the prefix: however many tokens the engine makes of them, the prompt's end is the same.
    """
    assert output.prompt_token_ids and output.prompt_logprobs
    ends, steps = output.prompt_token_ids[-len(prefix) :], output.prompt_logprobs[-len(prefix) :]
    if list(ends) != list(prefix):
        raise RequestError(f"nothing to score: the prompt ends with the tokens {ends}, not with the prefix's {prefix}")
    return tuple(step[token].logprob for token, step in zip(ends, steps, strict=True))


def _chosen(output: Any) -> tuple[float, ...]:
    """The log-probability of every token that was generated."""
    return tuple(step[token].logprob for token, step in zip(output.token_ids, output.logprobs, strict=True))


def _tokens(output: Any, top: int) -> tuple[Token, ...]:
    """Every generated token, with the `top` likeliest at its place."""
    return tuple(
        Token(step[token].decoded_token or "", step[token].logprob, _likeliest(step.values(), top))
        for token, step in zip(output.token_ids, output.logprobs, strict=True)
    )


def _likeliest(step: Iterable[Any], top: int) -> tuple[tuple[str, float], ...]:
    ranked = sorted((one for one in step if one.rank <= top), key=lambda one: one.rank)
    return tuple((one.decoded_token or "", one.logprob) for one in ranked[:top])


def _opening(output: Any) -> dict[str, float]:
    """The likeliest first tokens with their log-probabilities, the one that was generated among them."""
    first = output.logprobs[0] if output.logprobs else {}
    return {one.decoded_token or "": one.logprob for one in first.values()}
