"""vLLM and transformers answer alike: a text model, Qwen2-VL, and the shipped checkpoint at its own work."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from imageref_ray.core.config import ConfigError, TransformersConfig, VllmConfig
from imageref_ray.core.records import Image
from imageref_ray.engines import make
from imageref_ray.engines.base import Guide, Message, Reply, Request, RequestError, Sampling
from imageref_ray.picturenews import corpus, descriptions
from imageref_ray.sources import image_sets
from imageref_ray.stages.prompts.instruct import load_instruct, pair, turn, wording
from tests import tiny_models

ARGS = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_num_seqs": 8}
PACK = load_instruct("compact")
BOOLEAN = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}


def said(*parts: str | Image, tokens: int = 8, **more: object) -> Request:
    return Request((Message("system", ("Be brief.",)), Message("user", parts)), Sampling(max_tokens=tokens), **more)


def of_text(_: Path) -> list[Request]:
    return [
        said("Hi <|user|> there"),
        said("Which of these?", prefix="The harbour"),
        said("Hi", guide=Guide("choice", ("boat", "ship"))),
        said("Hi", guide=Guide("json", BOOLEAN), tokens=20),
        said("Hi", prefix="a boat", scored=True),
    ]


def with_images(folder: Path) -> list[Request]:
    rng = np.random.default_rng(0)
    images = []
    for number, side in enumerate((60, 100)):
        path = folder / f"{number}.png"
        PIL.Image.fromarray(rng.integers(0, 255, (side, 80, 3), dtype=np.uint8)).save(path)
        images.append(Image(f"d/{number}.png", str(path)))
    first, second = images
    more = [
        said("One ", first, " two ", second, " three"),
        said("One ", second, " two ", first, " three"),
        said(first, "<|image_pad|>?", prefix="The harbour"),
        said(first, guide=Guide("regex", "[a-z]{3}[0-9]")),
    ]
    return [*of_text(folder), *more]


def descriptions_of_images(folder: Path) -> list[Request]:
    """The shipped checkpoint's own work: an open turn, in which it describes an image."""
    corpus.write_images(folder, corpus.make_events(77, 2))
    images = [image for image in image_sets.read("folder", folder / "image") if isinstance(image, Image)]
    question = pair(PACK, descriptions.QUESTION)
    described = [
        Request(turn(PACK, image, wording(PACK, "detail")), Sampling(max_tokens=60), prefix=question)
        for image in images[:4]
    ]
    return [*described, *of_text(folder)]


@pytest.mark.parametrize(
    ("name", "requests"), [("llama", of_text), ("qwen2_vl", with_images), ("embedded", descriptions_of_images)]
)
def test_both_engines_give_the_same_greedy_replies(
    tmp_path: Path, name: str, requests: Callable[[Path], list[Request]]
) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    model = name
    if name != "embedded":
        model = str(tmp_path / name)
        getattr(tiny_models, name)(tmp_path / name)
    asked = requests(tmp_path)
    on_vllm = asyncio.run(replies(VllmConfig(model=model, args={**ARGS, "max_model_len": 512}), asked))
    config = TransformersConfig(model=model, dtype="float32", device="cpu")
    on_transformers = asyncio.run(replies(config, asked))
    for one, other in zip(on_vllm, on_transformers, strict=True):
        assert (one.texts, one.finish_reasons) == (other.texts, other.finish_reasons)
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        assert one.usage.image_tokens == other.usage.image_tokens
        for mine, theirs in zip(one.logprobs, other.logprobs, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-3)
    for request, reply in zip(asked, on_vllm, strict=True):
        assert (reply.usage.image_tokens > 0) == bool(request.images)


async def replies(config: VllmConfig | TransformersConfig, requests: list[Request]) -> list[Reply]:
    engine = make(config)
    if "llama" in config.model:
        with pytest.raises(RequestError, match="reads text only"):
            await engine.generate(said(Image("d/0.png", "0.png")))
    return list(await asyncio.gather(*map(engine.generate, requests)))


def test_vllm_does_not_start_with_a_model_that_nobody_says_how_to_ask(tmp_path: Path) -> None:
    tiny_models.llama(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        make(VllmConfig(model=str(tmp_path), args=ARGS))
