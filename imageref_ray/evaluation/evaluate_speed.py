"""How fast an endpoint answers, end to end and in stages: `imageref evaluate speed`.

    source ─▶ samples, images ready ─┬▶ end_to_end: one request a sample           ─▶ wall time, requests/s,
                                     └▶ staged: respond + captions, then placement ─▶ p50, p95, tokens, failures

The protocol of the ImageRef-VL paper: an OpenAI-compatible server, temperature 0, at most 2,048 tokens, 100 requests in
flight. A measurement is not resumed: it runs in one process, without Ray, and starts anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from imageref_ray import engines, sources
from imageref_ray.batch import manifest
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.core.config import ConfigError, OpenAIConfig, SpeedConfig
from imageref_ray.core.records import Failure, Record, Sample, Usage, to_row
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.engines.base import Engine, Generate, Message, Reply, Request, RequestError, Sampling, name_of
from imageref_ray.engines.openai.engine import OpenAIEngine
from imageref_ray.engines.reasoning import answers
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.tables import number
from imageref_ray.sources.prepare_images import prepare_images
from imageref_ray.stages.caption import caption
from imageref_ray.stages.free_decode import decode
from imageref_ray.stages.place import place
from imageref_ray.stages.prompts import Pack, load_pack
from imageref_ray.stages.respond import respond

WARM_UP = Request((Message("user", ("Say yes.",)),), Sampling(max_tokens=16))
"""Asked before the first measurement: connections are open, and a dead endpoint is noticed."""

Answer = Callable[[Sample, Generate], Awaitable[None]]
"""A way of answering a sample; the answer itself is not kept."""


def evaluate_speed(config: SpeedConfig, console: Console | None = None) -> dict[str, Any]:
    """Numbers by mode, their `ratio` (seconds a sample, staged over end_to_end), and how many samples were `left_out`.

    Writes them to speed.json. Raises ConfigError where no sample can be used, EngineError for a dead endpoint, and
    RunFailed where a mode answered no sample.
    """
    engines.check(config.engine)
    samples, left_out = _samples(config)
    modes = asyncio.run(_measure_modes(config, samples))
    seconds = [modes[mode]["seconds_per_sample"] for mode in ("staged", "end_to_end") if mode in modes]
    ratio = seconds[0] / seconds[1] if len(seconds) == 2 and all(seconds) else None
    result = {"in_flight": config.in_flight, "left_out": left_out, **modes, "ratio": ratio}
    manifest.write_json(config.output / "speed.json", result)
    _show(console or Console(), config.output, result)
    for mode in modes:
        if not modes[mode]["answered"]:
            raise RunFailed(
                f"{config.output}: {mode} answered none of {len(samples):,} samples; see its failures above"
            )
    return result


class Meter:
    """An engine that answers at most `most` requests at once, and what they took."""

    def __init__(self, engine: Engine, most: int) -> None:
        self._answer, self._places = answers(engine.generate), asyncio.Semaphore(most)
        self._in_flight = 0
        self.busiest = 0
        self.seconds: list[float] = []
        self.usage = Usage()

    async def generate(self, request: Request) -> Reply:
        """One reply; its time counts from when it could be sent, with retries and the reading of its images."""
        async with self._places:
            began = time.monotonic()
            self._in_flight += 1
            self.busiest = max(self.busiest, self._in_flight)
            try:
                reply = await self._answer(request)
            except RequestError as error:
                self.usage += error.usage
                raise
            finally:
                self._in_flight -= 1
            self.seconds.append(time.monotonic() - began)
            self.usage += reply.usage
            return reply


async def end_to_end(sample: Sample, generate: Generate, pack: Pack, sampling: Sampling, system: str) -> None:
    """One request for the answer with its images."""
    await decode(sample, generate, system, sampling, pack)


async def staged(sample: Sample, generate: Generate, pack: Pack, sampling: Sampling) -> None:
    """The response and all captions at once, then the placement. Raises ValueError as the stages do."""
    record = Record(sample)
    found = await asyncio.gather(
        respond(record, generate, pack, sampling), caption(record, generate, pack, sampling), return_exceptions=True
    )
    for one in found:
        if isinstance(one, BaseException):
            raise one
    responded, captioned = (one for one in found if isinstance(one, Record))
    await place(dataclasses.replace(responded, captions=captioned.captions), generate, pack, sampling)


def _samples(config: SpeedConfig) -> tuple[list[Sample], int]:
    """The source's samples that have usable images, ready to be sent, and how many have not or cannot be read.

    Writes why, a row for each image, document and sample that is left out (left_out.jsonl).
    """
    samples: list[Sample] = []
    failures: list[Failure] = []
    for item in sources.read(config.source):
        if isinstance(item, Failure):
            failures.append(item)
            continue
        sample, problems = prepare_images(item.sample, config.source, config.output / "images")
        samples += [sample] if sample.images else []
        failures += problems
        failures += [] if sample.images else [Failure(sample.id, "verify", "NoImages", "no usable image is left")]
    config.output.mkdir(parents=True, exist_ok=True)
    write_jsonl(config.output / "left_out.jsonl", map(to_row, failures))
    left_out = sum(not failure.item for failure in failures)
    if not samples:
        raise ConfigError(f"{config.source.root}: none of {left_out:,} samples can be used; check source")
    return samples, left_out


async def _measure_modes(config: SpeedConfig, samples: Sequence[Sample]) -> dict[str, Any]:
    pack, sampling = load_pack(config.prompts), Sampling(max_tokens=config.max_tokens)
    ways: dict[str, Answer] = {
        "end_to_end": partial(end_to_end, pack=pack, sampling=sampling, system=config.system),
        "staged": partial(staged, pack=pack, sampling=sampling),
    }
    engine = OpenAIEngine(_unthrottled(config.engine, config.in_flight))
    try:
        await engine.generate(WARM_UP)
        return {mode: await _measure(ways[mode], samples, Meter(engine, config.in_flight)) for mode in config.mode}
    finally:
        await engine.close()


def _unthrottled(engine: OpenAIConfig, in_flight: int) -> OpenAIConfig:
    """The engine's settings with that many requests at once from the start."""
    rate_limit = engine.rate_limit.model_copy(update={"start": in_flight})
    return engine.model_copy(update={"concurrency": in_flight, "rate_limit": rate_limit})


