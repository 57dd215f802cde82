"""The order of images: values worked out by hand, and what must hold for any."""

import itertools
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.evaluation.sequence_metrics import edit_score, kendall_score, levenshtein


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

    assert levenshtein(a, b) == distance(len(a), len(b))


def test_a_reversed_order_is_the_complement() -> None:
    for order in itertools.permutations("abcd"):
        assert kendall_score(order, "abcd") + kendall_score(order[::-1], "abcd") == pytest.approx(1)
