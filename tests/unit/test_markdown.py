"""The reference grammar: rendering, slots, conversion between policies, image lines, the contract."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core import markdown
from imageref_ray.core.records import Document, Image, Sample

RESPONSE = "# Title\nOverview.\n### One\nFirst.\nSecond.\n### Empty\n### Two\nThird."
# before-content slots: Title 1, One 2, Empty 3, Two 4; after-content slots: Overview 1, First 2, Second 3, Third 4


def image(document: str, index: int, sha256: str = "aa") -> Image:
    return Image(f"{document}/{index}.jpg", f"/{document}/{index}.jpg", sha256)


def document(text: str, images: int = 2, name: str = "7") -> Document:
    return Document(name, "A title", text, tuple(image(name, index) for index in range(images)))


def sample(images: int = 3) -> Sample:
    return Sample("s", "Tell me.", (document("", 1, "7"), document("", images - 1, "8")))


headers = st.sampled_from(["# Title", "### One", "### Two", "## 三"])
contents = st.sampled_from(["Overview.", "A paragraph.", "第二段。", "Same.", "Another [one] (here)."])
responses = st.lists(st.one_of(headers, contents), min_size=1, max_size=12).map("\n".join)


def test_render_names_known_images_and_drops_markers_of_unknown_ones_and_empty_lines() -> None:
    text = "  First. \n\n[Image 1]\n[Image 9]\nSecond [Image 0] ends.\r\n"
    assert markdown.render(document(text)) == "# A title\nFirst.\nSecond  ends."
    named = markdown.render(document(text), lambda found: f"<{found.id}>")
    assert named == "# A title\nFirst.\n<7/1.jpg>\nSecond <7/0.jpg> ends."


def test_pieces_hold_every_image_once_at_its_first_marker_or_at_the_end() -> None:
    found = document("[Image 1]\nText.\n[Image 1]\nMore.", images=3)
    first, second, third = found.images
    assert markdown.pieces(found) == ("# A title\n", second, "\nText.\nMore.", "\n", first, "\n", third)


def test_numbers_run_over_all_documents_of_a_sample_from_one() -> None:
    assert markdown.image_numbers(sample(4)) == {"7/0.jpg": 1, "8/0.jpg": 2, "8/1.jpg": 3, "8/2.jpg": 4}


def test_slots_stand_after_headers_or_after_content() -> None:
    assert markdown.slots(RESPONSE, "before") == [0, 2, 5, 6]
    assert markdown.slots(RESPONSE, "after") == [1, 3, 4, 7]
    assert markdown.with_slots("# T\nO.\n\n### H\nP.", "before") == "# T\n<Position 1>\nO.\n### H\n<Position 2>\nP."
    assert markdown.with_slots("# T\nO.\n### H\nP.", "after") == "# T\nO.\n<Position 1>\n### H\nP.\n<Position 2>"


def test_a_headers_slot_moves_behind_its_first_paragraph_not_to_the_same_index() -> None:
    assert markdown.convert({1: "a", 2: "b", 4: "d"}, RESPONSE, "before", "after") == {1: "a", 2: "b", 4: "d"}
    text = "# T\nO.\n### One\nA.\nB.\nC.\n### Two\nD."
    assert markdown.convert({2: "b", 3: "c"}, text, "before", "after") == {2: "b", 5: "c"}
    assert markdown.convert({2: "b", 5: "c"}, text, "after", "before") == {2: "b", 3: "c"}
    assert markdown.convert({3: "later", 2: "first"}, text, "after", "before") == {2: "first"}


def test_an_empty_sections_image_gives_way_to_the_next_sections_own() -> None:
    assert markdown.convert({3: "c"}, RESPONSE, "before", "after") == {4: "c"}
    assert markdown.convert({3: "c", 4: "d"}, RESPONSE, "before", "after") == {4: "d"}
    assert markdown.convert({2: "b"}, "# T\nO.\n### Last", "before", "after") == {}


def test_a_slot_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="slot 5 does not exist: the text has 4 slots"):
        markdown.convert({5: "a"}, RESPONSE, "after", "before")


@given(st.lists(st.tuples(headers, st.lists(contents, min_size=1, max_size=3)), min_size=1, max_size=5), st.data())
def test_conversion_there_and_back_is_lossless_where_every_header_has_content(
    sections: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    text = "\n".join(line for header, paragraphs in sections for line in (header, *paragraphs))
    some = data.draw(st.dictionaries(st.integers(1, len(sections)), st.integers(1, 9)))
    there = markdown.convert(some, text, "before", "after")
    assert len(there) == len(some)
    assert markdown.convert(there, text, "after", "before") == some


@given(responses, st.data())
def test_what_is_put_in_is_found_legal_read_back_and_taken_out_again(text: str, data: st.DataObject) -> None:
    count = len(markdown.slots(text, "after"))
    ks = data.draw(st.lists(st.integers(1, 20), unique=True, max_size=count))
    places = data.draw(st.permutations(range(1, count + 1)))
    chosen = dict(zip(places, ks, strict=False))
    captions = data.draw(st.dictionaries(st.sampled_from(ks), st.text(max_size=20))) if ks else {}
    answer = markdown.insert(text, chosen, "after", captions)
    assert {ref.slot: ref.k for ref in markdown.references(answer)} == chosen
    assert markdown.extract_placements(text, answer) == chosen
    assert markdown.strip_images(answer) == text
    assert markdown.check(answer, sample(20)) == []


def test_insert_writes_the_image_after_the_first_paragraph_and_keeps_captions_on_one_line() -> None:
    answer = markdown.insert("# T\nO.\n### H\nA.\nB.", {1: 2, 2: 1}, "before", {1: "Boats [two]\nat sea"})
    assert answer == "# T\nO.\nIMAGE_2\n### H\nA.\n![Boats (two) at sea](IMAGE_1)\nB."


def test_references_are_found_in_chinese_text_and_not_inside_other_words() -> None:
    found = markdown.references("# 题\n见IMAGE_2。\n![图](IMAGE_1)\nMY_IMAGE_3 IMAGE_4x")
    assert [(ref.k, ref.caption, ref.slot, ref.line) for ref in found] == [(2, "", 0, 1), (1, "图", 1, 2)]


def test_images_inside_a_line_are_cut_out_of_it() -> None:
    text = "# T\nAs ![x](IMAGE_1) shows, IMAGE_2 too. ![y](http://a/b.png)\nIMAGE_3"
    assert markdown.strip_images(text) == "# T\nAs shows, too."


@given(st.text(alphabet="![]()IMAGE_12 #a\n", max_size=60))
def test_no_reference_survives_stripping(answer: str) -> None:
    assert markdown.references(markdown.strip_images(answer)) == []


def test_an_answer_that_keeps_the_contract_has_no_breach() -> None:
    assert markdown.check("# T\nO.\nIMAGE_3\n### H\nP.\n![c](IMAGE_1)", sample()) == []


@pytest.mark.parametrize(
    ("answer", "kinds", "says"),
    [
        ("# T\nO.\nIMAGE_4", ["exists"], "the sample has 3 images"),
        ("# T\nO.\nIMAGE_0", ["exists"], "IMAGE_0 on line 3 does not exist"),
        ("# T\nIMAGE_1\nO.", ["slot"], "right after a paragraph"),
        ("IMAGE_1\n# T\nO.", ["slot"], "on line 1"),
        ("# T\nO. IMAGE_1", ["slot"], "right after a paragraph"),
        ("# T\nO.\nIMAGE_1\nIMAGE_2", ["slot"], "IMAGE_2 on line 4"),
        ("# T\nO.\nIMAGE_1 IMAGE_2", ["slot", "slot"], "the only image line"),
        ("# T\nO.\nIMAGE_1\nP.\n![c](IMAGE_1)", ["once"], "was used before"),
        ("# T\nO.\n![c](http://elsewhere/x.png)", ["source"], "not one of the sample's images"),
    ],
)
def test_every_breach_is_reported_with_a_sentence(answer: str, kinds: list[str], says: str) -> None:
    breaches = markdown.check(answer, sample())
    assert [breach.kind for breach in breaches] == kinds
    assert says in breaches[-1].message and breaches[-1].message.endswith(".")


def test_an_image_without_hash_or_under_a_foreign_document_cannot_be_traced_back() -> None:
    unhashed = Sample("s", "", (Document("7", "T", "", (image("7", 0, sha256=""),)),))
    foreign = Sample("s", "", (Document("8", "T", "", (image("7", 0),)),))
    assert [b.message for b in markdown.check("# T\nO.\nIMAGE_1", unhashed)] == [
        "IMAGE_1 on line 3 (7/0.jpg) cannot be traced back: it has no sha256."
    ]
    assert [b.kind for b in markdown.check("# T\nO.\nIMAGE_1", foreign)] == ["source"]


def test_one_image_under_two_numbers_is_used_once() -> None:
    twice = Sample("s", "", (Document("7", "T", "", (image("7", 0),)), Document("7", "T", "", (image("7", 0),))))
    assert [b.kind for b in markdown.check("# T\nO.\nIMAGE_1\nP.\nIMAGE_2", twice)] == ["once"]


def test_a_lost_paragraph_loses_its_slot_and_no_other() -> None:
    reference = "# T\nOne.\n### A\nTwo.\n### B\nThree."
    decoded = "# T\nOne.\nIMAGE_1\n### A\nSomething else.\nIMAGE_2\n### B\nThree.\nIMAGE_3"
    assert markdown.extract_placements(reference, decoded) == {1: 1, 3: 3}


def test_an_image_after_a_lost_line_is_not_credited_to_the_slot_before_it() -> None:
    assert markdown.extract_placements("# T\nOne.\nTwo.", "# T\nOne.\nChanged.\nIMAGE_2") == {}
    assert markdown.extract_placements("# T\nOne.\nTwo.\nThree.", "One.\nIMAGE_1\nChanged.\nIMAGE_2\nThree.") == {1: 1}


def test_what_follows_the_last_slot_runs_to_the_end() -> None:
    assert markdown.extract_placements("# T\nOne.", "# T\nOne.\nIn closing, more words.\n![c](IMAGE_5)") == {1: 5}


def test_repeated_paragraphs_are_read_in_order_even_where_the_first_is_lost() -> None:
    reference = "# T\nSame.\n### A\nOther.\n### B\nSame."
    assert markdown.extract_placements(reference, "# T\nSame.\n### A\nOther.\nIMAGE_1\n### B\nSame.\nIMAGE_2") == {
        2: 1,
        3: 2,
    }
    assert markdown.extract_placements(reference, "# T\n### A\nOther.\nIMAGE_1\n### B\nSame.\nIMAGE_2") == {2: 1, 3: 2}


def test_the_first_image_at_a_slot_counts_and_an_unreadable_text_is_an_empty_answer() -> None:
    assert markdown.extract_placements("# T\nOne.", "# T\nOne.   ![a](IMAGE_2) IMAGE_3\nIMAGE_1") == {1: 2}
    assert markdown.extract_placements("# T\nOne.", "") == {}
