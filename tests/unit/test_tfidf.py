"""The nearest of a few known texts, the same on every machine."""

import pytest

from imageref_ray.stages.prompts.tfidf import index, nearest, words

TEXTS = (
    "The crew rowed the boats over the water to the harbour.",
    "The kites flew over the hill and the children ran.",
    "The market sold fish, bread and flowers.",
)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("A harbour with boats and a crew", (0, 2, 1)),
        ("Children with kites at the market", (1, 2, 0)),
        ("FISH! Flowers, and bread.", (2, 1, 0)),
        ("nothing in common", (0, 1, 2)),
        ("", (0, 1, 2)),
    ],
)
def test_texts_with_rarer_words_in_common_come_first_and_ties_keep_their_order(
    text: str, order: tuple[int, ...]
) -> None:
    known = index(TEXTS)
    assert nearest(known, text, 3) == order
    assert nearest(known, text, 1) == order[:1]
    assert nearest(known, text, 9) == order


def test_texts_of_the_same_words_are_equally_like_however_their_sums_are_rounded() -> None:
    turned = ("crew kites bread bread rain market market", "bread kites market market rain bread crew")
    known = index(
        [*turned, "crew market boats", "boats rain market harbour", "bread market fish crew harbour", "kites"]
    )
    assert nearest(known, "crew kites bread bread", 2) == (0, 1)


def test_a_word_that_all_share_decides_nothing() -> None:
    known = index(["the the the boats", "the kites"])
    assert nearest(known, "the the the the kites", 1) == (1,)
    assert "the" not in known.rarity


def test_a_long_text_is_not_nearer_for_its_length() -> None:
    known = index(["boats " + " ".join(f"filler{n}" for n in range(99)), "boats ashore", "rain"])
    assert nearest(known, "boats", 1) == (1,)


def test_scripts_without_spaces_are_compared_by_neighbouring_characters() -> None:
    assert words("红色小船，3 Boats") == ["红色", "色小", "小船", "3", "boats"]
    assert words("船 a_b") == ["船", "a", "b"]
    known = index(["木码头边停着红色小船", "山坡上的蓝色风筝", "集市上的鲜花"])
    assert nearest(known, "两只小船停在码头", 1) == (0,)
    assert nearest(known, "孩子们放风筝", 1) == (1,)


def test_one_text_alone_is_the_nearest_and_none_has_none() -> None:
    assert nearest(index(["boats"]), "kites", 2) == (0,)
    assert nearest(index([]), "kites", 2) == ()