async def _measure(answer: Answer, samples: Sequence[Sample], meter: Meter) -> dict[str, Any]:
    """Answer all samples at once; a sample that fails is counted by its error, with one of its messages."""
    failures: Counter[str] = Counter()
    messages: dict[str, str] = {}

    async def one(sample: Sample) -> None:
        try:
            await answer(sample, meter.generate)
        except ValueError as error:  # RequestError, ParseError: this sample's own; an EngineError ends the measurement
            kind = name_of(error)
            failures[kind] += 1
            messages.setdefault(kind, f"{sample.id}: {error}")

    began = time.monotonic()
    await asyncio.gather(*map(one, samples))
    return _numbers(meter, time.monotonic() - began, len(samples), failures, messages)


def _numbers(
    meter: Meter, wall_s: float, samples: int, failures: Counter[str], messages: dict[str, str]
) -> dict[str, Any]:
    """A mode's result; what was not measured is None (no answer, no token counts from the endpoint)."""
    answered = samples - failures.total()
    p50, p95 = map(float, np.percentile(meter.seconds, [50, 95])) if meter.seconds else (None, None)
    counted = meter.usage.prompt_tokens > 0
    return {
        "samples": samples,
        "answered": answered,
        "failures": dict(sorted(failures.items())),
        "messages": messages,
        "wall_s": wall_s,
        "seconds_per_sample": wall_s / answered if answered else None,
        "samples_per_second": answered / wall_s,
        "requests": len(meter.seconds),
        "requests_per_second": len(meter.seconds) / wall_s,
        "busiest": meter.busiest,
        "p50_s": p50,
        "p95_s": p95,
        "prompt_tokens": meter.usage.prompt_tokens if counted else None,
        "generated_tokens": meter.usage.generated_tokens if counted else None,
    }


def _show(console: Console, output: Path, result: dict[str, Any]) -> None:
    """Print a row a mode, and below it what failed."""
    table = Table(title=f"evaluate speed: {output}", title_justify="left")
    table.add_column("mode")
    for name in ("answered", *(title for title, _ in tables.SPEED.values()), "prompt tokens", "generated tokens"):
        table.add_column(name, justify="right")
    modes = {name: one for name, one in result.items() if isinstance(one, dict)}
    for name, one in modes.items():
        numbers = [number(one[key], digits) for key, (_, digits) in tables.SPEED.items()]
        tokens = ["–" if one[key] is None else f"{one[key]:,}" for key in ("prompt_tokens", "generated_tokens")]
        table.add_row(name, f"{one['answered']:,} of {one['samples']:,}", *numbers, *tokens)
    console.print(table)
    for line in tables.speed_notes(modes, result):
        console.print(line, highlight=False, soft_wrap=True)
