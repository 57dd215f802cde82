"""What the order of a prompt is worth: in-context examples before the text that differs, as in ours, or after it.

    python benchmarks/prefix_cache.py [--events 24] [--rounds 3] [--out results.json]

The requests of captioning and of placement with two examples each, over the embedded corpus, through one real vLLM with
prefix caching. Both orders hold the same turns and so the same tokens; every measurement opens with a number of its
own, so that nothing another one left in the cache is of use. Counted are the prompt tokens that came from the cache.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from setting import ARGS, ENV, MODEL, tell

from imageref_ray.commands.annotation.stage_inputs import Recipe, make_recipe
from imageref_ray.core.config import BuildConfig, VllmConfig, check
from imageref_ray.core.images import verify
from imageref_ray.core.records import Image, Usage
from imageref_ray.engines import make
from imageref_ray.engines.base import Engine, Message, Reply, Request, Sampling
from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.events import Event, response
from imageref_ray.picturenews.scene_facts import describe
from imageref_ray.stages import prompts
from imageref_ray.stages.place import guide

EXAMPLES, CONCURRENCY = 2, 64
CAPTION = Sampling(min_tokens=16, max_tokens=16)
"""Always as many tokens: the small model never saw examples, so what it says to them has no natural end."""

PLACE = Sampling(max_tokens=400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.update(ENV)
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(measure(Path(name), options.events, options.rounds))
    tell({"events": options.events, "rounds": options.rounds, "examples": EXAMPLES, **found}, options.out)


async def measure(folder: Path, events: int, rounds: int) -> dict[str, Any]:
    """Both tasks in both orders, one after the other, `rounds` times after a first one that warms up."""
    corpus.write(folder, EXAMPLES + events, corpus.SEEDS["train"])
    made = with_examples(folder)
    asked = list(corpus.make_events(corpus.SEEDS["train"], EXAMPLES + events))[EXAMPLES:]
    tasks = {"caption": list(captions(folder, made, asked)), "place": list(placements(made, asked))}
    engine, numbers, found = make(VllmConfig(model=MODEL, args=ARGS)), itertools.count(), {}
    for task, first in tasks.items():
        orders = {"examples_first": first, "examples_last": [turned(request) for request in first]}
        runs: dict[str, list[dict[str, float]]] = {order: [] for order in orders}
        for _ in range(1 + rounds):
            for order, requests in orders.items():
                number = next(numbers)
                runs[order].append(await run(engine, [opened(request, number) for request in requests]))
        found[task] = compared({order: medians(several[1:]) for order, several in runs.items()})
    return found


def with_examples(root: Path) -> Recipe:
    """What a build with the compact prompts and the corpus's own examples asks with."""
    compact = resources.files(prompts).joinpath("compact.yaml").read_text(encoding="utf-8")
    pack = root / "compact-examples.yaml"
    pack.write_text(compact.replace("examples: false", "examples: true"), encoding="utf-8")
    values = {
        "source": {"root": root},
        "output": root / "run",
        "engine": {"model": MODEL},
        "prompts": str(pack),
        "caption_examples": {"file": root / "caption_examples.json", "count": EXAMPLES},
        "place_examples": {"file": root / "place_examples.json", "count": EXAMPLES},
    }
    return make_recipe(check(BuildConfig, values, "prefix_cache"))


def captions(root: Path, made: Recipe, events: Sequence[Event]) -> Iterator[Request]:
    """Two requests an image, as `stages.caption` makes them, knowing the true description."""
    for event in events:
        seen = {shot.id: describe(shot.picture) for shot in event.shots}
        for document in corpus.sample(event, root).documents:
            for picture in document.images:
                image = verify(picture, 2**24, 2**24)
                assert isinstance(image, Image)
                yield Request(prompts.describe(made.pack, image, made.caption_examples.first), CAPTION)
                known = prompts.caption(made.pack, document, image, seen[image.id], made.caption_examples.first)
                yield Request(known, CAPTION)


def placements(made: Recipe, events: Sequence[Event]) -> Iterator[Request]:
    """One guided request an event, as `stages.place` makes it, knowing the true response and captions."""
    for event in events:
        shown, known = corpus.placements(event), corpus.numbered_captions(event)
        turns = prompts.place(made.pack, response(event), known, made.place_examples.first)
        yield Request(turns, PLACE, guide(len(shown), len(known), made.analysis_words))


def turned(request: Request) -> Request:
    """The same turns, the one that differs before the examples."""
    *shown, asked = request.messages
    return replace(request, messages=(asked, *shown))


def opened(request: Request, number: int) -> Request:
    """The request in a chat that opens like those of measurement `number` alone."""
    return replace(request, messages=(Message("system", (f"Number {number}.",)), *request.messages))


async def run(engine: Engine, requests: Sequence[Request]) -> dict[str, float]:
    """All requests, so many at a time as a build has; what they cost together."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(request: Request) -> Reply:
        async with gate:
            return await engine.generate(request)

    began = time.perf_counter()
    replies = await asyncio.gather(*map(one, requests))
    seconds = time.perf_counter() - began
    usage = sum((reply.usage for reply in replies), Usage())
    return {
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "generated_tokens": usage.generated_tokens,
        "cached_share": round(usage.cached_tokens / usage.prompt_tokens, 4),
        "seconds": round(seconds, 3),
    }


def medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in runs) for key in runs[0]}


def compared(orders: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Both orders, and how many times the prompt tokens and seconds of ours the other one takes.

    The factor of the shares is none where the other order had nothing from the cache.
    """
    ours, other = orders["examples_first"], orders["examples_last"]
    computed = {order: one["prompt_tokens"] - one["cached_tokens"] for order, one in orders.items()}
    return {
        **orders,
        "cached_share_factor": round(ours["cached_share"] / other["cached_share"], 2)
        if other["cached_share"]
        else None,
        "computed_prompt_tokens_factor": round(computed["examples_last"] / computed["examples_first"], 2),
        "seconds_factor": round(other["seconds"] / ours["seconds"], 2),
    }


if __name__ == "__main__":
    main()
