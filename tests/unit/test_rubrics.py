"""Rubrics of a judge, word for word. `python tests/unit/test_rubrics.py` rewrites the golden file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Message
from imageref_ray.stages.prompts import pack
from imageref_ray.stages.prompts.builders import Part
from imageref_ray.stages.prompts.rubric import FIELDS, ask, load_rubric

GOLDEN = Path(__file__).parent / "golden" / "rubrics.txt"
NAMES = ("citation", "images", "pairwise", "relative", "single")
BOATS = Image("7/0.jpg", "7/0.jpg")
SINGLE = load_rubric("single").model_dump()


def fields(unit: str, **more: str) -> dict[str, tuple[Part, ...]]:
    """Every field of a unit holds its own name; an image is an image."""
    texts = {name: more.get(name, f"({name})") for name in FIELDS[unit]}  # type: ignore[index]
    return {name: (BOATS,) if name == "image" else (text,) for name, text in texts.items()}


def text(messages: tuple[Message, ...]) -> str:
    return "".join(
        f"===== {message.role}\n"
        + "".join(part if isinstance(part, str) else f"<image {part.id}>" for part in message.parts)
        + "\n"
        for message in messages
    )


def transcript() -> str:
    out = []
    for name in NAMES:
        rubric = load_rubric(name)
        out.append(f"########## {name}\n{text(ask(rubric, fields(rubric.unit)))}===== again\n{rubric.again}\n")
    return "".join(out)


def test_rubrics_are_word_for_word_what_they_were() -> None:
    assert pack.shipped("judge-") == sorted(NAMES)
    assert transcript() == GOLDEN.read_text(encoding="utf-8")


def test_asking_again_adds_to_the_same_turn() -> None:
    rubric = load_rubric("pairwise")
    (_, first), (_, second) = ask(rubric, fields("pair")), ask(rubric, fields("pair"), again=True)
    assert second.parts == (f"{first.parts[0]}\n\n{rubric.again}",)


def test_an_image_without_a_caption_leaves_no_empty_line() -> None:
    _, user = ask(load_rubric("images"), fields("image", caption=""))
    assert user.parts[1:] == (BOATS, user.parts[2]) and str(user.parts[2]).startswith("\n(after)\n")


def test_a_text_that_looks_like_a_field_passes_through_untouched() -> None:
    _, user = ask(load_rubric("single"), fields("answer", answer="{reference} {x}"))
    assert "<answer>\n{reference} {x}\n</answer>" in str(user.parts[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"user": "{answer} {first}"},
            r"user uses unknown field {first}; unit answer has: answer, question, ",
        ),
        ({"user": "{question}"}, r"user lacks {answer}"),
        ({"unit": "pair", "user": "{first}"}, r"user lacks {second}"),
        ({"again": "{answer}"}, r"again uses the field {answer}"),
        ({"least": 5, "most": 5}, r"least is 5 and most 5; least must be lower"),
        ({"criteria": ["a", "a"]}, r"criteria are a, a; give each once"),
        ({"ratio": True}, r"ratio needs unit: answer, two criteria \(the reference first\), and least"),
        ({"ratio": True, "criteria": ["a", "b"], "least": 0}, r"ratio needs .* least above 0"),
        ({"unit": "essay"}, r"unit: input should be 'answer', 'pair' or 'image'"),
    ],
)
def test_a_wrong_rubric_is_refused_with_what_and_where(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**SINGLE, **changes}), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"own\.yaml: {says}"):
        load_rubric(str(path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"rubric: no pack is called singel; take one of citation, images, pairwise,"):
        load_rubric("singel")


if __name__ == "__main__":
    GOLDEN.write_text(transcript(), encoding="utf-8")
