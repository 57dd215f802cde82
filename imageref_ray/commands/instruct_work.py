"""The work on one image of `imageref instruct`: verified, asked about, its questions answered.

image ─▶ prepare ─┬─ stage ask ─────▶ questions with drafts ─┬─▶ correct     (conversation, detail, reasoning)
                  └─ question file ─▶ questions ─────────────┴─▶ candidates  (okvqa, a_okvqa)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imageref_ray.batch.worker import Row, stage
from imageref_ray.core.config import FetchConfig, ImagesConfig, InstructConfig, InstructSamplingConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Failure, Image, Instruction, from_row, to_row
from imageref_ray.engines.base import Generate, Sampling
from imageref_ray.sources.prepare_images import Rejected, prepare_image
from imageref_ray.stages.ask import ask, candidates
from imageref_ray.stages.correct import correct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack


def to_work(image: Image, questions: Sequence[Instruction] | None = None) -> Row:
    """The row of an image, with the questions about it where they were asked before."""
    asked = {} if questions is None else {"questions": [to_row(item) for item in questions]}
    return {"id": image.id, "image": to_row(image), **asked}


def prepare(row: Row, images: ImagesConfig, folder: Path) -> tuple[Row, tuple[Failure, ...]]:
    """The CPU step: the row with its image as a verified local file, downloaded to `folder`; or the record's failure.

    What was found under `images.root` may be read; what a manifest names is held to `images.fetch`.
    """
    image, limits = from_row(Image, row["image"]), (images.max_image_bytes, images.max_image_pixels)
    if images.kind != "manifest" and isinstance(images.root, Path):
        found = verify(image, *limits)
        result: Image | Rejected = Rejected("verify", found) if isinstance(found, Problem) else found
    else:
        prepared = prepare_image(image, _folder_of(images, folder), folder.absolute(), _fetching(images), *limits)
        result = prepared if isinstance(prepared, Rejected) else prepared.image
    if isinstance(result, Rejected):
        return row, (Failure(row["id"], result.stage, result.problem.error, result.problem.message),)
    return {**row, "image": to_row(result)}, ()


def _folder_of(images: ImagesConfig, folder: Path) -> Path:
    """The folder whose files may be read: the manifest's own, and for a bucket only that of the downloads."""
    return images.root.parent if isinstance(images.root, Path) else folder


def _fetching(images: ImagesConfig) -> FetchConfig:
    """How images are fetched: from their bucket, too."""
    if isinstance(images.root, Path):
        return images.fetch
    return images.fetch.model_copy(update={"allow_roots": (*images.fetch.allow_roots, images.root)})


async def annotate(row: Row, generate: Generate, config: InstructConfig, pack: InstructPack) -> Row:
    """The instructions of all tasks about one image: `{"id", "instructions": [row, …]}`."""
    image = from_row(Image, row["image"])
    if "questions" in row:
        items = [replace(from_row(Instruction, question), image=image) for question in row["questions"]]
    else:
        items = await _asked(image, generate, config, pack)
    if "answer" in config.stages:
        items = [await _answered(item, generate, config, pack) for item in items]
    return {"id": row["id"], "instructions": [to_row(item) for item in items]}


async def _asked(image: Image, generate: Generate, config: InstructConfig, pack: InstructPack) -> list[Instruction]:
    items: list[Instruction] = []
    for task in config.tasks:
        with stage("generate"):
            items += await ask(image, generate, pack, task, sampling(config.generate), config.questions, config.seed)
    return items


async def _answered(item: Instruction, generate: Generate, config: InstructConfig, pack: InstructPack) -> Instruction:
    """The question with its answer. Draws depend on the question's id and the seed alone: not on who asked it when."""
    seed = random.Random(f"{config.seed}:{item.id}").getrandbits(31)
    if TASKS[item.task] == "knowledge":
        with stage("candidates"):
            return await candidates(item, generate, pack, sampling(config.short, seed), config.candidates)
    if config.correct:
        with stage("correct"):
            return await correct(item, generate, pack, sampling(config.answer, seed), config.correct)
    return item


def sampling(config: InstructSamplingConfig, seed: int | None = None) -> Sampling:
    """Sampling settings in the engine's form, with the seed where anything is drawn."""
    return Sampling(
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        min_tokens=config.min_tokens,
        seed=seed if config.temperature > 0 else None,
    )
