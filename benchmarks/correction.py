"""What correction does and costs: false units in drafts and in corrected answers by mode, generated tokens beside one
pass and beside the release's way, and how often a picture is encoded.

    python benchmarks/correction.py [--model FOLDER] [--images 200] [--part units|tokens|pictures] [--out results.json]

Pictures are those of the embedded corpus, whose every sentence is true or false by construction. `units` runs the job
itself (`imageref instruct`) once a mode. `tokens` counts over the same questions: one greedy pass, mode `continue`, and
what the method's release does, generating to the end at every step to keep one unit of it. `pictures` counts how many
pictures the vision tower is given a record.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from setting import ARGS, ENV, MODEL, tell

from imageref_ray.commands.instruct import instruct, instructions
from imageref_ray.core.config import CorrectConfig, ImagesConfig, InstructConfig, InstructSamplingConfig, VllmConfig
from imageref_ray.core.images import verify
from imageref_ray.core.records import Image, Instruction, Usage
from imageref_ray.core.sentences import split
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.engines.vllm import VllmEngine
from imageref_ray.picturenews import corpus, descriptions, judge_answers
from imageref_ray.picturenews.events import Event
from imageref_ray.sources import image_sets
from imageref_ray.stages.correct import correct
from imageref_ray.stages.prompts.instruct import load_instruct, pair, turn, wording

MODES = ("continue", "after", "verify")
STEPS = 4
GREEDY = Sampling(max_tokens=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the drafts")
    parser.add_argument("--part", choices=("units", "tokens", "pictures"), action="append")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.update(ENV, VLLM_ALLOW_INSECURE_SERIALIZATION="1")  # `watch` is sent to vLLM
    parts = options.part or ["units", "tokens", "pictures"]
    result: dict[str, Any] = {"model": options.model, "images": options.images}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        events = drawn(root, options.images)
        if "units" in parts:
            result["units"] = judged(root, events, options.model, options.images, options.temperature)
        if {"tokens", "pictures"} & set(parts):
            result |= asyncio.run(counted(root, options.model, options.images, parts))
    tell(result, options.out)


def drawn(root: Path, images: int) -> list[Event]:
    """Enough held-out events for so many images, their pictures in `root/image`."""
    made: list[Event] = []
    for event in corpus.make_events(corpus.SEEDS["validation"], images):
        made.append(event)
        if sum(len(event.shots) for event in made) >= images:
            break
    corpus.write_images(root, made)
    return made


def judged(root: Path, events: Iterable[Event], model: str, images: int, temperature: float) -> dict[str, Any]:
    """False units by mode, with what the run cost."""
    shown, found = judge_answers.pictures_by_id(events), {}
    for mode in MODES:
        config = InstructConfig(
            images=ImagesConfig(root=root / "image", limit=images),
            output=root / mode,
            prompts="compact",
            tasks=("detail",),
            generate=InstructSamplingConfig(temperature=temperature, max_tokens=100),
            answer=InstructSamplingConfig(max_tokens=100),
            correct=CorrectConfig(reread=mode, steps=STEPS),
            engine=VllmConfig(model=model, args=ARGS, env=ENV, concurrency=64),
        )
        run = instruct(config, Console(stderr=True))
        costs = {name: run[name] for name in ("requests", "prompt_tokens", "cached_tokens", "generated_tokens")}
        actions = run["instructions"]["units"]
        found[mode] = judge_answers.measure(instructions(config.output), shown) | {"actions": actions, "run": costs}
    return found


async def counted(root: Path, model: str, images: int, parts: Sequence[str]) -> dict[str, Any]:
    """Tokens and encoded pictures over one question about every picture."""
    engine = VllmEngine(VllmConfig(model=model, args=ARGS))
    verified = [found for image in image_sets.read("folder", root / "image") if isinstance(image, Image)
                and isinstance(found := verify(image, 10**8, 10**8), Image)]  # fmt: skip
    asked = [
        Instruction(image.id, image, "detail", wording(load_instruct("compact"), "detail"), descriptions.QUESTION)
        for image in verified[:images]
    ]
    result: dict[str, Any] = {}
    if "pictures" in parts:  # first: what the engine has seen, it does not encode again
        result["pictures"] = await encoded(engine, asked)
    if "tokens" in parts:
        result["tokens"] = await tokens(engine.generate, asked)
    return result


async def tokens(generate: Generate, asked: Sequence[Instruction]) -> dict[str, Any]:
    """Generated tokens of one pass, of mode `continue` and of the release's way, and whether the texts are the same."""
    whole = await over(asked, lambda item: one_pass(item, generate))
    step = await over(asked, lambda item: corrected(item, generate, "continue"))
    release = await over(asked, lambda item: to_the_end(item, generate))
    once = sum(usage.generated_tokens for _, usage in whole)
    differ = [
        {"image": item.id, "one pass": text, "continue": told}
        for item, (text, _), (told, _) in zip(asked, whole, step, strict=True)
        if told != "".join(split(text)[:STEPS])
    ]
    return {
        "questions": len(asked),
        "different": differ,
        "one pass": once,
        "continue": round(sum(usage.generated_tokens for _, usage in step) / once, 3),
        "release": round(sum(usage.generated_tokens for _, usage in release) / once, 3),
        "release, different": sum(a != b for (a, _), (b, _) in zip(whole, release, strict=True)),
        "units an answer": round(sum(len(split(text)) for text, _ in whole) / len(whole), 2),
    }


