"""Images of a free answer are read at the sections they are in, whatever became of the wording and the order."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core import markdown
from imageref_ray.evaluation.alignment import align, dice
from imageref_ray.picturenews import corpus
from imageref_ray.picturenews.events import make_event, response

EVENTS = [make_event(corpus.SEEDS["test"], number) for number in range(12)]
TEXTS = [response(event) for event in EVENTS]


def answered(text: str) -> tuple[str, dict[int, int]]:
    """The text with an image at every slot, and slot → k."""
    slots = len(markdown.slots(text, "after"))
    chosen = {slot: slot for slot in range(1, slots + 1)}
    return markdown.insert(text, chosen, "after"), chosen


def placed(reference: str, answer: str) -> dict[int, int]:
    return {slot: ks[0] for slot, ks in align(reference, answer).images.items()}


@pytest.mark.parametrize("text", TEXTS)
def test_an_equal_text_is_read_slot_by_slot(text: str) -> None:
    answer, chosen = answered(text)
    found = align(text, answer)
    assert {slot: ks[0] for slot, ks in found.images.items()} == chosen
    assert found.found == found.sections and not found.lost


CHANGES = {
    "no full stops": lambda line, rng: line.replace(".", ""),
    "upper case": lambda line, rng: line if line.startswith("IMAGE") else line.upper(),
    "wide letters": lambda line, rng: line if line.startswith("IMAGE") else line.replace("a", "ａ"),
    "one word less": lambda line, rng: without_a_word(line, rng),
    "one word changed": lambda line, rng: without_a_word(line, rng, "something"),
}


def without_a_word(line: str, rng: random.Random, instead: str = "") -> str:
    words = line.split()
    if line.startswith(("IMAGE", "#")) or len(words) < 3:
        return line
    words[rng.randrange(len(words))] = instead
    return " ".join(filter(None, words))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("text", TEXTS)
def test_small_changes_in_every_line_lose_nothing(text: str, change: str) -> None:
    answer, chosen = answered(text)
    rng = random.Random(3)
    changed = "\n".join(CHANGES[change](line, rng) for line in answer.split("\n"))
    assert placed(text, changed) == chosen


@pytest.mark.parametrize("text", TEXTS)
def test_sections_are_found_in_any_order(text: str) -> None:
    answer, chosen = answered(text)
    title, *rest = re.split(r"\n(?=###)", answer)
    assert placed(text, "\n".join([title, *reversed(rest)])) == chosen


@pytest.mark.parametrize("text", TEXTS)
def test_unrelated_text_places_nothing(text: str) -> None:
    recipe = "# Sourdough\nMix flour, salt and water.\nIMAGE_1\n### Baking\nForty minutes in a hot oven.\nIMAGE_2"
    found = align(text, recipe)
    assert (found.images, found.lost, found.found) == ({}, (1, 2), 0)


def test_chinese_sections_are_told_apart() -> None:
    text = "# 港口节\n两条船进港。\n### 船只\n两条红船停在码头。\n### 市场\n市场卖鱼和面包。"
    answer = "# 港口节\n两条船进港\n### 市场\n市场里卖鱼和面包\nIMAGE_2\n### 船只\n两条红船停靠在码头\nIMAGE_1"
    assert placed(text, answer) == {2: 1, 3: 2}


def test_images_of_more_paragraphs_than_the_reference_has_go_to_its_last() -> None:
    text = "# T\nOverview of the day.\n### Boats\nTwo red boats came in."
    answer = "# T\nIMAGE_3\nOverview of the day.\n### Boats\nTwo red boats came in.\nIMAGE_1\nThey left again.\nIMAGE_2"
    assert align(text, answer).images == {1: (3,), 2: (1, 2)}


@given(st.text(max_size=40), st.text(max_size=40))
def test_likeness_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert dice(a, b) == dice(b, a)
    assert 0 <= dice(a, b) <= 1
    assert dice(a, a) == 1


@given(st.text(alphabet="#IMAGE_1 \nab", max_size=60), st.text(alphabet="#IMAGE_1 \nab", max_size=60))
def test_any_texts_align_and_no_image_is_lost_without_being_named(reference: str, answer: str) -> None:
    found = align(reference, answer)
    written = sorted(one.k for one in markdown.references(answer))
    read = sorted([*found.lost, *(k for ks in found.images.values() for k in ks)])
    assert read == written
    assert all(1 <= slot <= len(markdown.slots(reference, "after")) for slot in found.images)
