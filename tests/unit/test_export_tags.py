"""Trainers' own rules on rows: in all turns together, as many tags of every medium as the row has of it.

LLaMA-Factory refuses a batch with another number of `<image>`, `<video>` or `<audio>`; ms-swift puts missing tags in
front, and shows a medium that is not there for every tag too many.
"""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.core.records import Caption, Document, Image, Placement, Record, Sample
from imageref_ray.dataset.export import rows
from imageref_ray.stages import prompts

PACK = prompts.load_pack("compact")
ROOT = Path("/data")
PIECES = ("<image>", "<video>", "<audio>", "<", ">", "image", "video>", "audio", "text", " ", "\n", "/")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def record(question: str, title: str, text: str, reply: str, caption: str, images: int) -> Record:
    found = tuple(Image(f"n1/{k}.jpg", f"/data/n1/{k}.jpg", "aa", 4, 4) for k in range(images))
    sample = Sample("7", question, (Document("n1", title, text, found),))
    captions = tuple(Caption(image.id, caption, caption) for image in found)
    placed = (Placement(1, found[0].id),) if found else ()
    return Record(sample, f"# Day\n{reply}\n### Part\nMore.", captions, placed)


def accepted(turns: list[dict[str, str]], role: str, text: str, images: list[str], roles: tuple[str, str]) -> None:
    """Assert what both tools demand: turns in pairs that end with the answer, and the numbers of tags."""
    assert [turn[role] for turn in turns] == [*roles] * (len(turns) // 2) and len(turns) >= 2
    whole = [turn[text] for turn in turns]
    assert sum(part.count("<image>") for part in whole) == len(images)
    assert not any(tag in part for part in whole for tag in ("<video>", "<audio>"))


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.integers(0, 3), st.sampled_from(rows.VARIANTS))
def test_rows_have_as_many_tags_as_media(
    question: str, title: str, text: str, reply: str, caption: str, images: int, variant: rows.Variant
) -> None:
    row = rows.annotation(record(question, title, text, reply, caption, images), variant, ROOT, PACK)
    paths = [f"n1/{k}.jpg" for k in range(images)]
    for made in (rows.messages(row), rows.sharegpt(row)):
        assert made["images"] == paths
    accepted(rows.messages(row)["messages"], "role", "content", paths, ("user", "assistant"))
    accepted(rows.sharegpt(row)["conversations"], "from", "value", paths, ("human", "gpt"))
    llava: dict[str, Any] = rows.llava(row)
    accepted(llava["conversations"], "from", "value", paths, ("human", "gpt"))


def test_only_the_tags_of_a_text_change() -> None:
    tagged = record("Where is <video>?", "T", "An <audio> tag.", "See <image>, <video> and <b>.", "", 1)
    annotation = rows.annotation(tagged, "plain", ROOT, PACK)
    human, reply = (turn["content"] for turn in rows.messages(annotation)["messages"])
    assert "Where is < video>?" in human and "An < audio> tag." in human and human.count("<image>") == 1
    assert "See < image>, < video> and <b>." in reply
    assert "<video>" in annotation["conversations"][1]["value"]  # InternVL takes only <image> for a medium