async def over(
    asked: Sequence[Instruction], work: Callable[[Instruction], Awaitable[tuple[str, Usage]]]
) -> list[tuple[str, Usage]]:
    gate = asyncio.Semaphore(64)

    async def one(item: Instruction) -> tuple[str, Usage]:
        async with gate:
            return await work(item)

    return list(await asyncio.gather(*map(one, asked)))


async def one_pass(item: Instruction, generate: Generate) -> tuple[str, Usage]:
    reply = await generate(request(item, ""))
    return reply.text.strip(), reply.usage


async def corrected(item: Instruction, generate: Generate, mode: str) -> tuple[str, Usage]:
    how = CorrectConfig(reread=mode, steps=STEPS)
    done = await correct(item, generate, load_instruct("compact"), GREEDY, how)
    return done.corrected, done.usage


async def to_the_end(item: Instruction, generate: Generate) -> tuple[str, Usage]:
    """Every step generates to the end and keeps one unit of it."""
    text, usage = "", Usage()
    for _ in range(STEPS):
        reply = await generate(request(item, text))
        usage += reply.usage
        found = split(reply.text)
        if not reply.text.strip():
            break
        text += found[0]
    return text.strip(), usage


def request(item: Instruction, text: str) -> Request:
    pack = load_instruct("compact")
    messages = turn(pack, item.image, item.instruction)
    return Request(messages, GREEDY, prefix=pair(pack, item.question) + text)


async def encoded(engine: VllmEngine, asked: Sequence[Instruction]) -> dict[str, dict[str, float]]:
    """Pictures given to the vision tower a record, by mode; every mode on pictures it has not seen."""
    inner = engine._engine
    await inner.collective_rpc(watch)
    share = len(asked) // len(MODES)
    found = {}
    for number, mode in enumerate(MODES):
        some = asked[number * share : (number + 1) * share]
        before = sum(await inner.collective_rpc(seen))
        requests = 0

        async def generate(wanted: Request) -> Reply:
            nonlocal requests
            requests += 1
            return await engine.generate(wanted)

        await over(some, lambda item, mode=mode: corrected(item, generate, mode))  # type: ignore[misc]
        pictures = sum(await inner.collective_rpc(seen)) - before
        found[mode] = {"requests": round(requests / len(some), 2), "encoded": round(pictures / len(some), 2)}
    return found


def watch(worker: Any) -> None:
    """In vLLM's worker: count the pictures that go through the vision tower from here on."""
    model = worker.model_runner.model
    model.pictures_seen = 0

    def count(module: Any, given: tuple[Any, ...], kept: dict[str, Any]) -> None:
        pixels = given[0] if given else kept["pixel_values"]
        model.pictures_seen += len(pixels)

    model.vision_tower.register_forward_pre_hook(count, with_kwargs=True)


def seen(worker: Any) -> int:
    return int(worker.model_runner.model.pictures_seen)


if __name__ == "__main__":
    main()
