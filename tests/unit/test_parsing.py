"""Replies as models write them, and replies as nobody should: a value or a ParseError, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core import markdown
from imageref_ray.core.records import Placement
from imageref_ray.engines.base import Guide
from imageref_ray.engines.reasoning import answer
from imageref_ray.stages import guided_decode, parsing, place
from imageref_ray.stages.parsing import ParseError

IMAGES = ("7/0.jpg", "7/1.jpg", "8/0.jpg")


def reply(*chosen: tuple[Any, Any]) -> str:
    return json.dumps({"predictions": [{"position": position, "image": image} for position, image in chosen]})


def placed(text: str, slots: int = 3, images: tuple[str, ...] = IMAGES) -> list[str | None]:
    placements = parsing.placement(text, images, slots)
    assert [placement.slot for placement in placements] == list(range(1, slots + 1))
    return [placement.image_id for placement in placements]


def test_the_samples_beside_the_parsers_parse() -> None:
    assert parsing.response(parsing.RESPONSE_SAMPLE) == (
        "# A harbour festival in Velmora\nBoats, music and a new pier.\n### The boats\nMara Holt showed two boats."
    )
    assert parsing.caption(parsing.CAPTION_SAMPLE) == ("Two red boats at the harbour in Velmora, painted by Mara Holt.")
    assert parsing.placement(parsing.PLACEMENT_SAMPLE, IMAGES, 2) == (
        Placement(1, None, "the overview", "nothing fits"),
        Placement(2, "7/0.jpg", "the boats", "shows them"),
    )
    assert parsing.qa(parsing.QA_SAMPLE) == parsing.QA("What colour are the boats?", "Red.")


def test_a_slot_without_an_entry_stays_empty() -> None:
    assert placed(reply(("<Position 2>", "IMAGE_3"))) == [None, "8/0.jpg", None]


def test_numbers_outside_the_sample_are_rejected() -> None:
    wrong = reply(("<Position 1>", "IMAGE_0"), ("<Position 2>", "IMAGE_4"), ("<Position 3>", "IMAGE_1"))
    assert placed(wrong) == [None, None, "7/0.jpg"]
    assert placed(reply(("<Position 4>", "IMAGE_1"), ("<Position 1>", "IMAGE_1"))) == ["7/0.jpg", None, None]


def test_an_image_is_placed_once_and_the_first_wins_also_under_another_number() -> None:
    twice = reply(("<Position 1>", "IMAGE_1"), ("<Position 2>", "IMAGE_2"), ("<Position 3>", "IMAGE_3"))
    assert placed(twice, images=("7/0.jpg", "8/0.jpg", "7/0.jpg")) == ["7/0.jpg", "8/0.jpg", None]


def test_a_repeated_slot_keeps_its_first_entry() -> None:
    again = reply(("<Position 1>", "Not Insert"), ("<Position 1>", "IMAGE_1"), ("<Position 2>", "IMAGE_2"))
    assert placed(again) == [None, "7/1.jpg", None]


@pytest.mark.parametrize(
    "text", ["", "no JSON here", "{broken", '{"predictions": 3}', '{"predictions": []}', "[" * 9999]
)
def test_a_reply_without_placements_is_a_parse_error_that_shows_its_beginning(text: str) -> None:
    with pytest.raises(ParseError, match=r"placement|JSON") as error:
        parsing.placement(text, IMAGES, 2)
    assert repr(text[:20])[1:-1] in str(error.value)


def test_a_bare_list_and_text_around_the_json_are_tolerated() -> None:
    assert placed('Sure: [{"position": "Position 1", "image": "[IMAGE_2]"}] Done.') == ["7/1.jpg", None, None]


@pytest.mark.parametrize(
    "written",
    [
        *(
            "IMAGE_2",
            "image_2",
            "**IMAGE_2**",
            "`Image_2`",
            "[IMAGE_2]",
            "ＩＭＡＧＥ＿２",
            "【IMAGE_2】",
            r"IMAGE\_2",
            "IMAGE_2.",
        ),
        *("![the pier](IMAGE_2)", "[the pier](image_2)", "[IMAGE_2](https://example.org)", '<img src="IMAGE_2">'),
    ],
)
def test_an_image_is_read_in_any_case_width_and_wrapping(written: str) -> None:
    read = parsing.predictions(reply(("<Position 1>", written)), IMAGES)
    assert (read.by_slot[1].image_id, read.unknown, read.unread) == ("7/1.jpg", 0, 0)


@pytest.mark.parametrize("written", ["Not Insert", "not_insert", "`Not Insert`", "None", "null", "NULL.", None])
def test_only_what_says_so_is_no_image(written: str | None) -> None:
    read = parsing.predictions(reply(("<Position 1>", written)), IMAGES)
    assert (read.by_slot[1].image_id, read.unknown, read.unread) == (None, 0, 0)


@pytest.mark.parametrize(
    "written", ["", "the pier", "IMAGE_1 or IMAGE_2", "not IMAGE_1", "Image 1", 1, 0, False, [], {}]
)
def test_what_is_not_decided_is_unread_and_never_no_image(written: Any) -> None:
    decided = ("<Position 2>", "IMAGE_1")
    read = parsing.predictions(reply(("<Position 1>", written), decided), IMAGES)
    assert (list(read.by_slot), read.unknown, read.unread) == ([2], 0, 1)
    with pytest.raises(ParseError, match="no entry with a slot and an image or none"):
        parsing.predictions(reply(("<Position 1>", written)), IMAGES)


def test_predictions_may_be_empty_and_count_images_that_do_not_exist_and_slots_that_do_not() -> None:
    assert parsing.predictions('{"predictions": []}', IMAGES) == parsing.Predictions({}, 0, 0)
    strange = reply(
        ("<Position 0>", "IMAGE_1"), ("<Position 1>", "IMAGE_9"), ("＜Position １＞", "IMAGE_1"), ("9" * 5000, "none")
    )
    read = parsing.predictions(strange, IMAGES)
    assert ({slot: entry.image_id for slot, entry in read.by_slot.items()}, read.unknown, read.unread) == (
        {1: "7/0.jpg"},
        1,
        2,
    )


def test_a_response_needs_a_title_and_text() -> None:
    for text in ("", "Just text.", "### Section\nText.", "# Only\n### Headers"):
        with pytest.raises(ParseError, match="the response has"):
            parsing.response(text)


def test_images_a_model_put_into_a_textual_response_are_taken_out() -> None:
    assert parsing.response("# T\nText.\n![x](IMAGE_1)\n") == "# T\nText."


@pytest.mark.parametrize("text", ["", " \n", '""', "Caption:", "```\n\n```", "…"])
def test_an_empty_caption_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError, match="the caption is empty"):
        parsing.caption(text)


def test_questions_are_read_from_one_line_two_lines_chinese_and_json() -> None:
    expected = parsing.QA("How many?", "Two")
    for text in (
        "Question: How many? Answer: Two",
        "**Question:** How many?\n\n**Answer:** Two",
        "问题：How many?\n答案：Two",
        '{"question": "How many?", "answer": "Two"}',
    ):
        assert parsing.qa(text) == expected


def test_the_last_question_of_a_reply_counts() -> None:
    twice = "Question: Old? Answer: No. Question: New?\nAnswer: Yes."
    assert parsing.qa(twice) == parsing.QA("New?", "Yes.")
    assert parsing.qa("A harder question: why?\nAnswer：so.") == parsing.QA("why?", "so.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Question: How many?",
        "How many? Answer: Two",
        "Question: Answer: Two",
        "Question: How many? Answer: ",
        "Question: How many? Answer: Two Answer: Three",
        '{"question": "How many?"}',
        '{"question": 1, "answer": "Two"}',
        "[1]",
    ],
)
def test_anything_but_one_question_with_one_answer_is_a_parse_error(text: str) -> None:
    with pytest.raises(ParseError, match="reply"):
        parsing.qa(text)


def mangled(sample: str) -> st.SearchStrategy[str]:
    """The sample cut, doubled, with a stretch replaced, or plain noise."""
    places = st.integers(0, len(sample))
    noise = st.text(max_size=20) | st.sampled_from(
        ["```", '"', "{", "}]", "IMAGE_99", "<Position 0>", "null", "9" * 5000]
    )
    replaced = st.tuples(places, places, noise).map(lambda cut: sample[: cut[0]] + cut[2] + sample[cut[1] :])
    return st.one_of(replaced, replaced.map(lambda text: text + sample), noise)


def value_or_parse_error(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ParseError:
        return None


@given(mangled(parsing.RESPONSE_SAMPLE))
def test_any_reply_is_a_response_with_a_title_and_without_images_or_a_parse_error(text: str) -> None:
    value = value_or_parse_error(parsing.response, text)
    assert value is None or (value.startswith("# ") and not markdown.references(value))


@given(mangled(parsing.CAPTION_SAMPLE))
def test_any_reply_is_a_one_line_caption_or_a_parse_error(text: str) -> None:
    value = value_or_parse_error(parsing.caption, text)
    assert value is None or (value and value == " ".join(value.split()))


@given(mangled(parsing.PLACEMENT_SAMPLE), st.integers(0, 3))
def test_any_reply_is_a_legal_placement_of_every_slot_or_a_parse_error(text: str, slots: int) -> None:
    value = value_or_parse_error(lambda reply: parsing.placement(reply, IMAGES, slots), text)
    if value is not None:
        assert [placement.slot for placement in value] == list(range(1, slots + 1))
        used = [placement.image_id for placement in value if placement.image_id]
        assert len(set(used)) == len(used) and set(used) <= set(IMAGES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["<Position 1>", "IMAGE_1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["predictions", "position", "image", "analysis"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_placement_or_a_parse_error(data: Any) -> None:
    value = value_or_parse_error(lambda reply: parsing.placement(reply, IMAGES, 2), json.dumps(data))
    assert value is None or len(value) == 2


@given(mangled(parsing.QA_SAMPLE))
def test_any_reply_is_a_full_question_and_answer_or_a_parse_error(text: str) -> None:
    value = value_or_parse_error(parsing.qa, text)
    assert value is None or (value.question.strip() and value.answer.strip())
    assert value is None or "question:" not in f" {value.question} {value.answer} ".lower().split()


@pytest.mark.parametrize(
    "text", [parsing.QA_SAMPLE, "**Question:** Why?\n**Answer:** So. And so.", "问题：什么船？ 回答：红船。"]
)
def test_a_pair_is_known_while_it_is_written(text: str) -> None:
    whole = parsing.qa(text)
    known = [begun for end in range(len(text) + 1) if (begun := parsing.qa_begun(text[:end]))]
    assert known[-1] == whole and known[0] == parsing.QA(whole.question, "")
    assert all(begun.question == whole.question for begun in known)
    assert [len(begun.answer) for begun in known] == sorted(len(begun.answer) for begun in known)
    assert parsing.qa_begun(f"Question: Old? Answer: No. {text}") == whole
    assert parsing.qa_begun("Question: A? Answer: B. Answer: C.") is parsing.qa_begun("Answer: B.") is None


def test_half_a_character_in_a_replys_json_is_a_mark() -> None:
    reply = '{"predictions": [{"position": "<Position 1>", "image": "IMAGE_1", "analysis": "boats \\ud83d"}]}'
    (placed,) = parsing.placement(reply, ["a"], 1)
    assert placed.analysis == "boats \ufffd"


INSTALL = (
    "# Install the pump\nHow to.\n## Software\nRun this:\n```bash\n# update\nnpm i pump\n```\n## Use\nPress start."
)


@pytest.mark.parametrize("language", ["markdown", "md", "", "text"])
@pytest.mark.parametrize("before", ["", "Here is the response:\n", "Of course!\n\n"])
def test_a_response_with_code_in_it_is_the_whole_response(language: str, before: str) -> None:
    assert parsing.response(before + INSTALL) == INSTALL
    assert parsing.response(f"{before}```{language}\n{INSTALL}\n```") == INSTALL
    assert parsing.response(f"{before}~~~~{language}\n{INSTALL}\n~~~~\n\nShall I add pictures?") == INSTALL


@pytest.mark.parametrize(
    "around", ["\ufeff{}", "\u200b\n{}\u2060", "<response>{}</response>", "<Answer>\n\n{}\n</Answer>\n"]
)
@pytest.mark.parametrize("fence", ["{}", "```markdown\n{}\n```"])
def test_what_stands_around_a_response_is_no_part_of_it(around: str, fence: str) -> None:
    text = "# T\nText.\n\n```xml\n<response>\n```\nMore."
    assert parsing.response(around.format(fence.format(text))) == text
    inside = "# T\n\n<response>\nText.\n</response>"
    assert parsing.response(inside) == inside


def test_a_comment_in_code_is_no_title() -> None:
    assert parsing.response("First:\n```\n# update\nnpm i\n```\n# Pumps\nText.") == "# Pumps\nText."
    with pytest.raises(ParseError, match="no title"):
        parsing.response("```bash\n# update\nnpm i\n```")


@pytest.mark.parametrize(
    "text",
    [
        "{'question': 'How many?', 'answer': 'Two'}",
        '```json\n{question: "How many?", answer: "Two",}\n```',
        "Of [1] and [2]: {“question”: “How many?”, “answer”: “Two”} // done",
    ],
)
def test_a_question_in_broken_json_is_read_where_it_can_mean_one_thing(text: str) -> None:
    assert parsing.qa(text) == parsing.QA("How many?", "Two")


def test_an_answer_may_be_code() -> None:
    read = parsing.qa("Question: Which loop? Answer:\n```python\nfor x in y: pass\n```")
    assert read == parsing.QA("Which loop?", "```python\nfor x in y: pass\n```")
    assert parsing.qa("```\nQuestion: How many?\nAnswer: Two\n```") == parsing.QA("How many?", "Two")


def test_predictions_are_found_behind_other_lists() -> None:
    text = "I saw [1] and [IMAGE_2]. {'predictions': [{'position': '<Position 2>', 'image': IMAGE_2, 'why': None},]}"
    assert placed(text) == [None, "7/1.jpg", None]


def json_string(text: str, escaped: str) -> str:
    """A JSON string as a grammar admits it: of its characters, those in `escaped` are written as escapes."""
    units = {char: memoryview(char.encode("utf-16-le")).cast("H") for char in escaped}
    escapes = {char: "".join(f"\\u{unit:04x}" for unit in found) for char, found in units.items()}
    return f'"{"".join(escapes.get(char) or json.dumps(char, ensure_ascii=False)[1:-1] for char in text)}"'


anything = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\`</>{}[]#'), max_size=12) | st.sampled_from(
    ["```", "```json\n", "</think>", "<think>", "Question: Answer:", "# T\n", "} ]", "// no", "IMAGE_2"]
)


@st.composite
def guided(draw: st.DrawFn, slots: int, images: int) -> tuple[str, list[dict[str, str]]]:
    """Any text of the language of `place.guide`, and what it says."""
    choices = [*(f"IMAGE_{k}" for k in range(1, images + 1)), "Not Insert"]
    space = st.sampled_from(["", " ", "\n  ", "\t"])
    said, entries = [], []
    for slot in range(1, slots + 1):
        values = {"position": f"<Position {slot}>", "analysis": draw(anything)}
        values |= {"image": draw(st.sampled_from(choices)), "explanation": draw(anything)}
        fields = []
        for name, value in values.items():
            free = name in ("analysis", "explanation")
            written = json_string(value, draw(st.text(st.sampled_from("aé😀<`"))) if free else "")
            fields.append(f'{draw(space)}"{name}"{draw(space)}:{draw(space)}{written}')
        said.append(values)
        entries.append("{" + ",".join(fields) + draw(space) + "}")
    return "{" + f'"predictions": [{",".join(entries)}]' + draw(space) + "}", said


@given(guided(2, 3), st.sampled_from(["", "Here:\n```json\n"]), st.sampled_from(["", "\n```"]))
def test_what_the_guide_admits_the_parser_reads(
    written: tuple[str, list[dict[str, str]]], before: str, after: str
) -> None:
    text, said = written
    json_guide = place.guide(2, 3)
    jsonschema.validate(json.loads(text), json_guide.value)
    text = answer(text, json_guide)  # nothing that its guide admits is taken for reasoning
    read = parsing.predictions(before + text + after, IMAGES, 2)
    assert (read.unknown, read.unread) == (0, 0)
    seen: set[str] = set()
    for entry, found in zip(said, read.by_slot.values(), strict=True):
        image = None if entry["image"] == "Not Insert" else IMAGES[int(entry["image"][-1]) - 1]
        assert found.image_id == (None if image in seen else image)
        seen |= {image} if image else set()
        assert (found.analysis, found.explanation) == tuple(
            entry[name].replace("\0", "\ufffd") for name in ("analysis", "explanation")
        )


@given(st.data(), st.sampled_from(["plain", "caption"]))
def test_what_the_pattern_of_a_slot_admits_is_one_image_or_none(data: st.DataObject, variant: Any) -> None:
    pattern = guided_decode.pattern([1, 3], ["###", "The"], variant)
    text = data.draw(st.from_regex(pattern, fullmatch=True))
    chosen = guided_decode._choice(answer(text, Guide("regex", pattern)), [1, 3])
    assert chosen == (3 if "IMAGE_3" in text[-11:] else 1 if "IMAGE_1" in text[-11:] else 0)


@pytest.mark.parametrize("unit", ["{", "[", "`", "```\n", "# ", "Question:", '"', "“", "IMAGE_1", "\ud83d"])
def test_a_long_row_of_anything_is_a_value_or_a_parse_error(unit: str) -> None:
    text = unit * (2 ** (20 if unit in ("{", "[", "`") else 16) // len(unit))
    value_or_parse_error(parsing.response, text)
    value_or_parse_error(parsing.caption, text)
    value_or_parse_error(parsing.qa, text)
    value_or_parse_error(lambda reply: parsing.predictions(reply, IMAGES), text)
