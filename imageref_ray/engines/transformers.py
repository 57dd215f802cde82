"""Hugging Face transformers inside the process that makes it: batched `generate`, for models and machines without vLLM.

    requests ─▶ queue ─▶ batch (requests of the same kind) ─▶ one thread: images, tokens, generate ─▶ replies

Slower than vLLM, with the same prompts (`chat_template.py`), guides (xgrammar) and meaning of every number of a reply.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
)

from imageref_ray.core.checkpoint import resolve_model
from imageref_ray.core.config import ConfigError, TransformersConfig
from imageref_ray.core.images import DECODE_ERRORS, open_rgb
from imageref_ray.core.records import Usage
from imageref_ray.engines import chat_template, tiles
from imageref_ray.engines.base import EngineDied, RefusedError, Reply, Request, RequestError
from imageref_ray.engines.chat_template import ChatTemplate
from imageref_ray.engines.generation_steps import Guides, Outcome, Steps
from imageref_ray.engines.reasoning import begun, opened


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request in the queue, and where its caller waits."""

    request: Request
    reply: asyncio.Future[Reply]


class TransformersEngine:
    """One model on one device."""

    def __init__(self, config: TransformersConfig) -> None:
        name = resolve_model(config.model)
        with _loading(config.model):
            shape = AutoConfig.from_pretrained(name, **_source(config.args))
            sees = hasattr(shape, "vision_config")
            reader = (AutoProcessor if sees else AutoTokenizer).from_pretrained(name, **_source(config.args))
        self._processor = reader if sees else None
        self._tokenizer = tokenizer = reader.tokenizer if sees else reader
        architectures = shape.architectures or []
        self._template = _template(tokenizer, self._processor, architectures, config.template_args)
        image_processor = getattr(reader, "image_processor", None)
        self.tiles = tiles.of_checkpoint(config, architectures, image_processor.to_dict() if image_processor else {})
        """How the images of a request are cut; None: in the model's own way."""
        with _loading(config.model):
            kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
            self._model = kind.from_pretrained(name, dtype=config.dtype, **config.args).eval()
        if "device_map" not in config.args:
            self._model.to(_device() if config.device == "auto" else config.device)
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self._ends = _ends(self._model.generation_config, tokenizer)
        # Nothing of the checkpoint's own sampling (top_k, penalties): how tokens are drawn is the request's.
        self._model.generation_config = GenerationConfig(eos_token_id=self._ends, pad_token_id=tokenizer.pad_token_id)
        self._arguments = inspect.signature(self._model.forward).parameters
        self._image_token = chat_template.image_token(shape)
        text = shape.get_text_config()
        self._limit: int | None = getattr(text, "max_position_embeddings", None)
        self._guides = Guides(tokenizer, text.vocab_size, self._ends)
        self._most = config.batch
        self._waiting: list[_Waiting] = []
        self._batches: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "generate")

    async def generate(self, request: Request) -> Reply:
        """One reply. Raises RequestError (too long, undecodable image, bad guide) or EngineDied (the device failed)."""
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._batches is None or self._batches.done():
            self._batches = asyncio.create_task(self._run_batches())
        return await waiting.reply

    async def _run_batches(self) -> None:
        """Batch after batch, as long as requests wait; the oldest says of which kind the next batch is."""
        await asyncio.sleep(0)  # whoever asks at the same time is in the first batch
        while batch := self._next_batch():
            requests = [one.request for one in batch]
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._replies, requests)
            await asyncio.wait([work])
            failed = work.exception()
            for one, result in zip(batch, [failed] * len(batch) if failed else work.result(), strict=True):
                if one.reply.done():
                    continue  # its caller has gone
                if isinstance(result, Reply):
                    one.reply.set_result(result)
                else:
                    one.reply.set_exception(result)

    def _next_batch(self) -> list[_Waiting]:
        """The oldest requests of one kind, taken from those that wait; empty when none does."""
        waiting = [one for one in self._waiting if not one.reply.done()]
        batch = [one for one in waiting if self._kind(one.request) == self._kind(waiting[0].request)][: self._most]
        self._waiting = [one for one in waiting if one not in batch]
        return batch

    def _replies(self, requests: Sequence[Request]) -> list[Reply | RequestError]:
        """Replies in the requests' order.

        Where any request is at fault all are answered one by one, so that each one's reply or error is its own.
        """
        try:
            with torch.inference_mode():
                return list(self._together(requests))
        except (RequestError, ValueError, TypeError, torch.OutOfMemoryError) as error:
            if len(requests) == 1:
                return [error if isinstance(error, RequestError) else RefusedError(_line(error))]
        except torch.AcceleratorError as error:
            raise EngineDied(f"the device failed: {_line(error)}") from error
        return list(itertools.chain.from_iterable(self._replies([request]) for request in requests))

    def _together(self, requests: Sequence[Request]) -> list[Reply]:
        """One `generate` (or, to score, one forward pass) for requests of one kind."""
        inputs, first = self.inputs(requests), requests[0]
        if first.scored:
            return [self._scored(first, inputs)]
        room = _room(self._limit, inputs["attention_mask"].sum(1).tolist(), first.sampling.max_tokens)
        thinking = [opened(self._template.render(request)) for request in requests]
        rows = [begun(*one) for one in zip(requests, thinking, strict=True) for _ in range(one[0].n)]
        steps = Steps(rows, inputs["input_ids"], self._tokenizer, self._guides)
        if first.sampling.seed is None:
            torch.seed()
        else:
            torch.manual_seed(first.sampling.seed)
        sequences = self._model.generate(
            **inputs,
            generation_config=self._sampling(first, room),
            logits_processor=[steps.process],
            stopping_criteria=[steps.ended],
        )
        outcomes = steps.outcomes(sequences, self._ends)
        prompts = self._usages(inputs)
        wanted, counted = first.logprobs is not None, self._image_token is not None
        return [
            reply(prompts[at], outcomes[at * first.n : (at + 1) * first.n], wanted, mark, counted)
            for at, mark in enumerate(thinking)
        ]

    def inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """What the model reads: token ids (padded on the left), attention mask and the images' tensors."""
        texts = [self._template.render(request) for request in requests]
        given: dict[str, Any] = {"return_tensors": "pt", "padding": True, "add_special_tokens": False}
        if self._processor is None:
            inputs = self._tokenizer(texts, **given)
        else:
            images = [_opened(request) for request in requests] if requests[0].images else None
            most = self._tiles_each(requests[0])
            if most:
                given["max_patches"] = most
            inputs = self._processor(text=texts, images=images, **given)
        model = self._model
        return {
            name: value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)
            for name, value in inputs.items()
            if name != "token_type_ids" or name in self._arguments
        }

    def _tiles_each(self, request: Request) -> int | None:
        """Maximum tiles of each of the request's images; None where there are none, or no tiles."""
        return self.tiles.per_image(len(request.images)) if self.tiles and request.images else None

    def _kind(self, request: Request) -> Hashable:
        """Requests of one kind go together; what is scored, or drawn from a seed, goes alone."""
        wanted = request.sampling
        alone = request.scored or (wanted.seed is not None and wanted.temperature > 0)
        images = bool(request.images), self._tiles_each(request)
        return id(request) if alone else (wanted, request.n, request.logprobs, request.guide is None, images)

    def _scored(self, request: Request, inputs: dict[str, Any]) -> Reply:
        """The log-probabilities of the prefix's tokens, each given everything before it."""
        prefix, ids = self._template.prefix(request), inputs["input_ids"][0]
        ends = ids[-len(prefix) :].tolist()
        if ends != prefix:
            raise RequestError(f"nothing to score: the prompt ends with the tokens {ends}, not the prefix's {prefix}")
        _room(self._limit, [len(ids)], 1)
        kept = {"logits_to_keep": len(prefix) + 1} if "logits_to_keep" in self._arguments else {}
        logits = self._model(**inputs, **kept).logits[0, -len(prefix) - 1 : -1].float()
        chosen = logits.log_softmax(-1).gather(1, ids[-len(prefix) :, None])[:, 0].tolist()
        return Reply(("",), usage=self._usages(inputs)[0], logprobs=(tuple(chosen),))

    def _sampling(self, request: Request, room: int) -> GenerationConfig:
        """How tokens are drawn, every setting said: what is left out would be transformers' default (top_k: 50)."""
        wanted = request.sampling
        drawn = {"temperature": wanted.temperature, "top_p": wanted.top_p, "top_k": 0} if wanted.temperature else {}
        return GenerationConfig(
            do_sample=bool(wanted.temperature),
            max_new_tokens=room,
            min_new_tokens=0 if request.guide else min(wanted.min_tokens, room),  # a guide says how short it may be
            num_return_sequences=request.n,
            eos_token_id=self._ends,
            pad_token_id=self._tokenizer.pad_token_id,
            **drawn,
        )

    def _usages(self, inputs: dict[str, Any]) -> list[Usage]:
        """What each prompt of a batch costs."""
        lengths = inputs["attention_mask"].sum(1).tolist()
        images = [row.count(self._image_token) for row in inputs["input_ids"].tolist()]
        return [Usage(1, length, image_tokens=image) for length, image in zip(lengths, images, strict=True)]


