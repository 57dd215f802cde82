"""What an answer places in the slots of the labels, and how it breaks the contract."""

import pytest

from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import Question
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.evaluation.read_answer import read_answer, summarise_readings

REFERENCE = "# A day out\nMuch to see.\n### Boats\nTwo boats came.\nIMAGE_1\n### Kites\nFive kites flew.\nIMAGE_2"
IMAGES = (Image("5/0.jpg", "image/5/0.jpg"), Image("5/1.jpg", "image/5/1.jpg"))
QUESTION = Question("1", ("IMAGE_1: ", IMAGES[0], "IMAGE_2: ", IMAGES[1], "Tell it."), REFERENCE)


def placed(answer: str, question: Question = QUESTION) -> dict[int, str]:
    return dict(read_answer(answer, question, "before").placed)


def test_placements_are_read_in_the_slots_of_the_labels() -> None:
    assert placed(REFERENCE) == {2: "5/0.jpg", 3: "5/1.jpg"}
    assert dict(read_answer(REFERENCE, QUESTION, "after").placed) == {2: "5/0.jpg", 3: "5/1.jpg"}
    longer = Question("1", QUESTION.prompt, REFERENCE.replace("Much to see.", "Much to see.\nAnd to hear."))
    assert placed(longer.reference, longer) == {2: "5/0.jpg", 3: "5/1.jpg"}
    assert dict(read_answer(longer.reference, longer, "after").placed) == {3: "5/0.jpg", 4: "5/1.jpg"}


def test_a_perfect_answer_in_other_words_is_perfect() -> None:
    for answer in (
        REFERENCE.replace(".", ""),
        REFERENCE.replace("IMAGE_", "§").upper().replace("§", "IMAGE_"),
        REFERENCE.replace("came", "arrived").replace("flew", "soared"),
        "# A day out\nMuch to see.\n### Kites\nFive kites flew.\nIMAGE_2\n### Boats\nTwo boats came.\nIMAGE_1",
    ):
        reading = read_answer(answer, QUESTION, "before")
        labels = {"1": {1: {}, 2: {"5/0.jpg": 3}, 3: {"5/1.jpg": 3}}}
        assert summarise(labels, {"1": reading.placed})["f1"] == 1
        assert reading.aligned == 1


def test_breaches_are_counted() -> None:
    answer = (
        "# A day out\nMuch to see.\nIMAGE_9\n### Boats\nTwo boats came.\nIMAGE_1\nIMAGE_2\n"
        "### Kites\nFive kites IMAGE_1 flew."
    )
    reading = read_answer(answer, QUESTION, "before")
    assert reading.references == ("IMAGE_9", "5/0.jpg", "5/1.jpg", "5/0.jpg")
    assert (reading.unknown, reading.repeated, reading.misplaced) == (1, 1, 2)
    assert dict(reading.placed) == {2: "5/0.jpg", 3: "5/0.jpg"}
    counts = summarise_readings({"1": reading}, {"1": QUESTION})
    assert counts["references"] == {"written": 4, "counted": 2, "unknown": 1, "repeated": 1, "misplaced": 2}


@pytest.mark.parametrize("answer", ["", "I am sorry.\nIMAGE_1", "# Bread\nMix flour and water.\nIMAGE_2"])
def test_an_answer_about_something_else_places_nothing(answer: str) -> None:
    reading = read_answer(answer, QUESTION, "before")
    assert not reading.placed and reading.aligned == 0


def test_part_of_the_answer_is_read_and_told() -> None:
    reading = read_answer("### Kites\nFive kites flew.\nIMAGE_1", QUESTION, "before")
    assert dict(reading.placed) == {3: "5/0.jpg"}
    assert reading.aligned == pytest.approx(1 / 3)


def test_the_order_of_images_is_compared_with_the_reference() -> None:
    swapped = REFERENCE.replace("IMAGE_1", "§").replace("IMAGE_2", "IMAGE_1").replace("§", "IMAGE_2")
    readings = {"right": read_answer(REFERENCE, QUESTION, "after"), "swapped": read_answer(swapped, QUESTION, "after")}
    scores = {name: summarise_readings({name: reading}, {name: QUESTION}) for name, reading in readings.items()}
    assert [scores["right"][key] for key in ("edit_score", "kendall_score", "aligned")] == [1, 1, 1]
    assert [scores["swapped"][key] for key in ("edit_score", "kendall_score", "aligned")] == [0, 0, 1]
    assert scores["right"]["images_per_section"] == pytest.approx(2 / 3)
    assert summarise_readings({}, {})["aligned"] is None
