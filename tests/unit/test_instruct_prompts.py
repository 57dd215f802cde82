"""Packs of visual instructions: what they must hold, how they are filled, which words questions begin with."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Message
from imageref_ray.stages.parsing import QA, qa
from imageref_ray.stages.prompts import instruct
from imageref_ray.stages.prompts.instruct import TASKS, InstructPack, load_instruct

BOATS = Image("7", "7.jpg")
EN, ZH, COMPACT = (load_instruct(name) for name in ("en", "zh", "compact"))


@pytest.mark.parametrize("pack", [EN, ZH], ids=lambda pack: pack.name)
def test_there_are_enough_wordings_of_every_task_and_no_two_are_alike(pack: InstructPack) -> None:
    counts = {kind: len(set(wordings)) for kind, wordings in pack.ask.items()}
    assert counts == {"conversation": 10, "detail": 10, "reasoning": 10, "knowledge": 9}
    assert [len(set(wordings)) for wordings in (pack.short, pack.reverse)] == [9, 6]
    assert all(len(set(wordings)) == len(wordings) for wordings in (*pack.ask.values(), pack.short, pack.reverse))


def test_the_chinese_pack_is_chinese() -> None:
    texts = [*(text for wordings in ZH.ask.values() for text in wordings), *ZH.short, *ZH.reverse, ZH.verify]
    assert not [text for text in texts if re.search("[A-Za-z,.?!:]", re.sub(r"{[a-z]+}", "", text))]
    assert instruct.pair(ZH, "图里有什么？", "两条船。") == "问题：图里有什么？\n回答：两条船。"
    assert instruct.pair(ZH, "图里有什么？") == "问题：图里有什么？\n回答："
    assert ZH.first_words == {} and instruct.first_word(ZH, "okvqa", random.Random(1)) == "问题："
    (message,) = instruct.turn(ZH, BOATS, instruct.short(ZH, "这是什么？"))
    assert message.parts == (BOATS, "\n这是什么？请用几个字回答。")


def test_inference_takes_the_first_wording_and_training_draws_all() -> None:
    assert instruct.wording(EN, "okvqa") == EN.ask["knowledge"][0]
    drawn = {instruct.wording(EN, "detail", random.Random(seed)) for seed in range(200)}
    assert drawn == set(EN.ask["detail"])


def test_the_compact_pack_is_what_the_checkpoint_was_trained_on() -> None:
    asked = (Message("user", (BOATS, "\nAsk a question about the picture and answer it.")),)
    assert all(
        instruct.turn(COMPACT, BOATS, instruct.wording(COMPACT, task)) == asked for task in {*TASKS} - {"detail"}
    )
    seen = (Message("user", (BOATS, "\nAsk what can be seen and tell it.")),)
    assert instruct.turn(COMPACT, BOATS, instruct.wording(COMPACT, "detail")) == seen
    doubted = (Message("user", (BOATS, "\nIt is red. Is this in the picture?")),)
    assert instruct.verify(COMPACT, BOATS, "What?", "", "It is red.") == doubted
    denied = (Message("user", (BOATS, "\nIt is red. This is not in the picture. What is there instead?")),)
    assert instruct.instead(COMPACT, BOATS, "What?", "", "It is red.") == denied
    question = instruct.turn(COMPACT, BOATS, instruct.short(COMPACT, "What is shown?"))
    assert question == (Message("user", (BOATS, "\nWhat is shown?")),)


def test_the_text_so_far_stands_before_the_image() -> None:
    (message,) = instruct.turn(EN, BOATS, "Why?", " A boat.")
    assert message.parts == ("An answer about the picture below begins like this: A boat.\n", BOATS, "\nWhy?")
    assert instruct.turn(EN, BOATS, "Why?", " ") == (Message("user", (BOATS, "\nWhy?")),)


def test_braces_in_texts_are_no_fields() -> None:
    (message,) = instruct.verify(COMPACT, BOATS, "{unit}?", "", "A {question} {image}.")
    assert message.parts == (BOATS, "\nA {question} {image}. Is this in the picture?")
    assert "{answer}" in instruct.short(EN, "{answer}?")


def test_a_pair_is_read_as_it_was_written() -> None:
    assert instruct.pair(EN, "Why?", "So.") == "Question: Why? Answer: So."
    assert instruct.pair(EN, "Why?") == "Question: Why? Answer:"
    for pack in (EN, COMPACT, ZH, EN.model_copy(update={"pair": "Frage: {question} | Lösung: {answer}"})):
        assert qa(instruct.pair(pack, "Why?", "So."), *instruct.labels(pack)) == QA("Why?", "So.")


def test_first_words_come_by_their_weights() -> None:
    rng = random.Random(7)
    drawn = Counter(instruct.first_word(EN, "okvqa", rng) for _ in range(4000))
    weights = EN.first_words["okvqa"]
    assert drawn["Question: What"] / 4000 == pytest.approx(5919 / sum(weights.values()), abs=0.03)
    assert drawn["Question: What's"] and drawn["Question: How"] > drawn["Question: Why"] > drawn["Question: In"]
    assert instruct.first_word(COMPACT, "okvqa", rng) == instruct.first_word(EN, "detail", rng) == "Question:"


def test_first_words_are_the_published_ones() -> None:
    totals = {task: (len(words), sum(words.values())) for task, words in EN.first_words.items()}
    assert totals == {"okvqa": (21, 8810), "a_okvqa": (21, 16731)}
    assert EN.first_words["a_okvqa"]["on"] == 19


def test_an_unknown_task_or_pack_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="task chat is unknown; take one of conversation, detail, reasoning, okvqa"):
        instruct.wording(EN, "chat")
    with pytest.raises(ConfigError, match="no pack is called english; take one of compact, en, zh"):
        load_instruct("english")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verify": "Is it so?"}, r"verify lacks {unit}"),
        ({"turn": "{image} {mood} {text} {request}"}, r"turn uses unknown field {mood}; known fields: image"),
        ({"short": ["{question}", "Well?"]}, r"short lacks {question}; add it to 'Well\?'"),
        ({"short": []}, "short has no wording"),
        ({"ask": {"detail": ["Describe."]}}, "ask.conversation has no wording"),
        ({"pair": "{question} {answer}"}, r"pair is '{question} {answer}'; give a label before each of its two texts"),
        ({"pair": "Q: {question}"}, r"pair lacks {answer}"),
        ({"no": "yeah"}, "must begin with different letters"),
        ({"first_words": {"okvqa": {"what": 0}}}, "first_words.okvqa is no task with weights of at least 1"),
    ],
)
def test_a_wrong_pack_is_refused_with_what_and_where(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(COMPACT.model_dump() | changes), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        load_instruct(str(path))
