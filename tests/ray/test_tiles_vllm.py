"""What vLLM reads of an annotation row is what training reads of it: the same tokens, one by one."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from vllm.sampling_params import RequestOutputKind

from imageref_ray.core.config import VllmConfig
from imageref_ray.core.images import verify
from imageref_ray.core.records import Image
from imageref_ray.core.tiles import Tiles
from imageref_ray.engines.base import Message, Request, RequestError, Sampling
from imageref_ray.engines.vllm import VllmEngine
from tests import served_tokens
from tests.served_tokens import CASES

ARGS = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_num_seqs": 8, "max_model_len": 4096}


async def read(engine: VllmEngine, request: Request) -> list[int]:
    """The tokens of the prompt, as vLLM ran it."""
    outputs = [one async for one in engine.outputs(request, RequestOutputKind.FINAL_ONLY)]
    return list(outputs[-1].prompt_token_ids or ())


async def compare(folder: Path) -> None:
    config = VllmConfig(
        model=str(folder / "model"), args={**ARGS, "limit_mm_per_prompt": {"image": 50, "video": 0}}, max_tiles=6
    )
    engine = VllmEngine(config)
    assert engine.tiles == Tiles(6, True)
    end = AutoTokenizer.from_pretrained(folder / "model").eos_token_id
    cases = [*((*case, True) for case in CASES), (6, 3, False), (2, 20, False)]
    for tiles, images, shared in random.Random(0).sample(cases, len(cases)):  # the same images, now so, now so
        engine.tiles = Tiles(tiles, shared)
        example = served_tokens.trained(folder, images, tiles, shared)
        expected = served_tokens.read_until_the_end(example, end)
        assert await read(engine, served_tokens.asked(folder, images)) == expected, (tiles, images, shared)
    await fifty_pictures(engine, folder)


async def fifty_pictures(engine: VllmEngine, folder: Path) -> None:
    """At one tile each they fit, and so at six that they share; at six each they are refused with the numbers."""
    picture = verify(Image("d/0.png", str(folder / "0.png")), 10**8, 10**8)
    assert isinstance(picture, Image) and (picture.width, picture.height) == (900, 600)
    request = Request((Message("user", (picture,) * 50),), Sampling(max_tokens=1))
    for tiles in (Tiles(1, False), Tiles(6, True)):
        engine.tiles = tiles
        reply = await engine.generate(request)
        assert reply.usage.image_tokens == 50 * 16
    engine.tiles = Tiles(6, False)
    with pytest.raises(RequestError, match=r"57\d\d.*4096.*50 images"):
        await engine.generate(request)


def test_vllm_reads_the_tokens_of_training_for_any_tiles_and_images(tmp_path: Path) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    served_tokens.make(tmp_path)
    asyncio.run(compare(tmp_path))