def reply(prompt: Usage, outcomes: Sequence[Outcome], logprobs: bool, thinking: str, images_counted: bool) -> Reply:
    """The outcomes of one request's rows as its reply."""
    return Reply(
        tuple(one.text for one in outcomes),
        tuple(one.reason for one in outcomes),
        dataclasses.replace(prompt, generated_tokens=sum(one.tokens for one in outcomes)),
        logprobs=tuple(one.logprobs for one in outcomes) if logprobs else (),
        openings=tuple(one.opening for one in outcomes) if logprobs else (),
        images_counted=images_counted,
        thinking=thinking,
    )


def _room(limit: int | None, lengths: Sequence[int], wanted: int) -> int:
    """How many tokens a batch may generate.

    Raises RequestError where a prompt is too long, or where a long prompt would cut the replies of the others.
    """
    longest = max(lengths)
    if limit is None or longest + wanted <= limit:
        return wanted
    if longest >= limit or len(lengths) > 1:
        raise RequestError(f"the prompt has {longest} tokens, and the model takes {limit} with the reply")
    return limit - longest


def _opened(request: Request) -> list[Any]:
    try:
        return [open_rgb(image.uri) for image in request.images]
    except DECODE_ERRORS as error:
        raise RefusedError(f"an image cannot be opened: {error}") from error


def _template(
    tokenizer: Any, processor: Any, architectures: Sequence[str], variables: Mapping[str, Any]
) -> ChatTemplate:
    if chat_template.INTERNVL in architectures:
        return chat_template.internvl(tokenizer, variables)
    if processor is None:
        return ChatTemplate(tokenizer, variables=variables)
    written = getattr(processor, "boi_token", None) or getattr(processor, "image_token", None)
    text = getattr(processor, "chat_template", None)
    return ChatTemplate(tokenizer, lambda _: written, text, variables=variables)


def _ends(generation: GenerationConfig, tokenizer: Any) -> list[int]:
    """The tokens that end a turn: the checkpoint's and the tokenizer's."""
    named = generation.eos_token_id
    ends = named if isinstance(named, list) else [named]
    return sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """What transformers raises for a checkpoint that it cannot load, as ConfigError."""
    try:
        yield
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"engine.model: transformers cannot load {model}: {_line(error)}") from error


def _source(args: Mapping[str, Any]) -> dict[str, Any]:
    """Of a model's arguments those that say which files are read: its processor's too."""
    return {name: args[name] for name in ("revision", "subfolder", "trust_remote_code") if name in args}


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
