"""Sentences about pictures and what is false among them: the truth that corrections are measured against."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from imageref_ray.commands.demo import report_data
from imageref_ray.core.records import Image, Instruction
from imageref_ray.core.sentences import split
from imageref_ray.picturenews import descriptions, judge_answers, skill_data
from imageref_ray.picturenews.events import make_event, questions
from imageref_ray.picturenews.scene_facts import Chart, Emblem, Picture, Portrait, Scene

BOATS = Scene("boat", "red", 2, "harbour")
ALONE = Scene("bus", "blue", 1, "park")
FACE = Portrait("hat", "orange")
BARS = Chart((3, 3, 9))
LOGO = Emblem("advertisement", "star", "green")
PICTURES: list[Picture] = [BOATS, ALONE, FACE, BARS, LOGO]


def about(name: str, draft: str, answer: str, corrected: str, question: str = descriptions.QUESTION) -> Instruction:
    image = Image(name, f"{name}.jpg")
    return Instruction(name, image, "detail", "", question, draft, answer, corrected=corrected)


def test_everything_is_told_one_fact_a_sentence() -> None:
    assert descriptions.sentences(BOATS) == (
        "The picture shows two boats.",
        "The boats are red.",
        "They are at the harbour.",
    )
    assert descriptions.sentences(ALONE) == ("The picture shows one bus.", "The bus is blue.", "It is in the park.")
    assert descriptions.sentences(FACE)[1:] == ("The person has a hat.", "The hat is orange.")
    assert descriptions.sentences(BARS)[2] == "The second bar stands for 3."
    assert descriptions.sentences(LOGO)[0] == "The picture shows an advertisement."
    for picture in PICTURES:
        assert [unit.strip() for unit in split(" ".join(descriptions.sentences(picture)))] == [
            *descriptions.sentences(picture)
        ]


@pytest.mark.parametrize("picture", PICTURES)
def test_a_falsehood_is_false_and_stands_for_a_true_sentence(picture: Picture) -> None:
    rng = random.Random(1)
    drawn = [descriptions.false_sentence(picture, rng) for _ in range(300)]
    assert not any(descriptions.is_true(picture, wrong) for wrong, _ in drawn)
    assert {right for _, right in drawn} == set(descriptions.sentences(picture))


def test_units_are_judged_by_the_picture_alone() -> None:
    text = "The picture shows two boats. The boats are blue. They are at the harbour."
    assert judge_answers.judge(BOATS, descriptions.QUESTION, text) == [True, False, True]
    assert judge_answers.judge(BOATS, descriptions.QUESTION, "  ") == []
    assert judge_answers.judge(BOATS, descriptions.QUESTION, "Rain fell.") == [False]
    for question, answer in questions(BOATS):
        assert judge_answers.judge(BOATS, question, answer) == [True]
    assert judge_answers.judge(BOATS, "How many are there?", "three") == [False]
    assert judge_answers.judge(BOATS, "What is the first value?", "3") is None


def test_shares_and_the_paired_difference_are_those_of_the_units() -> None:
    good, bad = " ".join(descriptions.sentences(BOATS)), "The picture shows two boats. The boats are blue."
    items = [about(f"{n}", bad, good if n else bad, good) for n in range(8)]
    items += [
        about("8", "", "", "", "What is the first value?"),
        replace(about("9", "", "", ""), problem="no question"),
    ]
    found = judge_answers.measure(items, {str(n): BOATS for n in range(10)})
    assert (found["judged"], found["unknown"], found["unusable"], found["images"]) == (8, 1, 1, 8)
    assert found["draft"] == {"units": 16, "false": 8, "share": 0.5}
    assert (found["one pass"]["units"], found["one pass"]["false"]) == (7 * 3 + 2, 1)
    assert found["corrected"]["difference"] == -0.5 and found["corrected"]["interval"] == [-0.5, -0.5]
    low, high = found["one pass"]["interval"]
    assert low < found["one pass"]["difference"] < high < 0


def test_intervals_do_not_depend_on_which_answer_was_finished_first() -> None:
    good, bad = " ".join(descriptions.sentences(BOATS)), "The picture shows two boats. The boats are blue."
    items = [about(f"{n}", bad * (n % 5 + 1), good if n % 3 else bad, good) for n in range(9)]
    shown_by = {str(n): BOATS for n in range(9)}
    assert judge_answers.measure(items[::-1], shown_by) == judge_answers.measure(items, shown_by)


def test_nothing_to_judge_is_said() -> None:
    with pytest.raises(ValueError, match="no answer to judge: 1 unusable, 0 with unknown"):
        judge_answers.measure([replace(about("1", "", "", ""), problem="no question")], {"1": BOATS})


def test_the_skills_in_words_of_correction_tell_the_truth() -> None:
    for number in range(40):
        event = make_event(5, number)
        shown_by = judge_answers.pictures_by_id([event])
        for row in skill_data.detailing(event, random.Random(number)):
            answer = row["conversations"][1]["value"].split("Answer: ")[-1]
            assert all(judge_answers.judge(shown_by[row["id"]], descriptions.QUESTION, answer) or [False])
        for row in skill_data.verifying(event, random.Random(number)):
            turns = [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]]
            for asked, reply in zip(turns[::2], turns[1::2], strict=True):
                unit, _, rest = asked.partition(". ")
                said = reply if rest.startswith("This is not") else f"{unit}."
                assert descriptions.is_true(shown_by[row["id"]], said) == (reply != "no")


def test_what_correction_changed_is_marked_where_it_was(tmp_path: Path) -> None:
    good, bad = " ".join(descriptions.sentences(BOATS)), "The picture shows two boats. The boats are blue."
    same, fixed = about("1", good, good, good), about("2", bad, good, good)
    truth = {"1": BOATS, "2": BOATS}
    runs = {"after": [same, fixed], "verify": [same, replace(fixed, corrected="The picture shows two boats.")]}
    first, second = report_data.corrections(runs, truth, 8)
    assert [sentence["true"] for sentence in first["draft"]] == [True, False]
    assert [(sentence["text"], sentence["mark"]) for sentence in first["versions"]["after"]] == [
        ("The picture shows two boats.", ""),
        ("The boats are blue.", "removed"),
        ("The boats are red.", "new"),
        ("They are at the harbour.", "new"),
    ]
    assert [sentence["mark"] for sentence in first["versions"]["verify"]] == ["", "removed"]
    assert not any(sentence["mark"] for version in second["versions"].values() for sentence in version)
    assert len(report_data.corrections(runs, truth, 1)) == 1
