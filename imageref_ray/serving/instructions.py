"""`POST /v1/instructions`: an image and a task → a question, its draft answer, the answer corrected against the image.

The stages are those of `imageref instruct`: `ask` unless the request brings a question, then `correct` or, for a
knowledge task, `candidates`. What they have found so far is told on the way; a stream is made of that.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.records import Image, Instruction, Unit
from imageref_ray.engines.base import Generate, Reply, Request, Sampling
from imageref_ray.engines.reasoning import answers
from imageref_ray.serving.errors import WireError
from imageref_ray.serving.instruction_body import InstructionBody, check_together
from imageref_ray.serving.openai_chat import options, usage_object
from imageref_ray.serving.request_images import ImageError, receive_image
from imageref_ray.serving.watched_engine import WatchedEngine
from imageref_ray.stages.ask import CANDIDATES, SHORT, ask, candidates
from imageref_ray.stages.best_of import best_of
from imageref_ray.stages.correct import Ended, correct
from imageref_ray.stages.parsing import QA, qa_begun
from imageref_ray.stages.prompts.instruct import labels, load_instruct

OUTCOMES = {"kept": "kept", "changed": "rewritten", "dropped": "dropped"}
"""A unit's action in records → its outcome in answers."""

Tell = Callable[[QA | Unit], object]
"""What is called with a question and its draft so far, and with each unit."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request: its verified image, and how its texts are drawn."""

    body: InstructionBody
    image: Image
    asking: Sampling
    answering: Sampling
    seed: int


def receive(body: InstructionBody, settings: ServeConfig, engine: WatchedEngine) -> Asked:
    """The request, checked. Raises WireError."""
    check_together(body, engine.context, settings.max_tokens)
    seed = random.getrandbits(31) if body.seed is None else body.seed
    text = Sampling(
        temperature=body.temperature or 0,
        max_tokens=body.max_tokens or settings.max_tokens,
        min_tokens=body.min_tokens or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=seed if body.temperature else None,
        options=options(body, engine.options),
    )
    asking = answering = text
    if body.knowledge:
        asking = replace(text, max_tokens=settings.max_tokens, min_tokens=0)
        answering = replace(
            text,
            temperature=body.warmth,
            max_tokens=body.max_tokens or SHORT.max_tokens,
            min_tokens=body.min_tokens or SHORT.min_tokens,
            seed=seed if body.warmth else None,
        )
    try:
        image = receive_image(body.image, "image", settings)
    except ImageError as error:
        raise WireError(f"image: the image {error}", "image") from None
    return Asked(body, image, asking, answering, seed)


async def answer(asked: Asked, generate: Generate, settings: ServeConfig, tell: Tell | None = None) -> dict[str, Any]:
    """The response object. Raises WireError where the model's replies are no question, or no answer to it."""
    body, pack = asked.body, load_instruct(settings.instruct_prompts)
    generate = answers(generate if body.knowledge else best_of(generate, body.n or 1))
    question, item = body.question, Instruction("", asked.image, body.task, question=body.question or "")
    if question is None:
        begun = partial(qa_begun, question=labels(pack)[0], answer=labels(pack)[1])
        first = _shown(generate, lambda prefix, text: begun(prefix + text), tell)
        (item,) = await ask(asked.image, first, pack, body.task, asked.asking, seed=asked.seed)
        _check_usable(item)
        if tell:
            tell(QA(item.question, item.draft))
    elif not body.knowledge:
        generate = _shown(generate, lambda prefix, text: QA(question, text.strip()), tell)
    if body.knowledge:
        count = body.n or (CANDIDATES if body.warmth else 1)
        item = await candidates(item, generate, pack, asked.answering, count)
    elif body.correct:
        item = await correct(item, generate, pack, asked.answering, body.correct, tell or _nobody)
    _check_usable(item)
    return _response(item, body)


def _shown(generate: Generate, read: Callable[[str, str], QA | None], tell: Tell | None) -> Generate:
    """`generate` whose first text is told as a pair while it is written, where the engine shows what it writes.

    `read` makes the pair of a request's prefix and the text so far; None as long as it cannot.
    """
    waiting = tell is not None

    async def shown(request: Request) -> Reply:
        nonlocal waiting
        if not waiting or tell is None:
            return await generate(request)
        waiting = False

        def told(text: str) -> bool:
            if pair := read(request.prefix, text):
                tell(pair)
            return False  # the reply is never enough

        reply = await generate(replace(request, until=told))
        told(reply.text)
        return reply

    return shown


def _nobody(news: QA | Unit) -> None:
    """Told, and not listening."""


def _check_usable(item: Instruction) -> None:
    if item.problem:
        raise WireError(f"the model's reply cannot be used: {item.problem}", status=502)


def _response(item: Instruction, body: InstructionBody) -> dict[str, Any]:
    corrected = bool(body.correct)
    draft = item.draft if body.question is None else item.answer if corrected else None
    return {
        "task": item.task,
        "question": item.question,
        "draft": draft,
        "one_pass": item.answer if corrected else None,
        "units": [unit_object(unit, index) for index, unit in enumerate(item.units)],
        "candidates": [{"text": one.text, "weight": one.weight} for one in item.candidates],
        "answer": item.corrected if corrected or body.knowledge else item.draft,
        "ended": item.ended or None,
        "finish_reason": "length" if item.ended == Ended.LENGTH else "stop",
        "usage": usage_object(item.usage),
    }


def unit_object(unit: Unit, index: int) -> dict[str, Any]:
    """A unit, what became of it, and how probable it is that the image shows it (null: nobody asked, or knows)."""
    retry = {"text": unit.replacement, "probability": unit.after} if unit.replacement else None
    return {
        "index": index,
        "text": unit.text,
        "outcome": OUTCOMES[unit.action],
        "became": unit.replacement if unit.action == "changed" else None,
        "probability": unit.before,
        "retry": retry,
    }
