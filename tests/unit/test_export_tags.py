"""Trainers' own rules on rows: in all turns together, as many tags of every medium as the row has of it.

LLaMA-Factory refuses a batch with another number of `<image>`, `<video>` or `<audio>`; ms-swift puts missing tags in
front, and shows a medium that is not there for every tag too many; without images it reads one from every
`<img>…</img>`, and it cuts texts at tags for boxes and references. InternVL leaves out a sample in which the number of
`</img>` tokens is not that of its images. To all of them a control token in a text is one.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from imageref_ray.core.config import ExportConfig, check
from imageref_ray.core.records import Caption, Document, Image, Placement, Record, Sample
from imageref_ray.dataset.export import Origin, export, make_target, rows
from imageref_ray.stages import prompts

PACK = prompts.load_pack("compact")
ROOT = Path("/data")
SWIFT = ("<bbox>", "<ref-object>", "<cot-process>", "<start-image>")
TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<IMG_CONTEXT>", "<img>", "</img>")
PIECES = ("<image>", "<video>", "<audio>", *SWIFT, *TOKENS, "<", ">", "image", "video>", "<|im", "|>", " ", "\n", "/")
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
    assert not any(tag in part for part in whole for tag in ("<video>", "<audio>", "</s>", *SWIFT, *TOKENS))


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))


def internvl_takes(row: rows.Row, tokenizer: Tokenizer) -> None:
    """Assert that InternVL's trainer finds the images' tokens and the ends of the turns, and no others."""
    turns = row["conversations"]
    text = "".join(f"<|im_start|>{turn['from']}\n{turn['value']}<|im_end|>\n" for turn in turns)
    shown = text.replace("<image>", "<img><IMG_CONTEXT><IMG_CONTEXT></img>")
    found = tokenizer.encode(shown, add_special_tokens=False).tokens
    assert len(turns) == 2 and text.count("<image>") == len(row["image"])
    expected = {"<|im_end|>": 2, "<|im_start|>": 2, "<|endoftext|>": 0, "<IMG_CONTEXT>": 2 * len(row["image"])}
    expected |= dict.fromkeys(("<img>", "</img>"), len(row["image"]))
    assert {token: found.count(token) for token in TOKENS} == expected


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.integers(0, 3), st.sampled_from(rows.VARIANTS))
def test_rows_have_as_many_tags_as_media(
    tokenizer: Tokenizer,
    question: str,
    title: str,
    text: str,
    reply: str,
    caption: str,
    images: int,
    variant: rows.Variant,
) -> None:
    row = rows.annotation(record(question, title, text, reply, caption, images), variant, ROOT, PACK)
    paths = [f"n1/{k}.jpg" for k in range(images)]
    internvl_takes(row, tokenizer)
    for made in (rows.messages(row), rows.sharegpt(row)):
        assert made["images"] == paths
    accepted(rows.messages(row)["messages"], "role", "content", paths, ("user", "assistant"))
    accepted(rows.sharegpt(row)["conversations"], "from", "value", paths, ("human", "gpt"))
    llava: dict[str, Any] = rows.llava(row)
    accepted(llava["conversations"], "from", "value", paths, ("human", "gpt"))


def test_only_the_tags_of_a_text_change() -> None:
    tagged = record(
        "Where is <video>?", "T", "An <audio> tag.", "See <image>, <video>, <|eot_id|>, <b> and </s>.", "", 1
    )
    annotation = rows.annotation(tagged, "plain", ROOT, PACK)
    human, reply = (turn["content"] for turn in rows.messages(annotation)["messages"])
    assert "Where is < video>?" in human and "An < audio> tag." in human and human.count("<image>") == 1
    assert "See < image>, < video>, < |eot_id|>, <b> and < /s>." in reply
    human, reply = (turn["value"] for turn in annotation["conversations"])
    assert "An <audio> tag." in human and "< |eot_id|>, <b> and </s>." in reply  # no tokens of InternVL's


@pytest.mark.parametrize("split", [None, {"train": 0.5, "validation": 0.5}])
def test_llama_factory_finds_in_the_files_what_the_register_names(
    split: dict[str, float] | None, tmp_path: Path
) -> None:
    """Its rules: file, columns and roles as named; turns in pairs from the user; every other role is a broken row."""
    made = record("Q", "T", "Text. [Image 0]", "A", "C", 2)
    config = check(ExportConfig, {"formats": ["messages", "sharegpt"], "split": split}, "test")
    export(tmp_path / "d", lambda: iter([made]), make_target(ROOT, PACK, config), Origin())
    register = json.loads((tmp_path / "d" / "dataset_info.json").read_text(encoding="ascii"))  # it opens it by locale
    parts = ("",) if split is None else (".train", ".validation")
    assert set(register) == {name + part for name in ("messages", "sharegpt") for part in parts}
    seen = 0
    for name, entry in register.items():
        assert re.fullmatch(r"[^,\s]+", name) and entry["formatting"] == "sharegpt"  # --dataset is split at commas
        columns, tags = entry["columns"], entry["tags"]
        for line in (tmp_path / "d" / entry["file_name"]).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found = [(turn[tags["role_tag"]], bool(turn[tags["content_tag"]])) for turn in row[columns["messages"]]]
            assert found == [(tags["user_tag"], True), (tags["assistant_tag"], True)]
            assert row[columns["images"]] == ["n1/0.jpg", "n1/1.jpg"]
            seen += 1
    assert seen == 2
