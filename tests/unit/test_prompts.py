"""Prompt packs and their builders, word for word. `python tests/unit/test_prompts.py` rewrites the golden files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core import markdown, tokens
from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Document, Image, Sample
from imageref_ray.engines.base import Message
from imageref_ray.stages import prompts

GOLDEN = Path(__file__).parent / "golden"
BOATS, TENT, LOGO = (Image(f"7/{k}.jpg", f"7/{k}.jpg", str(k)) for k in range(3))
FESTIVAL = Document("7", "Festival", "It rained.\n[Image 0]\nMara came.\n[Image 1]\nIt ended.", (BOATS, TENT, LOGO))
PIER = Document("8", "Pier", "A pier.", ())
SAMPLE = Sample("s", "What happened?", (FESTIVAL, PIER))
RESPONSE = "# Festival\nRain.\n### Mara\nShe came."
CAPTION_EXAMPLE = prompts.CaptionExample(PIER, Image("8/0.jpg", "8/0.jpg"), "a pier", "Photograph: the new pier.")
PLACE_EXAMPLE = prompts.PlaceExample(("A pier.",), "# Pier\nNew.", prompts.predictions([1]))
COMPACT = prompts.load_pack("compact")


def every_task(pack: prompts.Pack) -> dict[str, tuple[Message, ...]]:
    return {
        "describe": prompts.describe(pack, BOATS, [CAPTION_EXAMPLE]),
        "caption": prompts.caption(pack, FESTIVAL, BOATS, "two red boats", [CAPTION_EXAMPLE], 4096),
        "respond": prompts.respond(pack, SAMPLE),
        "place": prompts.place(pack, RESPONSE, ["Boats.", "A tent.", "A logo."], [PLACE_EXAMPLE]),
        "answer": prompts.answer(pack, SAMPLE),
    }


TOLD = dataclasses.replace(
    BOATS,
    uri="7/red_boats-2.jpg",
    alt="two boats",
    title="Red boats 2",
    caption="Figure 1: The race",
    mention="Figure 1 shows\nthe race of Aldmoor.",
)
"""A picture with words of its document; its title is its file's name, which says nothing."""


def transcript(pack: prompts.Pack) -> str:
    out = []
    seen = prompts.place_seen(pack, prompts.answer(pack, SAMPLE, "")[-1].parts, 3, RESPONSE, 0)
    told = prompts.caption(pack, dataclasses.replace(FESTIVAL, images=(TOLD, TENT, LOGO)), TOLD, "two red boats")[-1:]
    tasks = every_task(pack) | ({"caption with words": told} if "{words}" in pack.caption.user else {})
    for task, messages in {**tasks, "place_seen": seen}.items():
        for message in messages:
            text = "".join(part if isinstance(part, str) else f"<image {part.id}>" for part in message.parts)
            out.append(f"===== {task} · {message.role}\n{text}\n")
    return "".join(out)


@pytest.mark.parametrize("name", ["compact", "default-en", "default-zh"])
def test_prompts_are_word_for_word_what_they_were(name: str) -> None:
    assert transcript(prompts.load_pack(name)) == (GOLDEN / f"prompts-{name}.txt").read_text(encoding="utf-8")


def test_the_compact_pack_is_what_the_checkpoint_was_trained_on() -> None:
    parts = {task: [message.parts for message in messages] for task, messages in every_task(COMPACT).items()}
    assert parts == {
        "describe": [(BOATS, "\nDescribe the picture.")],
        "caption": [
            (
                "# Festival\nIt rained.\n",
                BOATS,
                "\nMara came.\nIt ended.\nPicture: two red boats\nCaption the picture.",
            )
        ],
        "respond": [
            ("What happened?\n# Festival\nIt rained.\nMara came.\nIt ended.\n\n# Pier\nA pier.\nWrite the response.",)
        ],
        "place": [
            (
                "IMAGE_1: Boats.\nIMAGE_2: A tent.\nIMAGE_3: A logo.\n# Festival\n<Position 1>\nRain.\n"
                "### Mara\n<Position 2>\nShe came.\nPlace the pictures.",
            )
        ],
        "answer": [
            (
                "What happened?\n# Festival\nIt rained.\nIMAGE_1: ",
                BOATS,
                "\nMara came.\nIMAGE_2: ",
                TENT,
                "\nIt ended.\nIMAGE_3: ",
                LOGO,
                "\n\n# Pier\nA pier.",
            )
        ],
    }
    assert prompts.predictions([None, 1]) == (
        '{"predictions": [{"position": "<Position 1>", "image": "Not Insert"}, '
        '{"position": "<Position 2>", "image": "IMAGE_1"}]}'
    )


def test_the_documents_words_for_a_picture_reach_only_packs_that_ask_for_them() -> None:
    told = dataclasses.replace(FESTIVAL, images=(TOLD, TENT, LOGO))
    parts = [
        (one, prompts.caption(COMPACT, document, one, "two red boats")[0].parts)
        for document, one in ((FESTIVAL, BOATS), (told, TOLD))
    ]
    (_, plain), (_, with_words) = parts
    assert [part if isinstance(part, str) else part.id for part in plain] == [
        part if isinstance(part, str) else part.id for part in with_words
    ]
    long = dataclasses.replace(TOLD, alt="word " * 500)
    (*_, asked) = prompts.caption(prompts.load_pack("default-en"), told, long, "two red boats")
    assert "".join(part for part in asked.parts if isinstance(part, str)).count("word") == 100


