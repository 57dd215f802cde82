"""Questions about images, written earlier, by us or by others → `Instruction` values without an answer.

    JSONL or a JSON list of {"image" | "image_path" | "image_id", "question", "id"? | "question_id"?, "task"?, "draft"?}
    JSONL of an `imageref instruct` run (dataset/instructions.jsonl), where "image" is the image's record
    {"questions": [..]}, as the VQA challenges publish them

Every entry that cannot be used is a failure. Image files are not opened here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Failure, Image, Instruction
from imageref_ray.sources.entries import STAGE, Unusable, entry_object, question_entries
from imageref_ray.sources.image_sets import image_id

IMAGE_KEYS = ("image", "image_path", "image_id")


class _Question(NamedTuple):
    """What an entry says, empty where it says nothing; `image` is an id, number, file name or path."""

    id: str
    image: str
    task: str
    instruction: str
    question: str
    draft: str
    problem: str


def read(
    path: Path, images: Sequence[Image], tasks: Sequence[str], wording: Callable[[str], str]
) -> tuple[dict[str, list[Instruction]], list[Failure]]:
    """Image id → its questions, in the order of the file; and a failure for each entry that cannot be used.

    A question without a task has the only one of `tasks`, one without an instruction that of `wording(task)`. Its id is
    the entry's, else `<image>:<task>:<number>`; one that comes again gets `:2`, `:3`. Raises ConfigError for a file
    that cannot be read or has no entry.
    """
    find, numbers, used = _finder(images), Counter[str](), dict[str, int]()
    questions: defaultdict[str, list[Instruction]] = defaultdict(list)
    failures = []
    for where, entry in question_entries(path, "a question file", ("questions",)):
        try:
            found = _question(entry, tasks)
            image = find(found.image)
        except Unusable as problem:
            failures.append(Failure(where, STAGE, problem.error, f"{where}: {problem}"))
            continue
        series = f"{image.id}:{found.task}"
        name = _unused(found.id or f"{series}:{numbers[series]}", used)
        numbers[series] += 1
        asked = Instruction(name, image, found.task, found.instruction or wording(found.task), found.question)
        questions[image.id].append(replace(asked, draft=found.draft, problem=found.problem))
    if not questions and not failures:
        raise ConfigError(f"question file {path} has no question; give JSON objects with image and question")
    return dict(questions), failures


def _question(entry: Any, tasks: Sequence[str]) -> _Question:
    """What an entry says. Raises Unusable."""
    entry = entry_object(entry)
    image = next((entry[key] for key in IMAGE_KEYS if entry.get(key) not in (None, "")), None)
    image = image.get("id") if isinstance(image, dict) else image
    if isinstance(image, bool) or not isinstance(image, str | int):
        raise Unusable("MissingKey", f"none of the keys {', '.join(IMAGE_KEYS)} names an image; give one")
    task = _text(entry, "task") or (tasks[0] if len(tasks) == 1 else "")
    if not task:
        raise Unusable("MissingKey", f"key task is missing; give it, or set tasks to one of {', '.join(tasks)}")
    if task not in tasks:
        raise Unusable("OtherTask", f"task {task} is not among tasks: {', '.join(tasks)}; add it to have it answered")
    texts = {key: _text(entry, key) for key in ("instruction", "question", "draft", "problem")}
    texts["question"] = texts["question"].strip()
    if not texts["question"] and not texts["problem"]:
        raise Unusable("MissingKey", "key question is missing or empty; give a text")
    name = next((str(entry[key]) for key in ("id", "question_id") if entry.get(key) not in (None, "")), "")
    return _Question(name, str(image), task, **texts)


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _finder(images: Sequence[Image]) -> Callable[[str], Image]:
    """Finds the image that a question names: by its id, or by its number or file name as data sets write it."""
    by_id = {image.id: image for image in images}
    by_number: defaultdict[str, list[Image]] = defaultdict(list)
    for image in images:
        by_number[image_id(image.id)].append(image)

    def find(name: str) -> Image:
        found = [by_id[name]] if name in by_id else by_number.get(image_id(name), [])
        if not found:
            message = f"image {name} is not among the images; check images.root and images.exclude"
            raise Unusable("UnknownImage", message)
        if len(found) > 1:
            raise Unusable("AmbiguousImage", f"image {name} may be {found[0].id} or {found[1].id}; name it by its path")
        return found[0]

    return find


def _unused(name: str, used: dict[str, int]) -> str:
    """The name, with the first number that makes it one that is not in `used` yet, where it is then.

    `used` holds the last number of every name, so that a file in which all ids are one is read as fast as any other.
    """
    new, number = name, used.get(name, 1)
    while new in used:
        number += 1
        new = f"{name}:{number}"
    used[name], used[new] = number, used.get(new, 1)
    return new
