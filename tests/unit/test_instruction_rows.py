"""Training rows of the three tasks: what is asked, what is learnt, which of several answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import instruct
from imageref_ray.core.config import ConfigError, InstructConfig, MixtureEntry, check
from imageref_ray.core.records import Answer, Failure, Image, Instruction, VisualQuestion, to_row
from imageref_ray.dataset import mixture
from imageref_ray.dataset.export.instruction_rows import RATIOS, as_questions, eligible, rows
from imageref_ray.stages.parsing import qa
from imageref_ray.stages.prompts.instruct import load_instruct

EN = load_instruct("en")
ROOT = Path("/coco")
IMAGE = Image("9", "/coco/train/9.jpg")
CATS = (Answer("cat", 7.0), Answer("dog", 2.0), Answer("cow", 1.0))
ASKED = VisualQuestion("q1", IMAGE, "okvqa", "What is it?", CATS)


def made(question: VisualQuestion = ASKED, **settings: Any) -> list[dict[str, Any]]:
    found = list(rows([question], settings.pop("uses", ("vig", "vic", "vqg")), EN, ROOT, **settings))
    assert not any(isinstance(row, Failure) for row in found)
    return found  # type: ignore[return-value]


def talk(row: dict[str, Any]) -> tuple[str, str]:
    human, gpt = row["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    return human["value"], gpt["value"]


def test_each_task_asks_for_what_it_teaches() -> None:
    vig, vic, vqg = made()
    assert [row["id"] for row in (vig, vic, vqg)] == ["q1:vig:0", "q1:vic:0", "q1:vqg:0"]
    assert vig["image"] == ["train/9.jpg"]
    assert talk(vig)[0].removeprefix("<image>\n") in EN.ask["knowledge"]
    assert qa(talk(vig)[1]).question == "What is it?" and qa(talk(vig)[1]).answer in {"cat", "dog", "cow"}
    assert "What is it?" in talk(vic)[0] and talk(vic)[0] != "<image>\nWhat is it?"
    assert talk(vic)[1] in {"cat", "dog", "cow"}
    assert any(answer in talk(vqg)[0] for answer in ("cat", "dog", "cow")) and talk(vqg)[1] == "What is it?"


def test_a_long_answer_is_asked_for_by_the_bare_question() -> None:
    question = VisualQuestion("d", IMAGE, "detail", "What is seen?", (Answer("Much."),))
    assert talk(made(question, uses=("vic",))[0]) == ("<image>\nWhat is seen?", "Much.")


def test_every_row_is_one_that_training_can_read(tmp_path: Path) -> None:
    odd = VisualQuestion("<image>", IMAGE, "okvqa", "What is <image>?", (Answer("an <image>"),))
    entry = MixtureEntry(root=tmp_path, annotation=tmp_path)
    for row in (*made(), *made(odd)):
        read = mixture.parse(row, "set", entry, 6)
        assert read.images == (tmp_path / "train/9.jpg",)


def test_answers_are_drawn_by_weight_and_the_same_with_the_same_seed() -> None:
    drawn = made(uses=("vic",), draws=2000)
    counts = Counter(talk(row)[1] for row in drawn)
    assert counts["cat"] / 2000 == pytest.approx(0.7, abs=0.04)
    assert counts["cow"] / 2000 == pytest.approx(0.1, abs=0.03)
    assert drawn == made(uses=("vic",), draws=2000) != made(uses=("vic",), draws=2000, seed=1)


def test_draws_do_not_depend_on_the_other_questions() -> None:
    other = VisualQuestion("q0", IMAGE, "detail", "Why?", (Answer("So."),))
    alone = made()
    assert list(rows([other, ASKED], ("vig", "vic", "vqg"), EN, ROOT))[3:] == alone


def test_topk_and_score_thr_bound_the_draw() -> None:
    assert eligible(CATS, 2, 0) == list(CATS[:2])
    assert eligible(CATS, None, 2.0) == list(CATS[:2])
    assert eligible((Answer("nothing", 0.0),), None, 0.0) == []
    assert {talk(row)[1] for row in made(uses=("vic",), draws=50, topk=1)} == {"cat"}
    (failure,) = rows([ASKED], ("vig",), EN, ROOT, score_thr=8)
    assert isinstance(failure, Failure) and failure.record_id == "q1"
    assert failure.message == "no answer has a weight of 8 or more, the highest is 7; lower score_thr"


def test_a_row_carries_all_that_it_may_be_for_trainers_that_draw_anew(tmp_path: Path) -> None:
    vig, vic, vqg = made()
    entry = MixtureEntry(root=tmp_path, annotation=tmp_path)
    for row, humans in ((vig, EN.ask["knowledge"]), (vic, EN.short), (vqg, EN.reverse)):
        choices = row["alternatives"]
        assert len(choices["human"]) == len(humans)
        assert (choices["answers"], choices["weights"]) == (("cat", "dog", "cow"), (7.0, 2.0, 1.0))
        human, gpt = talk(row)
        first = mixture.parse(row, "set", entry, 1)
        drawn = [mixture.draw_again(first, f"{n}").turns for n in range(400)]
        assert (("user", human), ("assistant", gpt)) in drawn  # the row itself is one of its draws
        assert len({turns[0][1] for turns in drawn}) >= len(humans)
        assert not any("<answer>" in text for turns in drawn for _, text in turns)
    cats = sum(mixture.draw_again(mixture.parse(vic, "s", entry, 1), str(n)).turns[1][1] == "cat"
               for n in range(1000))  # fmt: skip
    assert cats / 1000 == pytest.approx(0.7, abs=0.05)


def test_a_row_with_nothing_to_draw_is_left_plain_and_odd_texts_stay_themselves(tmp_path: Path) -> None:
    question = VisualQuestion("d", IMAGE, "detail", "What is seen?", (Answer("Much."),))
    assert "alternatives" not in made(question, uses=("vic",))[0]
    odd = VisualQuestion("o", IMAGE, "okvqa", "Why <answer> {question}?", (Answer("<answer> <image>"), Answer(" ", 9)))
    entry = MixtureEntry(root=tmp_path, annotation=tmp_path)
    for row in made(odd):
        again = mixture.draw_again(mixture.parse(row, "s", entry, 1), "1").turns
        assert again[0][1].count("<image>") == 1
        assert all(text.count("<answer>") <= 1 for _, text in again)
        assert "Why < answer> {question}?" in again[0][1] + again[1][1]


def test_questions_of_vqav2_are_about_the_content_and_answered_in_few_words() -> None:
    question = VisualQuestion("v", IMAGE, "vqav2", "What colour?", (Answer("red", 10),))
    vig, vic = made(question, uses=("vig", "vic"))
    assert talk(vig)[0].removeprefix("<image>\n") in EN.ask["conversation"]
    assert talk(vic)[0] != "<image>\nWhat colour?" and "What colour?" in talk(vic)[0]


def test_our_own_output_is_an_annotation_like_any_other() -> None:
    item = Instruction("7:detail:0", IMAGE, "detail", "Ask.", "What?", "A draft.", corrected="A cat.", ended="end")
    quiz = Instruction("7:okvqa:0", IMAGE, "okvqa", "Ask.", "Who?", "cat", corrected="cat", candidates=CATS)
    assert list(as_questions([item, quiz])) == [
        VisualQuestion(item.id, IMAGE, "detail", "What?", (Answer("A cat."),)),
        VisualQuestion(quiz.id, IMAGE, "okvqa", "Who?", CATS),
    ]
    (draft,) = as_questions([item], corrected=False)
    assert isinstance(draft, VisualQuestion) and draft.answers == (Answer("A draft."),)


def test_what_is_of_no_use_is_named_and_not_trained_on() -> None:
    bad = Instruction("a", IMAGE, "detail", problem="asks what b asks")
    empty = Instruction("b", IMAGE, "detail", question="What?", draft="A draft.", ended="repeats")
    failures = list(as_questions([bad, empty]))
    assert all(isinstance(failure, Failure) for failure in failures)
    assert [failure.message for failure in failures if isinstance(failure, Failure)] == [
        "asks what b asks",
        "no corrected answer (correction ended: repeats)",
    ]


def test_the_training_set_is_in_the_order_of_the_images_whichever_was_finished_first(tmp_path: Path) -> None:
    made_of = [
        Instruction(f"{n}:detail:0", Image(f"{n}", f"{n}.jpg"), "detail", "Ask.", "What?", "A.") for n in (1, 2, 3)
    ]
    store = Store(tmp_path)
    for item in reversed(made_of):
        store.write([Result(item.image.id, {"id": item.image.id, "instructions": [to_row(item)]})], [])
    settings = {"images": {"root": "."}, "output": str(tmp_path), "engine": {"model": "m"}, "tasks": ["detail"]}
    config = check(InstructConfig, {**settings, "uses": ["vig"], "correct": None}, "test")
    files = instruct._export(config, EN, ["1", "2", "3"])
    for name, ids in (("instructions", ["1:detail:0", "2:detail:0", "3:detail:0"]),
                      ("detail.vig", ["1:detail:0:vig:0", "2:detail:0:vig:0", "3:detail:0:vig:0"])):  # fmt: skip
        lines = Path(files[name]).read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids


def test_repeat_times_make_every_set_come_by_its_ratio() -> None:
    sizes = {"detail": 100, "okvqa": 900}
    times = mixture.repeat_times(sizes, RATIOS)
    drawn = {name: times[name] * sizes[name] for name in sizes}
    assert drawn["detail"] / drawn["okvqa"] == pytest.approx(152 / 300)
    assert sum(drawn.values()) == pytest.approx(1000)
    with pytest.raises(ConfigError, match=r"mixture\.vqav2: 5 samples, ratio None"):
        mixture.repeat_times({"vqav2": 5}, RATIOS)