def test_an_image_at_the_end_of_its_document_leaves_no_empty_line() -> None:
    (message,) = prompts.caption(COMPACT, FESTIVAL, LOGO, "a logo")
    assert message.parts == (
        "# Festival\nIt rained.\nMara came.\nIt ended.\n",
        LOGO,
        "\nPicture: a logo\nCaption the picture.",
    )


@pytest.mark.parametrize("name", ["default-en", "default-zh"])
def test_examples_are_earlier_turns_in_the_same_words(name: str) -> None:
    pack = prompts.load_pack(name)
    turns = prompts.caption(pack, FESTIVAL, BOATS, "two red boats", [CAPTION_EXAMPLE, CAPTION_EXAMPLE])
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    (asked,) = (turn for turn in prompts.caption(pack, PIER, CAPTION_EXAMPLE.image, "a pier") if turn.role == "user")
    assert turns[1] == asked
    assert turns[2].parts == ("Photograph: the new pier.",)


def test_texts_with_braces_and_field_names_pass_through_untouched() -> None:
    odd = Sample("s", "What is {documents}?", (Document("7", "{instruction}", "{image} {x} {{y}}", ()),))
    (message,) = prompts.answer(COMPACT, odd)
    assert message.parts == ("What is {documents}?\n# {instruction}\n{image} {x} {{y}}",)


def test_the_lines_nearest_the_image_are_kept() -> None:
    far, near = "far " * 10, "near " * 8
    text = "\n".join([far, near, "[Image 0]", near, far])
    around = prompts.context(Document("7", "T", text, (BOATS,)), BOATS, tokens.estimate(near.strip()))
    assert around == (near.strip(), near.strip())
    assert prompts.context(Document("7", "T", "one long line[Image 0]one long line", (BOATS,)), BOATS, 2) == (
        "g line",
        "one lo",
    )


def test_captions_are_numbered_once() -> None:
    assert prompts.numbered(["A\nboat.", "IMAGE_2: a tent."]) == "IMAGE_1: A boat.\nIMAGE_2: a tent."


def test_a_system_prompt_given_to_answer_replaces_the_packs() -> None:
    turns = prompts.answer(prompts.load_pack("default-en"), SAMPLE, "Be brief.")
    assert turns == (Message("system", ("Be brief.",)), *prompts.answer(COMPACT, SAMPLE))
    assert prompts.answer(prompts.load_pack("default-en"), SAMPLE, "") == prompts.answer(COMPACT, SAMPLE)


REPLIES = GOLDEN / "place-reply.txt"


def place_replies() -> str:
    """How placement's reply is asked for, by pack and by words allowed."""
    out = []
    for name in ("default-en", "default-zh"):
        for words in (None, 12, 0):
            system, *_ = prompts.place(prompts.load_pack(name), RESPONSE, ["Boats."], [], words)
            rules = str(prompts.load_pack(name).place.system)
            (text,) = system.parts
            assert isinstance(text, str) and text.startswith(rules)
            out.append(f"===== {name} · {words}\n{text.removeprefix(rules)}\n")
    return "".join(out)


def test_placement_asks_for_reasons_in_full_short_or_not_at_all_word_for_word() -> None:
    assert place_replies() == REPLIES.read_text(encoding="utf-8")


def test_a_pack_without_reasons_says_the_same_whatever_is_allowed() -> None:
    assert prompts.place(COMPACT, RESPONSE, ["Boats."], [], 0) == prompts.place(COMPACT, RESPONSE, ["Boats."])


def test_the_first_words_of_a_text_count_wide_characters_one_by_one() -> None:
    assert prompts.first_words("The boats lie, red.", 3) == "The boats lie,"
    assert prompts.first_words("红色小船 boats", 3) == "红色小"
    assert prompts.first_words("two words", 5) == "two words"
    assert prompts.first_words("", 5) == prompts.first_words("words", 0) == ""


def own_pack(folder: Path, **changes: Any) -> str:
    values = COMPACT.model_dump() | {"name": "own"}
    for task, user in changes.items():
        values[task] = {"user": user} if isinstance(user, str) else user
    path = folder / "own.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def test_a_pack_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    pack = prompts.load_pack(own_pack(tmp_path, describe="See {image}!"))
    assert prompts.describe(pack, BOATS) == (Message("user", ("See ", BOATS, "!")),)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"describe": "{image} {mood}"}, r"describe.user uses unknown field {mood}; known fields: image"),
        ({"describe": "Describe it."}, r"describe.user lacks {image}"),
        ({"respond": "{documents}{documents}"}, r"respond.user uses a field twice"),
        ({"place_reply": {"full": "JSON.", "short": "Briefly."}}, r"place_reply.short lacks {words}"),
        ({"place_reply": {"none": "JSON."}}, r"place_reply has short or none but no full"),
    ],
)
def test_a_wrong_template_is_refused_with_what_and_where(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        prompts.load_pack(own_pack(tmp_path, **changes))


def test_an_unknown_pack_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no pack is called defualt; take one of compact, default-en, default-zh"):
        prompts.load_pack("defualt")


def test_a_finished_answer_prompt_names_every_image_of_the_sample() -> None:
    (message,) = prompts.answer(COMPACT, SAMPLE)
    labels = [part for part in message.parts if isinstance(part, str)]
    for found, label in zip(message.images, labels, strict=False):
        assert label.endswith(f"IMAGE_{markdown.image_numbers(SAMPLE)[found.id]}: ")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for pack_name in prompts.pack_names():
        golden = transcript(prompts.load_pack(pack_name))
        (GOLDEN / f"prompts-{pack_name}.txt").write_text(golden, encoding="utf-8")
    REPLIES.write_text(place_replies(), encoding="utf-8")
