"""VQA evaluation around the engine: what is asked and scored, refused before anything starts, and printed."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from rich.console import Console

from imageref_ray.core.config import ConfigError, OpenAIConfig, QuestionsConfig, ScriptedConfig, VqaConfig, check
from imageref_ray.core.records import Answer, Image, VisualQuestion, from_row, to_row
from imageref_ray.engines.base import Message, Reply, Request, RequestError, Sampling
from imageref_ray.evaluation import tables
from imageref_ray.evaluation.evaluate_vqa import answer_question, evaluate_vqa, prepare
from imageref_ray.stages.prompts.instruct import load_instruct
from imageref_ray.stages.short_answer import likelihoods

PACK = load_instruct("compact")
BOATS = Image("7.png", "7.png")
ASKED = (Message("user", (BOATS, "\nWhat is it?")),)
TEN = ["cat"] * 10


def question(*choices: str) -> VisualQuestion:
    return VisualQuestion("7", BOATS, "okvqa", "What is it?", (Answer("cat", 10),), choices, 0 if choices else -1)


def row(*choices: str) -> dict[str, Any]:
    return {"id": "okvqa/7", "question": to_row(question(*choices))}


class Listener:
    """A model that says "A cat." and finds shorter texts likelier; it records the requests."""

    def __init__(self) -> None:
        self.heard: list[Request] = []

    async def generate(self, request: Request) -> Reply:
        self.heard.append(request)
        if request.scored:
            return Reply(("",), logprobs=(tuple(-0.5 for _ in request.prefix.split()),))
        return Reply((" A cat.\n",), ("length",))


async def test_a_question_is_asked_once_and_each_choice_is_scored_after_the_same_words() -> None:
    model = Listener()
    answers = await answer_question(
        row("cat", "black cat"), model.generate, modes=("direct", "choice"), pack=PACK, max_tokens=9
    )
    expected = {"answer": "A cat.", "ended": "length", "logprobs": [[-0.5], [-0.5, -0.5]]}
    assert answers == {"id": "okvqa/7", **expected}
    direct_request, *scored = model.heard
    assert direct_request == Request(ASKED, Sampling(max_tokens=9))
    assert scored == [Request(ASKED, prefix=choice, scored=True) for choice in ("cat", "black cat")]


async def test_without_choices_or_their_mode_nothing_is_scored() -> None:
    model = Listener()
    settings: dict[str, Any] = {"pack": PACK, "max_tokens": 9}
    assert "logprobs" not in await answer_question(row(), model.generate, modes=("direct", "choice"), **settings)
    assert "logprobs" not in await answer_question(row("a", "b"), model.generate, modes=("direct",), **settings)
    assert not any(request.scored for request in model.heard)


async def test_an_engine_that_tells_no_log_probabilities_is_named_as_the_reason() -> None:
    async def mute(request: Request) -> Reply:
        return Reply(("cat",))

    with pytest.raises(ValueError, match="returned no log-probabilities of the choice 'cat'"):
        await likelihoods(question("cat", "dog"), mute, PACK)


async def test_no_choice_is_still_being_scored_when_a_question_fails() -> None:
    running = 0

    async def refuse_the_first(request: Request) -> Reply:
        nonlocal running
        if request.prefix == "cat":
            raise RequestError("too long")
        running += 1
        await asyncio.sleep(0.01)
        running -= 1
        return Reply(("",), logprobs=((-1.0,),))

    with pytest.raises(RequestError, match="too long"):
        await likelihoods(question("cat", "dog"), refuse_the_first, PACK)
    assert running == 0


def test_a_missing_image_fails_its_question_with_the_path(tmp_path: Path) -> None:
    Pillow.new("RGB", (4, 3)).save(tmp_path / "7.png")
    there = to_row(VisualQuestion("7", Image("7.png", str(tmp_path / "7.png")), "okvqa", "What?", (Answer("cat"),)))
    found, failures = prepare({"id": "okvqa/7", "question": there})
    image = from_row(VisualQuestion, found["question"]).image
    assert not failures and (image.width, image.height, len(image.sha256)) == (4, 3, 64)
    _, (failure,) = prepare(row())
    assert (failure.record_id, failure.stage, failure.error) == ("okvqa/7", "verify", "MissingImage")
    assert failure.message == "7.png does not exist"


def config(folder: Path, entries: Any, **more: Any) -> VqaConfig:
    """One set of these entries and the image 1.png; nothing of it reaches an engine."""
    (folder / "q.json").write_text(json.dumps(entries))
    Pillow.new("RGB", (4, 4)).save(folder / "1.png")
    settings = {"sets": {"okvqa": QuestionsConfig(questions=folder / "q.json", images=folder)}, "prompts": "compact"}
    engine = ScriptedConfig(script="tests.scripted:annotator")
    return VqaConfig(**{**settings, "output": folder / "run", "engine": engine, **more})


def entry(**more: Any) -> dict[str, Any]:
    return {"image": "1.png", "question": "What?", "answer": TEN, **more}


@pytest.mark.parametrize(
    ("entries", "more", "says"),
    [
        ([], {}, r"sets\.okvqa: .*q\.json holds no usable question \(the list is empty\)"),
        (
            [{"image": "1.png", "question": "What?"}],
            {},
            r"no usable question; the first entry: q\.json\[0\]: key answer is missing",
        ),
        ({"questions": [{"image": "1.png", "question": "What?"}]}, {}, "or in the published annotations file"),
        ("text", {}, "contains str, not a list of entries"),
        (
            [entry(image="2.png")],
            {},
            r"none of the images of 1 questions exists, e\.g\. .*2\.png; fix sets",
        ),
        ([entry()], {"mode": ("choice",)}, "no question of okvqa has choices and a right one"),
        ([entry(choices=["a"])], {"mode": ("choice",)}, "no question of okvqa has choices and a right one"),
        ([entry()], {"prompts": "english"}, "no pack is called english; take one of compact, en"),
        (
            [entry()],
            {"mode": ("choice",), "engine": OpenAIConfig(model="m")},
            r"chat completions return no log-likelihood .*set engine\.kind: vllm",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(
    entries: Any, more: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate_vqa(config(tmp_path, entries, **more), Console(file=io.StringIO()))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("pattern", ["picture.jpg", "{}-{}.jpg", "{name}.jpg", "{:q}.jpg", "{"])
def test_a_pattern_that_names_no_picture_by_its_number_is_refused(pattern: str) -> None:
    values = {"questions": "q.json", "images": ".", "image_name": pattern}
    with pytest.raises(ConfigError, match="does not turn a number into a file name; give a pattern like"):
        check(QuestionsConfig, values, "test")


def test_the_closing_lines_name_every_measure_and_all_that_bears_on_it() -> None:
    direct = {"questions": 1200, "official": 61.25, "release": 63.0, "missing": 2, "unlabelled": 0, "few_labels": 3}
    types = {
        f"type {n}": {"questions": 1, "official": 10 + n, "intervals": {"official": [0.0, 100.0]}} for n in range(13)
    }
    intervals = {"official": [60.0, 62.5], "release": [61.0, 65.0]}
    choice = {"questions": 40, "total": 75.0, "mean": 70.0, "missing": 0, "unlabelled": 1160}
    summary = {
        "direct": {"okvqa": {**direct, "cut": 1, "by_question_type": types, "intervals": intervals}},
        "choice": {"okvqa": {**choice, "intervals": {"total": [60.0, 90.0], "mean": [55.0, 85.0]}}},
        "run": {"problems": {"FewAnswers": 3, "MissingImage": 2}},
    }
    screen = Console(file=io.StringIO(), width=140)
    screen.print(tables.vqa("t", summary))
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "okvqa, question type type 9" in printed and "19.0" in printed
    assert "okvqa, 3 more question types" in printed and "20.0" not in printed
    for text in ("61.2", "60.0 – 62.5", "63.0", "75.0", "70.0", "1,200", "by total", "by mean", "VIGC"):
        assert text in printed
    assert tables.notes(summary) == [
        "okvqa, direct: 2 of 1,200 questions have no answer and count as wrong; the quarantine says why",
        "okvqa, direct: 3 of 1,200 questions have fewer than ten annotators; published accuracies use ten",
        "okvqa, direct: 1 of 1,200 answers were cut off by max_tokens",
        "okvqa, choice: 1,160 questions are left out: they have no annotators' answers, or no right choice",
        "problems: FewAnswers 3, MissingImage 2",
    ]
