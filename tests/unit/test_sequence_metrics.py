"""The order of images: values worked out by hand, and what must hold for any."""

import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.evaluation.sequence_metrics import (
    edit_distance,
    edit_score,
    kendall_score,
    kendall_script,
    ordering_score,
)


@pytest.mark.parametrize(
    ("images", "truth", "edit", "kendall"),
    [
        ("", "", 1, 1),
        ("abc", "abc", 1, 1),
        ("cba", "abc", 1 / 3, 0),
        ("acb", "abc", 1 / 3, 2 / 3),
        ("ab", "abcd", 0.5, 1),
        ("a", "abcd", 0.25, 0.25),
        ("x", "abcd", 0, 0),
        ("", "ab", 0, 0),
        ("xyab", "ab", 0.5, 1),
        ("axbxc", "cab", 0.2, 1 / 3),
    ],
)
def test_by_hand(images: str, truth: str, edit: float, kendall: float) -> None:
    assert edit_score(images, truth) == pytest.approx(edit)
    assert kendall_score(images, truth) == pytest.approx(kendall)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_distance_is_that_of_the_recursive_definition(a: str, b: str) -> None:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    assert edit_distance(a, b) == distance(len(a), len(b))


def test_a_reversed_order_is_the_complement() -> None:
    for order in itertools.permutations("abcd"):
        assert kendall_score(order, "abcd") + kendall_score(order[::-1], "abcd") == pytest.approx(1)


@pytest.mark.parametrize(
    ("images", "truth", "candidates", "score"),
    [
        ("", "", 5, 1),
        ("", "ab", 5, 0),
        ("ab", "", 5, 0),
        ("abc", "abc", 3, 2 / 3),
        ("abc", "abc", 6, 2 / 3 * 1.25),
        ("cba", "abc", 3, 0),
        ("abx", "abc", 3, 2 / 3 / 3),
        ("ab", "a", 4, 1 / 2 * 1.375 / 1.5),
        ("a", "abcd", 4, 1 / 4 / 1.5),
        ("aab", "ab", 2, 2 / 3 / 1.5),
    ],
)
def test_the_script_s_kendall_score_by_hand(images: str, truth: str, candidates: int, score: float) -> None:
    assert kendall_script(images, truth, candidates) == pytest.approx(score)


@pytest.mark.parametrize(
    ("images", "truth", "score"),
    [
        ("", "", 1),
        ("", "ab", 0),
        ("ab", "", 0),
        ("ab", "ab", 1),
        ("ba", "ab", 1 - 1 / 3),
        ("a", "ab", 1 / 2 * (1 - 3 / 2 / 3)),
        ("abx", "ab", 1 - 2 / 3 / 3),
        ("x", "ab", 0),
        ("axxxxx", "a", 1 - 10 / 6 / 3),
    ],
)
def test_the_ordering_score_by_hand(images: str, truth: str, score: float) -> None:
    assert ordering_score(images, truth) == pytest.approx(score)


@given(st.text("abcd", max_size=6), st.text("abcd", min_size=1, max_size=6), st.integers(0, 20))
def test_every_score_is_between_0_and_1(images: str, truth: str, more: int) -> None:
    candidates = len(set(truth)) + more
    truth = "".join(dict.fromkeys(truth))
    scores = (edit_score(images, truth), kendall_score(images, truth), ordering_score(images, truth))
    assert all(0 <= score <= 1 for score in (*scores, kendall_script(images, truth, candidates)))
