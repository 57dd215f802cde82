"""transformers as an engine, on tiny random models: batches, guides, stops and the numbers of a reply."""

import asyncio
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from imageref_ray.core.config import ConfigError, TransformersConfig
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Guide, Message, Reply, Request, RequestError, Sampling
from imageref_ray.engines.transformers import TransformersEngine
from tests import tiny_models

FAMILIES = ("llama", "llava", "qwen2_vl")
GREEDY = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models, and three images."""
    folder = tmp_path_factory.mktemp("models")
    for name in FAMILIES:
        getattr(tiny_models, name)(folder / name)
    rng = np.random.default_rng(0)
    for number, side in enumerate((60, 80, 100)):
        pixels = rng.integers(0, 255, (side, 80, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def engines(folder: Path) -> dict[str, TransformersEngine]:
    return {name: engine(folder / name) for name in FAMILIES}


def engine(model: Path, **settings: Any) -> TransformersEngine:
    return TransformersEngine(TransformersConfig(model=str(model), dtype="float32", device="cpu", **settings))


def image(folder: Path, number: int) -> Image:
    return Image(f"d/{number}.png", str(folder / f"{number}.png"))


def said(*parts: str | Image, sampling: Sampling = GREEDY, **more: Any) -> Request:
    return Request((Message("user", parts),), sampling, **more)


@pytest.mark.parametrize("name", FAMILIES)
async def test_a_batch_gives_each_request_the_reply_that_it_gets_alone(
    engines: dict[str, TransformersEngine], folder: Path, name: str
) -> None:
    requests = [said("Hi"), said("Which of these images belongs into the report?", prefix="The"), said("A bar chart")]
    if name != "llama":
        first, second, third = (image(folder, number) for number in range(3))
        requests += [said("a ", first, " b ", second, " c"), said(third, "?"), said(second, " then ", first)]
    together = await asyncio.gather(*map(engines[name].generate, requests))
    alone = [await engines[name].generate(request) for request in requests]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.usage for reply in together] == [reply.usage for reply in alone]
    assert len({reply.text for reply in alone}) == len(requests)  # the images and where they stand count
    for request, reply in zip(requests, alone, strict=True):
        assert (reply.usage.image_tokens > 0) == bool(request.images)
        assert reply.usage.prompt_tokens > reply.usage.image_tokens


async def test_a_guide_holds_for_its_own_row_of_a_batch(engines: dict[str, TransformersEngine]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    guides = [Guide("choice", ('"Quoted"\n', "boat")), Guide("json", schema), Guide("regex", "[0-9]{3}x")]
    replies = await asyncio.gather(*(engines["llama"].generate(said("Hi", guide=guide)) for guide in guides))
    choice, data, pattern = (reply.text for reply in replies)
    assert choice in ('"Quoted"\n', "boat")
    assert isinstance(json.loads(data)["a"], bool) and "  " not in data and "\n" not in data
    assert re.fullmatch("[0-9]{3}x", pattern)
    assert [reply.finish_reasons for reply in replies] == [("stop",)] * 3


async def test_only_the_request_at_fault_fails(engines: dict[str, TransformersEngine], folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    broken = Image("d/broken.png", str(folder / "broken.png"))
    cases = {
        "llava": [(said(broken), "an image cannot be opened")],
        "llama": [
            (said("word " * 600), "the prompt has [0-9]+ tokens, and the model takes 512"),
            (said(image(folder, 0)), "1 images in a request to a model that reads text only"),
            (said("Hi", guide=Guide("regex", "(")), "the guide cannot be used"),
            (said("Hi", n=2), "num_return_sequences"),
        ],
    }
    for name, faults in cases.items():
        good = said(image(folder, 0)) if name == "llava" else said("Hi")
        for request, words in faults:
            results = await asyncio.gather(*map(engines[name].generate, (good, request, good)), return_exceptions=True)
            assert isinstance(results[0], Reply) and results[0] == results[2]
            assert isinstance(results[1], RequestError) and re.search(words, str(results[1]))


async def test_a_long_prompt_leaves_its_room_and_cuts_no_other_reply(engines: dict[str, TransformersEngine]) -> None:
    least = Sampling(max_tokens=100, min_tokens=100)
    requests = said("word " * 110, sampling=least), said("Hi", sampling=least)
    long, short = await asyncio.gather(*map(engines["llama"].generate, requests))
    assert long.usage.prompt_tokens + long.usage.generated_tokens == 512 and long.finish_reasons == ("length",)
    assert short.usage.generated_tokens == 100


async def test_a_reply_ends_before_a_stop_string_and_where_it_is_enough(engines: dict[str, TransformersEngine]) -> None:
    whole = (await engines["llava"].generate(said("Hi"))).text
    stop = whole[5:7]
    stopped, other = await asyncio.gather(
        *(engines["llava"].generate(said(text, sampling=Sampling(max_tokens=12, stop=(stop,)))) for text in ("Hi", "A"))
    )
    assert stopped.text == whole[: whole.index(stop)] and stopped.finish_reasons == ("stop",)
    assert other.finish_reasons == ("length",) and other.usage.generated_tokens == 12
    enough = await engines["llava"].generate(said("Hi", until=lambda text: len(text) >= 6))
    assert whole.startswith(enough.text) and 6 <= len(enough.text) < len(whole) and enough.finish_reasons == ("until",)


async def test_a_seed_gives_the_same_texts_whoever_else_asks(engines: dict[str, TransformersEngine]) -> None:
    drawn = said("Hi", sampling=Sampling(temperature=1.0, max_tokens=12, seed=7), n=3)
    free = dataclasses.replace(drawn, sampling=Sampling(temperature=1.0, max_tokens=12))
    first = await engines["llama"].generate(drawn)
    again, *others = await asyncio.gather(*map(engines["llama"].generate, (drawn, free, free)))
    assert first.texts == again.texts and len(set(first.texts)) == 3
    assert len({text for reply in others for text in reply.texts}) == 6


async def test_log_probabilities_are_those_of_the_text_and_scoring_it_gives_the_same(
    engines: dict[str, TransformersEngine],
) -> None:
    model = engines["llama"]
    choices = ("boat", "ship", "the bridge")
    guided = await model.generate(said("Hi", guide=Guide("choice", choices), logprobs=5))
    assert guided.text in choices and len(guided.logprobs[0]) == guided.usage.generated_tokens
    assert sum(np.exp(list(guided.openings[0].values()))) == pytest.approx(1, abs=1e-4)  # what the guide allows
    free = await model.generate(said("Hi", sampling=Sampling(max_tokens=1), logprobs=5))
    [opening] = free.openings
    assert len(opening) == 5 and max(opening.values()) == pytest.approx(free.logprobs[0][0])
    scored = await model.generate(said("Hi", prefix=free.text, scored=True))
    assert free.text and scored.texts == ("",) and scored.logprobs[0] == pytest.approx(free.logprobs[0], abs=1e-4)
    with pytest.raises(RequestError, match="nothing to score"):
        await model.generate(said("Hi", scored=True))


async def test_who_no_longer_waits_holds_up_nobody(engines: dict[str, TransformersEngine]) -> None:
    gone, *stay = (asyncio.ensure_future(engines["llama"].generate(said(text))) for text in ("Hi", "A", "B"))
    await asyncio.sleep(0)
    gone.cancel()
    assert all(reply.text for reply in await asyncio.gather(*stay))


def test_a_checkpoint_that_cannot_be_used_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="transformers cannot load"):
        engine(tmp_path)
    tiny_models.llama(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        engine(tmp_path)
