"""Annotated questions about images → `VisualQuestion` values, and a failure for each unusable entry.

    llava      {"id", "image", "conversations": [human, gpt, …]}                one question per pair of turns,
               or {"image", "question", "answer": [..]}                         as the VIGC release lists them
    flat       {"image", "question", "answer" | "answers": [..]}                as in the VIGC release, TextVQA, VizWiz;
               or {"image" | "image_path" | "image_id", "question", "direct_answers", "choices", "correct_choice_idx"}
    official   questions and, in another file, their annotations                VQAv2 and OKVQA as published

Each is a JSON list, JSON lines, or an object with the list: {"questions" | "data" | "annotations": [..]}. The last two
may name a "question_type" and an "answer_type". Identical answers are merged, with their number as weight. Image files
are not opened here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imageref_ray.core import lenient_json
from imageref_ray.core.files import shown
from imageref_ray.core.records import Answer, Failure, Image, VisualQuestion
from imageref_ray.sources.entries import STAGE, Unusable, entry_object, id_text, question_entries
from imageref_ray.sources.image_sets import image_id

ANNOTATORS = 10
"""Answers per question in the VQA data sets."""

TYPES = ("question_type", "answer_type")
"""What the published sets sort their questions by."""

ANSWERS = ("direct_answers", "answers", "answer")
"""Where an entry has its answers; of several, the first."""

LIST = re.compile(r"""\[\s*["'].*["']\s*,?\s*\]""", re.DOTALL)
"""A list of texts in a cell of a table."""

FILE, LISTS = "a JSON list, JSON lines or a published file of questions with answers", ("questions", "data")

COCO_2017 = "{:012d}.jpg"
"""File name of a numbered image; before 2017 it was, for example, `COCO_val2014_{:012d}.jpg`."""

Items = Iterator[VisualQuestion | Failure]


def read_llava(path: Path, images: Path, task: str) -> Items:
    """Every human turn and the gpt turn after it are a question with one answer; image tags are removed.

    A question's id is `<id>:<pair>`. LLaVA repeats ids, for other conversations on an image: all are kept, a later one
    as `<id>#<entry>:<pair>`, with the number of its entry in the file (from 0).
    Raises ConfigError as `question_entries`.
    """
    seen: set[str] = set()
    for number, (where, entry) in enumerate(question_entries(path, FILE, LISTS)):
        name = _id(entry, "id") or str(number)
        while name in seen:
            name = f"{name}#{number}"
        seen.add(name)
        try:
            found = _exchanges(name, entry_object(entry), images, task)
        except Unusable as problem:
            yield Failure(name, STAGE, problem.error, f"{where}: {problem}")
        else:
            yield from found


def _exchanges(name: str, entry: dict[str, Any], images: Path, task: str) -> list[VisualQuestion]:
    if "question" in entry and "conversations" not in entry:
        return [_question(f"{name}:0", entry, images, task, COCO_2017)]
    image = _image(entry, images, COCO_2017)
    return [
        VisualQuestion(f"{name}:{k}", image, task, question, (Answer(answer),))
        for k, (question, answer) in enumerate(_pairs(entry))
    ]


def read_flat(path: Path, images: Path, task: str, name: str = COCO_2017, annotators: int = ANNOTATORS) -> Items:
    """One question per entry. One with fewer than `annotators` answers is yielded after a failure that says so.

    Raises ConfigError as `question_entries`.
    """
    yield from _questions(path, question_entries(path, FILE, LISTS), images, task, name, annotators)


def read_official(
    questions: Path, annotations: Path, images: Path, task: str, name: str, annotators: int = ANNOTATORS
) -> Items:
    """The published pair of files joined by `question_id`; questions without an annotation are failures.

    `name` is the file name pattern of a numbered image. Raises ConfigError as `question_entries`.
    """
    known: dict[str, dict[str, Any]] = {}
    for where, entry in question_entries(annotations, "the published file of the answers", ("annotations",), _slim):
        try:
            annotation = entry_object(entry)
            if not (id := _id(annotation, "question_id")):
                raise Unusable("MissingKey", "key question_id is missing; give the id of the question")
            if id in known:
                raise Unusable("RepeatedQuestion", f"question {id} has answers before these, which are used")
            known[id] = _known(annotation)
        except Unusable as problem:
            yield Failure(where, STAGE, problem.error, f"{where}: {problem}", item=where)

    def joined() -> Iterator[tuple[str, Any]]:
        for where, entry in question_entries(questions, "the published file of the questions", ("questions",)):
            found = known.get(_id(entry, "question_id"))
            yield where, {**entry, **found} if found else entry

    yield from _questions(questions, joined(), images, task, name, annotators)


def _id(entry: Any, key: str) -> str:
    """An entry's id, empty where it has none."""
    return id_text(entry.get(key)) or "" if isinstance(entry, dict) else ""


def _known(annotation: dict[str, Any]) -> dict[str, Any]:
    """What an annotation adds to its question's entry."""
    return {"answer": annotation.get("answers"), **{key: annotation.get(key) for key in TYPES}}


def _questions(
    path: Path, entries: Iterable[tuple[str, Any]], images: Path, task: str, name: str, annotators: int
) -> Items:
    seen: set[str] = set()
    for number, (where, entry) in enumerate(entries):
        id = _id(entry, "question_id") or f"{path.stem}:{number}"
        try:
            question = _question(id, entry_object(entry), images, task, name)
        except Unusable as problem:
            yield Failure(id, STAGE, problem.error, f"{where}: {problem}")
            continue
        count = int(sum(answer.weight for answer in question.answers))
        if count < annotators:
            message = f"{where}: {count} answers, but VQA accuracy is defined for {annotators}"
            yield Failure(id, STAGE, "FewAnswers", message, item="answers")
        yield from _unless_repeated(question, seen, where)


def _unless_repeated(question: VisualQuestion, seen: set[str], where: str) -> Items:
    if question.id in seen:
        message = f"{where}: question {question.id} is in the file more than once; keep one of them"
        yield Failure(question.id, STAGE, "RepeatedQuestion", message, item=where)
    else:
        seen.add(question.id)
        yield question


def _question(id: str, entry: dict[str, Any], images: Path, task: str, name: str) -> VisualQuestion:
    key = next((key for key in ANSWERS if entry.get(key) is not None), "answer")
    if entry.get(key) is None:
        raise Unusable(
            "MissingKey", f"key {key} is missing; give the list of answers, here or in the published annotations file"
        )
    choices = _written_out(entry.get("choices"), "choices") or []
    correct = entry.get("correct_choice_idx")
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise Unusable("BrokenEntry", f"choices is {choices!r}; expected a list of non-empty texts")
    if correct is not None and (not isinstance(correct, int) or not 0 <= correct < len(choices)):
        raise Unusable("BrokenEntry", f"correct_choice_idx is {correct!r} with {len(choices)} choices; fix one of them")
    return VisualQuestion(
        id,
        _image(entry, images, name),
        task,
        _text(entry, "question"),
        _answers(entry[key], key),
        tuple(choice.strip() for choice in choices),
        -1 if correct is None else correct,
        **{key: kind for key in TYPES if isinstance(kind := entry.get(key), str)},
    )


def _answers(value: Any, key: str) -> tuple[Answer, ...]:
    value = _written_out(value, key)
    items = [value] if isinstance(value, str) else value
    listed = items if isinstance(items, list) else []
    texts = [item.get("answer") if isinstance(item, dict) else item for item in listed]
    stripped = [text.strip() for text in texts if isinstance(text, str)]
    if not texts or len(stripped) < len(texts):
        raise Unusable("BrokenEntry", f"{key} is {value!r}; expected a list of at least one text")
    if not any(stripped):
        raise Unusable("BrokenEntry", f"{key} has only empty texts; give at least one answer")
    return tuple(Answer(text, float(count)) for text, count in Counter(stripped).items())


def _written_out(value: Any, key: str) -> Any:
    """The list of texts that a text is, as A-OKVQA's tables have it: "['mail', 'post']"; anything else as it is."""
    if not isinstance(value, str) or not LIST.fullmatch(value.strip()):
        return value
    try:
        (found,) = lenient_json.values(value)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Unusable(
            "BrokenEntry", f"{key} is {shown(value)!r}, no list that can be read; write a JSON list of texts"
        )
    return found


def _pairs(entry: dict[str, Any]) -> list[tuple[str, str]]:
    turns = entry.get("conversations")
    if not isinstance(turns, list):
        raise Unusable("MissingKey", "key conversations is missing; give the list of turns")
    roles = [turn.get("from") if isinstance(turn, dict) else None for turn in turns]
    if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
        raise Unusable("BrokenEntry", f"turns are from {roles}; expected human and gpt alternating")
    texts = [_text(turn, "value").replace("<image>", "").strip() for turn in turns]
    if not all(texts):
        raise Unusable("BrokenEntry", f"turn {texts.index('')} is empty; every turn needs text")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _image(entry: dict[str, Any], images: Path, name: str) -> Image:
    path = next((entry[key] for key in ("image", "image_path") if entry.get(key)), None)
    number = entry.get("image_id")
    if path is None and isinstance(number, str | int) and str(number).isdecimal():
        path = name.format(int(number))
    if not isinstance(path, str):
        raise Unusable("MissingKey", "none of the keys image, image_path, image_id names an image; give one")
    return Image(image_id(path), str(images / path))


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Unusable("MissingKey", f"key {key} is missing or empty; give a text")
    return value.strip()


def _slim(value: dict[str, Any]) -> Any:
    """An annotator's answer as its text alone: VQAv2 has ten of them for each of 440,000 questions."""
    return value["answer"] if "answer_id" in value and "answer" in value else value
