"""Wordings of visual instructions, as data (`instruct-*.yaml`), and the pure builders that fill them.

    task ─wording─▶ instruction ─turn─▶ [text so far] image request ─▶ model ─▶ "Question: … Answer: …"

Training draws one of a task's wordings, inference takes the first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from pydantic import Field

from imageref_ray.core.config import Config, ConfigError
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts.builders import fill
from imageref_ray.stages.prompts.pack import FIELD, Task, read

Kind = Literal["conversation", "detail", "reasoning", "knowledge"]

TASKS: dict[str, Kind] = {
    "conversation": "conversation",
    "detail": "detail",
    "reasoning": "reasoning",
    "okvqa": "knowledge",
    "a_okvqa": "knowledge",
}
"""Task → the kind of its wordings; the knowledge tasks differ in how their questions begin."""

FIELDS = {
    "turn": {"text", "image", "request"},
    "pair": {"question", "answer"},
    "so_far": {"text"},
    "short": {"question"},
    "reverse": {"answer"},
    "verify": {"question", "text", "unit"},
    "instead": {"question", "text", "unit"},
}
"""The fields each template may use."""

NEEDED = {"turn": {"text", "image", "request"}, "so_far": {"text"}, "short": {"question"}, "reverse": {"answer"}}
NEEDED |= {"pair": {"question", "answer"}, "verify": {"unit"}, "instead": {"unit"}}

_PAIR = re.compile(r"(?P<question>[^\s{}][^{}]*){question}(?P<answer>\s*[^\s{}][^{}]*){answer}")
"""A template of a pair: each of its two texts after a label."""


class InstructPack(Config):
    """All wordings of visual instructions."""

    name: str
    system: str = Field("", description="system prompt, none where empty")
    turn: str = Field("{text}\n{image}\n{request}", description="the user's turn; the line of an empty text is dropped")
    pair: str = Field(
        "Question: {question} Answer: {answer}", description="a question with its answer, each after a label"
    )
    so_far: str = Field("{text}", description="how the text so far is put before the image")
    ask: dict[Kind, list[str]] = Field(description="wordings by kind of task")
    first_words: dict[str, dict[str, int]] = Field({}, description="knowledge task → first word → weight")
    short: list[str] = Field(description="wordings that ask a question for a short answer")
    reverse: list[str] = Field(description="wordings that give an answer and ask for its question")
    verify: str = Field(description="the yes/no question about one unit of an answer")
    instead: str = Field(description="asks for what the image shows in place of a wrong unit")
    yes: str = "yes"
    no: str = "no"


@lru_cache
def load_instruct(name_or_path: str) -> InstructPack:
    """The shipped pack of that name (`en`, `zh`, `compact`), or the pack in that YAML file.

    Raises ConfigError for an unknown name, a missing file, a kind without wordings, or a template with wrong fields.
    """
    return _checked(read(InstructPack, name_or_path, "instruct-"), name_or_path)


def wording(pack: InstructPack, task: str, rng: random.Random | None = None) -> str:
    """The task's first wording, or one drawn. Raises ConfigError for an unknown task."""
    if task not in TASKS:
        raise ConfigError(f"task {task} is unknown; take one of {', '.join(TASKS)}")
    return _one(pack.ask[TASKS[task]], rng)


def wordings(pack: InstructPack, task: str) -> tuple[str, ...]:
    """All of the task's wordings, to draw one of for training. Raises ConfigError for an unknown task."""
    wording(pack, task)
    return tuple(text.strip() for text in pack.ask[TASKS[task]])


def short(pack: InstructPack, question: str) -> str:
    """The question, worded for a short answer."""
    return _worded(pack.short[0], question=question)


def shorts(pack: InstructPack, question: str) -> tuple[str, ...]:
    """The question in all wordings for a short answer."""
    return tuple(_worded(template, question=question) for template in pack.short)


def reverses(pack: InstructPack, answer: str) -> tuple[str, ...]:
    """The answer in all wordings that ask for its question."""
    return tuple(_worded(template, answer=answer) for template in pack.reverse)


