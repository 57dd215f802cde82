"""Labels from where documents show their images: the right section, nothing invented, everything counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageref_ray.commands.cli import main
from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import Question, read_labels
from imageref_ray.evaluation.layout_labels import Layout, layout_labels
from imageref_ray.picturenews import corpus

REFERENCE = """# The fair
News of the fair in Elm.
IMAGE_2
### The boats
Ada Falk painted two red boats.
### The mayor
Ivo Maier opened the fair with a speech."""
BOATS = "At noon, people say, it was Ada Falk who painted two red boats."
LONG = f"{'The weather stayed mild and nobody was in a hurry at all. ' * 8}{BOATS} Many took photographs of it."


def image(k: int) -> Image:
    return Image(f"5/{k}.jpg", f"image/5/{k}.jpg")


def of(*parts: str | Image, reference: str = REFERENCE) -> Layout:
    return layout_labels({"17": Question("17", parts, reference)})


def test_an_image_belongs_to_the_section_that_says_what_the_paragraph_before_it_says() -> None:
    made = of(f"What happened?\n# News\n{BOATS}\nIMAGE_1: ", image(0), "\nIvo Maier opened the fair with a speech.")
    assert made == Layout({"17": {1: {}, 2: {"5/0.jpg": 3}, 3: {}}}, images=1, alone=0, unlike=0)


def test_the_paragraph_after_it_counts_where_a_header_is_before() -> None:
    made = of("# News\nIMAGE_1: ", image(0), "\nIvo Maier opened the fair with a long speech.")
    assert made.labels == {"17": {1: {}, 2: {}, 3: {"5/0.jpg": 3}}}


def test_one_sentence_of_a_long_paragraph_is_enough() -> None:
    assert of(f"# News\n{LONG}\nIMAGE_1: ", image(0)).labels == {"17": {1: {}, 2: {"5/0.jpg": 3}, 3: {}}}


def test_images_in_a_row_share_a_paragraph() -> None:
    made = of(f"# News\n{BOATS}\nIMAGE_1: ", image(0), "\nIMAGE_2: ", image(1))
    assert made.labels["17"][2] == {"5/0.jpg": 3, "5/1.jpg": 3}


def test_what_finds_no_section_is_counted_and_leaves_an_event_without_labels() -> None:
    nothing = "Trains between the two towns will not run on Sundays."
    assert of(f"# News\n{nothing}\nIMAGE_1: ", image(0)) == Layout({}, images=1, alone=0, unlike=1)
    assert of("# News\nIMAGE_1: ", image(0), "\n# Other news\nText.") == Layout({}, images=1, alone=1, unlike=0)
    assert of(f"{BOATS}\nIMAGE_1: ", image(0), reference="No header at all.") == Layout({}, 1, 0, 1)


def test_four_of_five_labels_of_a_known_world_are_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus.write(tmp_path, 24, 3)
    out = tmp_path / "layout.csv"
    assert main(["labels", "layout", "--data", str(tmp_path / "annotation.plain.jsonl"), "--out", str(out)]) == 0
    assert f"{out}: 24 of 24 events, " in capsys.readouterr().out
    made, truth = read_labels(out), read_labels(tmp_path / "label.csv")
    given = [(id, slot, image) for id, slots in made.items() for slot, fits in slots.items() for image in fits]
    right = sum(truth[id].get(slot, {}).get(image) == 3 for id, slot, image in given)
    wanted = sum(value == 3 for slots in truth.values() for fits in slots.values() for value in fits.values())
    assert right / len(given) > 0.75 and right / wanted > 0.8
    assert {id: set(slots) for id, slots in made.items()} == {id: set(slots) for id, slots in truth.items()}


def test_a_file_in_which_no_image_can_be_labelled_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "annotation.jsonl"
    data.write_text(
        '{"id": "1", "image": ["5/0.jpg"], "conversations": [{"from": "human", "value": "IMAGE_1: <image>"}, '
        '{"from": "gpt", "value": "# A title\\nAnd a text."}]}\n'
    )
    assert main(["labels", "layout", "--data", str(data), "--out", str(tmp_path / "label.csv")]) == 2
    assert "none of 1 images stands beside a paragraph" in capsys.readouterr().err
    assert not (tmp_path / "label.csv").exists()
