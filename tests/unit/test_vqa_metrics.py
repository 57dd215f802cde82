"""VQA accuracies by hand on their edges, the normalisation as published, multiple choice by two likelihoods."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.records import Answer, Image, VisualQuestion
from imageref_ray.evaluation import vqa_metrics
from imageref_ray.evaluation.bootstrap import MAX_CELLS
from imageref_ray.evaluation.vqa_metrics import (
    Choice,
    choose,
    normalise,
    official,
    release,
    summarise,
    summarise_choices,
)

TEN = ["cat"] * 3 + ["dog"] * 5 + ["bird", "cow"]


def question(id: str, answers: dict[str, float], choices: tuple[str, ...] = (), correct: int = -1) -> VisualQuestion:
    given = tuple(Answer(text, weight) for text, weight in answers.items())
    return VisualQuestion(id, Image("1", "1.jpg"), "okvqa", "What?", given, choices, correct)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Cat.", "cat"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("oclock", "o'clock"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("u.s.a.", "usa"),
        ("red/white", "red white"),
        ("red / white", "red white"),
        ("red-white, blue", "red white blue"),
        ("t-shirt", "t shirt"),
        ("t-shirt -", "tshirt"),
        (" a \n an\tthe ", ""),
        ("yes!", "yes"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_published(answer: str, normal: str) -> None:
    assert normalise(answer) == normal


def test_the_tables_are_the_published_ones() -> None:
    assert (
        len(vqa_metrics.CONTRACTIONS) == 114
    )  # 120 published, less four in capitals (never met) and two that map to themselves
    assert vqa_metrics.CONTRACTIONS["yall'll"] == vqa_metrics.CONTRACTIONS["y'allll"] == "y'all'll"
    assert vqa_metrics.CONTRACTIONS["ow's'at"] == "'ow's'at"
    assert "shes" not in vqa_metrics.CONTRACTIONS and "lets" not in vqa_metrics.CONTRACTIONS
    assert vqa_metrics.NUMBERS["zero"] == vqa_metrics.NUMBERS["none"] == "0" and vqa_metrics.NUMBERS["ten"] == "10"


def test_the_official_accuracy_leaves_every_annotator_out_once() -> None:
    assert official("dog", TEN) == 1
    assert official("a cat", TEN) == pytest.approx((3 * (2 / 3) + 7 * 1) / 10)
    assert official("bird", TEN) == pytest.approx(9 * (1 / 3) / 10)
    assert official("horse", TEN) == 0


@pytest.mark.parametrize(
    ("answer", "labels", "right"),
    [
        ("cat", ["The Cat."] * 10, 0),
        ("The Cat.", ["The Cat."] * 10, 1),
        ("The\tCat.\n", [" The Cat.", "The\nCat."] * 5, 1),
        ("cat", ["The Cat."] * 9 + ["dog"], 1),
        ("", ["a"] * 9 + ["the"], 1),
        ("1" * 3, ["1" * 3] * 3 + [""] * 7, (3 * (2 / 3) + 7) / 10),
        ("." * 33, ["." * 33] * 9 + ["none"], 1),
        ("", ["." * 33] * 9 + ["none"], 0),
        ("", ["." * 32] * 9 + ["none"], 1),
    ],
)
def test_the_official_accuracy_is_the_scripts_to_the_letter(answer: str, labels: list[str], right: float) -> None:
    """Nothing is normalised where all annotators agree; an empty text is an answer; 32 full stops are removed."""
    assert official(answer, labels) == pytest.approx(right)


SYLLABLES = (
    "The",
    "a",
    "an",
    "Cat.",
    "cat",
    "two",
    "2",
    "Ten",
    "dont",
    "1,000",
    "3.5",
    "red/white",
    "-",
    ",",
    "",
    "\n",
)


def as_published(answer: str, annotated: list[str]) -> float:
    """The accuracy as the challenge words it: for each annotator, how many of the others said the same, three at
    most, of three; on cleaned texts if the annotators differ."""
    said, *texts = (text.replace("\n", " ").strip() for text in (answer, *annotated))
    if len(set(texts)) > 1:
        said, *texts = map(normalise, (said, *texts))
    scores = [min(3, [*texts[:k], *texts[k + 1 :]].count(said)) / 3 for k in range(len(texts))]
    return sum(scores) / len(scores)


def test_six_thousand_random_cases_are_judged_as_the_challenge_says() -> None:
    rng = random.Random(5)

    def text() -> str:
        return rng.choice(["", " "]).join(rng.choices(SYLLABLES, k=rng.randint(0, 3)))

    for _ in range(6000):
        pool = [text() for _ in range(rng.choice([1, 1, 2, 4]))]
        given = rng.choice([*pool, pool[0].lower(), text()])
        annotated = rng.choices(pool, k=10)
        assert math.isclose(official(given, annotated), as_published(given, annotated)), (given, annotated)


def test_the_release_takes_shares_of_distinct_answers() -> None:
    assert release("dog", TEN) == 1
    assert release("Cat", TEN) == 1
    assert release("bird", TEN) == pytest.approx(1 / 3)
    assert release("horse", TEN) == 0


def test_with_one_label_the_two_differ_most() -> None:
    assert official("cat", ["cat"]) == 0  # there is no other annotator to agree
    assert release("cat", ["cat"]) == 1


@given(
    st.text(max_size=8), st.lists(st.text(max_size=8) | st.sampled_from(["cat", "a cat", "2"]), min_size=1, max_size=12)
)
def test_accuracies_lie_between_0_and_1_and_order_does_not_matter(answer: str, labels: list[str]) -> None:
    for accuracy in (official, release):
        assert 0 <= accuracy(answer, labels) <= 1
        assert accuracy(answer, labels) == accuracy(answer, labels[::-1])
        assert accuracy("cat", ["cat"] * 10) == 1


def test_no_labels_are_an_error() -> None:
    for accuracy in (official, release):
        with pytest.raises(ValueError, match="no labels"):
            accuracy("cat", [])


def test_a_long_choice_may_win_by_mean_and_lose_by_total() -> None:
    assert choose([[-1.0], [-0.6, -0.6, -0.6]]) == Choice(total=0, mean=1)
    assert choose([[-1.0], [-1.0]]) == Choice(0, 0)
    assert choose([[0.0, 0.0], [-0.1]]) == Choice(0, 0)


@pytest.mark.parametrize(("given", "says"), [([], "no choices"), ([[-1.0], []], "choice 1 has no tokens")])
def test_a_choice_without_tokens_is_an_error(given: list[list[float]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        choose(given)


def test_a_summary_counts_what_is_missing_and_what_cannot_be_judged() -> None:
    questions = [
        question("1", {"cat": 10}),
        question("2", {"cat": 9, "dog": 1}),
        question("3", {"cat": 2}),
        question("4", {}),
        question("5", {"cat": 10}),
    ]
    summary = summarise(questions, {"1": "cat", "2": "dog", "3": "", "4": "cat", "other": "cat"})
    assert (summary["questions"], summary["missing"]) == (4, 1)
    assert (summary["unlabelled"], summary["few_labels"]) == (1, 1)
    assert summary["release"] == pytest.approx(100 * (1 + 1 / 3) / 4)
    assert summary["official"] == pytest.approx(100 * (1 + 9 * (1 / 3) / 10) / 4)
    low, high = summary["intervals"]["official"]
    assert low <= summary["official"] <= high


def test_intervals_do_not_depend_on_how_many_resamples_are_drawn_at_once() -> None:
    count, resamples = 1000, MAX_CELLS // 1000 + 9
    questions = [question(str(n), {"cat": 10}) for n in range(count)]
    summary = summarise(questions, {str(n): "cat" if n % 3 else "dog" for n in range(count)}, 7, resamples)
    right = np.array([100.0 * bool(n % 3) for n in range(count)])
    draws = np.random.default_rng(7).multinomial(count, [1 / count] * count, size=resamples)
    assert summary["intervals"]["official"] == pytest.approx(np.percentile(draws @ right / count, [2.5, 97.5]))


def test_an_empty_answer_is_never_right() -> None:
    assert summarise([question("1", {"a": 10})], {"1": " "})["release"] == 0  # "a" is an article: it normalises to ""


def test_accuracy_is_told_for_every_type_of_question_and_answer_the_commonest_first() -> None:
    kinds = [("how many", "number"), ("what is", "other"), ("what is", "number"), ("", "number")]
    questions = [
        dataclasses.replace(question(str(n), {"cat": 10}), question_type=kind, answer_type=answer)
        for n, (kind, answer) in enumerate(kinds)
    ]
    summary = summarise(questions, {"0": "cat", "1": "cat", "2": "dog", "3": "dog"})
    by_answer, by_question = summary["by_answer_type"], summary["by_question_type"]
    assert list(by_answer) == ["number", "other"] and list(by_question) == ["what is", "how many", "–"]
    assert [by_answer[name]["official"] for name in by_answer] == [pytest.approx(100 / 3), 100]
    assert [by_question[name]["questions"] for name in by_question] == [2, 1, 1]
    assert by_question["what is"]["release"] == 50 and set(by_question["–"]["intervals"]) == {"official", "release"}
    assert "by_answer_type" not in summarise([question("1", {"cat": 10})], {})


def test_weights_that_are_no_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="question 1: its answers' weights are not counts"):
        summarise([question("1", {"cat": 0.4})], {"1": "cat"})


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of 1 questions has annotated answers"):
        summarise([question("1", {})], {})
    with pytest.raises(ValueError, match="none of 1 questions has choices"):
        summarise_choices([question("1", {"cat": 1})], {})


def test_multiple_choice_is_summarised_by_both_likelihoods() -> None:
    questions = [question(id, {}, ("a", "b c d"), 1) for id in "123"] + [question("4", {})]
    summary = summarise_choices(questions, {"1": [[-1.0], [-0.6, -0.6]], "2": [[-2.0], [-0.1, -0.1]]})
    assert (summary["total"], summary["mean"]) == (pytest.approx(100 / 3), pytest.approx(200 / 3))
    assert (summary["questions"], summary["missing"], summary["unlabelled"]) == (3, 1, 1)
    whole = summarise_choices(questions[:1], {"1": [[-1.0], [-0.6, -0.6]]})
    assert (whole["missing"], whole["unlabelled"]) == (0, 0)
    with pytest.raises(ValueError, match="question 1: 1 log-likelihoods, 2 choices"):
        summarise_choices(questions, {"1": [[-1.0]]})