def turn(pack: InstructPack, image: Image, request: str, text: str = "") -> tuple[Message, ...]:
    """One request about the image; the text so far comes before it, so that the model sees the image knowing it."""
    before = _worded(pack.so_far, text=text.strip()) if text.strip() else ""
    parts = fill(Task(system="", user=pack.turn), text=(before,), image=(image,), request=(request,))
    system = (Message("system", (pack.system.strip(),)),) if pack.system.strip() else ()
    return (*system, Message("user", parts))


def verify(pack: InstructPack, image: Image, question: str, text: str, unit: str) -> tuple[Message, ...]:
    """Whether the image shows `unit`, which follows `text` in the answer to the question: for a reply `yes` or `no`."""
    return turn(pack, image, _worded(pack.verify, question=question, text=text.strip(), unit=unit.strip()))


def instead(pack: InstructPack, image: Image, question: str, text: str, unit: str) -> tuple[Message, ...]:
    """What the image shows in place of `unit`."""
    return turn(pack, image, _worded(pack.instead, question=question, text=text.strip(), unit=unit.strip()))


def pair(pack: InstructPack, question: str, answer: str = "") -> str:
    """`Question: … Answer: …`, the reply to an instruction; without an answer the beginning of one."""
    return _worded(pack.pair, question=question, answer=answer)


def labels(pack: InstructPack) -> tuple[str, str]:
    """What stands before a pair's question and before its answer: `("Question:", "Answer:")`."""
    match = _PAIR.fullmatch(pack.pair.strip())
    assert match is not None  # the pack was checked
    return match["question"].strip(), match["answer"].strip()


def first_word(pack: InstructPack, task: str, rng: random.Random) -> str:
    """`Question: What`: how a reply begins, the first word drawn by weight; `Question:` where the task has none."""
    words = pack.first_words.get(task)
    if not words:
        return labels(pack)[0]
    (word,) = rng.choices(list(words), weights=list(words.values()))
    return pack.pair.strip().partition("{question}")[0] + word[:1].upper() + word[1:]


def _one(wordings: Sequence[str], rng: random.Random | None) -> str:
    return (rng.choice(wordings) if rng else wordings[0]).strip()


def _worded(template: str, **values: str) -> str:
    """The template with its fields replaced, whatever braces the values hold."""
    return FIELD.sub(lambda match: values[match[1]], template).strip()


def _checked(pack: InstructPack, where: str) -> InstructPack:
    for kind in dict.fromkeys(TASKS.values()):
        if not pack.ask.get(kind):
            raise ConfigError(f"{where}: ask.{kind} has no wording; add at least one")
    for name, known in FIELDS.items():
        templates = getattr(pack, name)
        for template in [templates] if isinstance(templates, str) else templates:
            used = set(FIELD.findall(template))
            if unknown := sorted(used - known):
                fields = ", ".join(sorted(known))
                raise ConfigError(f"{where}: {name} uses unknown field {{{unknown[0]}}}; known fields: {fields}")
            if lacking := sorted(NEEDED[name] - used):
                raise ConfigError(f"{where}: {name} lacks {{{lacking[0]}}}; add it to {template!r}")
        if not templates:
            raise ConfigError(f"{where}: {name} has no wording; add at least one")
    if not _PAIR.fullmatch(pack.pair.strip()):
        example = "Question: {question} Answer: {answer}"
        raise ConfigError(f"{where}: pair is {pack.pair!r}; give a label before each of its two texts: {example!r}")
    if not (pack.yes[:1].lower() != pack.no[:1].lower() and pack.yes and pack.no):
        raise ConfigError(f"{where}: yes ({pack.yes!r}) and no ({pack.no!r}) must begin with different letters")
    if bad := [
        task for task, words in pack.first_words.items() if task not in TASKS or min(words.values(), default=0) < 1
    ]:
        raise ConfigError(f"{where}: first_words.{bad[0]} is no task with weights of at least 1 (okvqa, a_okvqa)")
    return pack
