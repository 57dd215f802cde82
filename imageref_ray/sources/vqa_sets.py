"""Annotated questions about images → `VisualQuestion` values, or a failure that says what a line lacks.

    llava      JSON list {"id", "image", "conversations": [human, gpt, …]}      one question a pair of turns
    flat       JSON list {"image", "question", "answer": [..]}                  as the VIGC release keeps its sets;
               or {"image" | "image_path" | "image_id", "question", "direct_answers", "choices", "correct_choice_idx"}
    official   {"questions": [..]} and {"annotations": [..]}                    VQAv2 and OKVQA as published

Identical answers are one with their number as weight. Images are named, not opened.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Answer, Failure, Image, VisualQuestion
from imageref_ray.sources.image_sets import STAGE, image_id

ANNOTATORS = 10
"""So many answers the VQA sets have to a question."""

COCO_2017 = "{:012d}.jpg"
"""How a numbered image's file is named; before 2017 it was, say, `COCO_val2014_{:012d}.jpg`."""

Found = Iterator[VisualQuestion | Failure]


class _Unusable(ValueError):
    """An entry cannot be used; `error` is the class of the problem."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def read_llava(path: Path, images: Path, task: str) -> Found:
    """Every human turn with the gpt turn after it is a question with one answer; image tags are taken out.

    Raises ConfigError where the file is no JSON list.
    """
    seen: set[str] = set()
    for number, entry in enumerate(_list(_json(path), path)):
        name = str(entry.get("id", number)) if isinstance(entry, dict) else str(number)
        where = f"{path.name}[{number}]"
        try:
            image = _image(_object(entry), images, COCO_2017)
            pairs = _pairs(entry)
        except _Unusable as problem:
            yield Failure(name, STAGE, problem.error, f"{where}: {problem}")
            continue
        for k, (question, answer) in enumerate(pairs):
            found = VisualQuestion(f"{name}:{k}", image, task, question, (Answer(answer),))
            yield from _once(found, seen, where)


def read_flat(path: Path, images: Path, task: str, name: str = COCO_2017, annotators: int = ANNOTATORS) -> Found:
    """One entry a question. A label list with fewer than `annotators` answers is reported beside its question.

    Raises ConfigError where the file is no JSON list.
    """
    found = _json(path)
    if isinstance(found, dict) and "questions" in found:
        raise ConfigError(f"{path} is one of a published pair of files; give the annotations file as well")
    yield from _questions(path, enumerate(_list(found, path)), images, task, name, annotators)


def read_official(
    questions: Path, annotations: Path, images: Path, task: str, name: str, annotators: int = ANNOTATORS
) -> Found:
    """The published pair of files joined by `question_id`; questions without annotation are failures.

    `name` makes a file name of an image's number. Raises ConfigError where a file is not of that shape.
    """
    asked = _list(_within(_json(questions), "questions", questions), questions)
    told = _list(_within(_json(annotations), "annotations", annotations), annotations)
    answers = {str(entry.get("question_id")): entry.get("answers") for entry in told if isinstance(entry, dict)}

    def joined() -> Iterator[tuple[int, Any]]:
        for number, entry in enumerate(asked):
            known = answers.get(str(entry.get("question_id"))) if isinstance(entry, dict) else None
            yield number, {**entry, "answer": known} if known else entry

    yield from _questions(questions, joined(), images, task, name, annotators)


def _questions(
    path: Path, entries: Iterator[tuple[int, Any]], images: Path, task: str, name: str, annotators: int
) -> Found:
    seen: set[str] = set()
    for number, entry in entries:
        where = f"{path.name}[{number}]"
        id = (
            str(entry.get("question_id", f"{path.stem}:{number}"))
            if isinstance(entry, dict)
            else f"{path.stem}:{number}"
        )
        try:
            question = _question(id, _object(entry), images, task, name)
        except _Unusable as problem:
            yield Failure(id, STAGE, problem.error, f"{where}: {problem}")
            continue
        count = int(sum(answer.weight for answer in question.answers))
        if count < annotators:
            message = f"{where}: {count} answers, fewer than the {annotators} that VQA accuracy is defined for"
            yield Failure(id, STAGE, "FewAnswers", message, item="answers")
        yield from _once(question, seen, where)


def _once(question: VisualQuestion, seen: set[str], where: str) -> Found:
    if question.id in seen:
        message = f"{where}: question {question.id} stands in the file more than once; keep one of them"
        yield Failure(question.id, STAGE, "RepeatedQuestion", message, item=where)
    else:
        seen.add(question.id)
        yield question


def _question(id: str, entry: dict[str, Any], images: Path, task: str, name: str) -> VisualQuestion:
    key = "direct_answers" if "direct_answers" in entry else "answer"
    if entry.get(key) is None:
        raise _Unusable("MissingKey", f"key {key} is missing; give the list of answers")
    choices = entry.get("choices") or []
    correct = entry.get("correct_choice_idx")
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise _Unusable("BrokenEntry", f"choices is {choices!r}; expected a list of texts, none of them empty")
    if correct is not None and (not isinstance(correct, int) or not 0 <= correct < len(choices)):
        raise _Unusable(
            "BrokenEntry", f"correct_choice_idx is {correct!r} with {len(choices)} choices; mend one of them"
        )
    return VisualQuestion(
        id,
        _image(entry, images, name),
        task,
        _text(entry, "question"),
        _answers(entry[key], key),
        tuple(choice.strip() for choice in choices),
        -1 if correct is None else correct,
    )


def _answers(value: Any, key: str) -> tuple[Answer, ...]:
    given = [value] if isinstance(value, str) else value
    texts = [one.get("answer") if isinstance(one, dict) else one for one in given] if isinstance(given, list) else []
    kept = [text.strip() for text in texts if isinstance(text, str)]
    if not texts or len(kept) < len(texts):
        raise _Unusable("BrokenEntry", f"{key} is {value!r}; expected a list of at least one text")
    counts = Counter(text for text in kept if text)
    if not counts:
        raise _Unusable("BrokenEntry", f"{key} holds only empty texts; give at least one answer")
    return tuple(Answer(text, float(count)) for text, count in counts.items())


def _pairs(entry: dict[str, Any]) -> list[tuple[str, str]]:
    turns = entry.get("conversations")
    if not isinstance(turns, list):
        raise _Unusable("MissingKey", "key conversations is missing; give the list of turns")
    roles = [turn.get("from") if isinstance(turn, dict) else None for turn in turns]
    if not turns or roles != ["human", "gpt"] * (len(turns) // 2):
        raise _Unusable("BrokenEntry", f"turns are of {roles}; expected human and gpt by turns")
    texts = [_text(turn, "value").replace("<image>", "").strip() for turn in turns]
    if not all(texts):
        raise _Unusable("BrokenEntry", f"turn {texts.index('')} holds no text; give every turn one")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _image(entry: dict[str, Any], images: Path, name: str) -> Image:
    given = next((entry[key] for key in ("image", "image_path") if entry.get(key)), None)
    number = entry.get("image_id")
    if given is None and isinstance(number, str | int) and str(number).isdecimal():
        given = name.format(int(number))
    if not isinstance(given, str):
        raise _Unusable("MissingKey", "none of the keys image, image_path, image_id names an image; give one")
    return Image(image_id(given), str(images / given))


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _Unusable("MissingKey", f"key {key} is missing or empty; give a text")
    return value.strip()


def _object(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise _Unusable("BrokenEntry", f"holds {type(entry).__name__}; every entry is one JSON object")
    return entry


def _json(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"annotations {path} do not exist; give the path of a JSON file")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}); mend the file") from None


def _within(value: Any, key: str, path: Path) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise ConfigError(f'{path} has no key "{key}"; give the published file, or read a list as kind flat')
    return value[key]


def _list(value: Any, path: Path) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{path} holds {type(value).__name__}, not a list of entries; mend the file")
    return value
