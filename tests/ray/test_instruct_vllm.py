"""Instructions on a real vLLM with the shipped checkpoint: drafts, answers and corrections that say what is seen."""

import asyncio
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from imageref_ray.commands.instruct import instruct, instructions
from imageref_ray.commands.instruct_work import annotate, prepare, to_work
from imageref_ray.core.config import CorrectConfig, InstructConfig, VllmConfig, load
from imageref_ray.core.records import Image, Instruction, from_row
from imageref_ray.engines import make
from imageref_ray.engines.base import Engine, Reply, Request, Sampling
from imageref_ray.picturenews import corpus, descriptions, judge_answers
from imageref_ray.sources import image_sets
from imageref_ray.stages.correct import correct
from imageref_ray.stages.prompts.instruct import load_instruct, pair, turn, wording

CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "picturenews-instruct.yaml"
SEED = 77
GREEDY = Sampling(max_tokens=100)
PACK = load_instruct("compact")


def test_the_shipped_config_asks_answers_and_corrects(local_ray: None, checkpoint: Path, tmp_path: Path) -> None:
    corpus.write_images(tmp_path, corpus.make_events(SEED, 4))
    overrides = [f"engine.model={checkpoint}", f"images.root={tmp_path / 'image'}", f"output={tmp_path / 'run'}"]
    config = load(InstructConfig, CONFIG, [*overrides, "correct.reread=verify"])
    summary = instruct(config, Console(file=io.StringIO()))
    assert summary["quarantined"] == 0 and summary["records"] == len(list((tmp_path / "image").rglob("*.jpg")))
    items = list(instructions(tmp_path / "run"))
    good = [item for item in items if not item.problem]
    assert len(good) > len(items) / 3  # two questions drawn about a small picture are often one
    assert all(unit.before is not None for item in good for unit in item.units if unit.text != item.units[-1].text)
    measured = judge_answers.measure(items, judge_answers.pictures_by_id(corpus.make_events(SEED, 4)))
    assert measured["corrected"]["share"] < 0.3


@pytest.fixture(scope="module")
def vllm(checkpoint: Path) -> Iterator[tuple[asyncio.Runner, Engine]]:
    """The checkpoint on vLLM in this process, and the loop that it lives in."""
    args = {"dtype": "float32", "enforce_eager": True, "block_size": 32, "max_model_len": 2048}
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    with asyncio.Runner() as runner:

        async def started() -> Engine:
            return make(VllmConfig(model=str(checkpoint), args=args))

        yield runner, runner.run(started())


def drawn_images(folder: Path) -> list[Image]:
    corpus.write_images(folder, corpus.make_events(SEED, 4))
    return [image for image in image_sets.read("folder", folder / "image") if isinstance(image, Image)]


def test_plain_continuation_is_the_greedy_answer_in_one_pass(
    vllm: tuple[asyncio.Runner, Engine], tmp_path: Path
) -> None:
    runner, engine = vllm
    asked = [
        Instruction(image.id, image, "detail", wording(PACK, "detail"), descriptions.QUESTION)
        for image in drawn_images(tmp_path)
    ]

    async def both() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        whole, steps = [], []
        for item in asked:
            request = Request(turn(PACK, item.image, item.instruction), GREEDY, prefix=pair(PACK, item.question))
            reply = await engine.generate(request)
            whole.append((reply.text.strip(), reply.usage.generated_tokens))
            done = await correct(item, engine.generate, PACK, GREEDY, CorrectConfig(reread="continue", steps=4))
            steps.append((done.corrected, done.usage.generated_tokens))
        return whole, steps

    whole, steps = runner.run(both())
    assert [text for text, _ in steps] == [text for text, _ in whole]
    assert sum(count for _, count in steps) <= 1.15 * sum(count for _, count in whole)
    assert all(text.count(".") >= 3 for text, _ in whole)


def test_the_shipped_config_of_knowledge_questions_weighs_five_answers(
    vllm: tuple[asyncio.Runner, Engine], tmp_path: Path
) -> None:
    runner, engine = vllm
    config = load(InstructConfig, CONFIG.with_name("instruct-aokvqa.yaml"))
    words = load_instruct("en").first_words
    pack = PACK.model_copy(update={"first_words": words})  # what the checkpoint reads, and words that are new to it
    generated: list[Reply] = []

    async def generate(request: Request) -> Reply:
        generated.append(await engine.generate(request))
        return generated[-1]

    async def all_images() -> list[Instruction]:
        items = []
        for image in drawn_images(tmp_path)[:6]:
            row, failures = prepare(to_work(image), config.images, tmp_path)
            assert not failures
            row = await annotate(row, generate, config, pack)
            items += [from_row(Instruction, item) for item in row["instructions"]]
        return items

    items = runner.run(all_images())
    assert all(item.question.split()[0].lower() in words["a_okvqa"] for item in items if not item.problem)
    good = [item for item in items if item.candidates]
    assert len(good) >= 3
    for item in good:
        weights = [answer.weight for answer in item.candidates]
        assert weights == sorted(weights, reverse=True) and 0 < sum(weights) <= 500
        assert item.corrected == item.candidates[0].text
    shorts = [reply for reply in generated if len(reply.texts) == 5]
    assert len(shorts) == len(good) and all(1 <= len(tokens) <= 10 for reply in shorts for tokens in reply.logprobs)
