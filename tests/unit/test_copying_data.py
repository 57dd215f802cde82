"""What teaches a language model to copy and to find is true, and asks for what it is meant to teach."""

import random
import re

from imageref_ray.picturenews import copying_data, corpus
from imageref_ray.picturenews.events import make_event


def test_what_is_looked_up_stands_in_a_sentence_with_its_key_and_what_is_nothing_in_none() -> None:
    for number in range(20):
        event = make_event(corpus.SEEDS["base"], number)
        for row in copying_data.looking_up(event, random.Random(number)):
            prompt, answer = (turn["value"] for turn in row["conversations"])
            (asked,) = re.findall(r"In this order: (.*)\.", prompt)
            keys = asked.split(", ")
            lines = answer.split("\n")
            assert len(lines) == len(keys)
            for key, line in zip(keys, lines, strict=True):
                value = line.removeprefix(f"- {key} ")
                text = prompt.replace(f"In this order: {asked}.", "")
                assert value != line
                found = [sentence for sentence in re.split(r"(?<=\.)\s", text) if re.search(rf"\b{key}\b", sentence)]
                if value == "nothing":
                    assert not found
                else:  # a filler may name a film, too
                    assert sum(value in sentence for sentence in found) == 1


def test_repeated_words_are_the_same_words_in_other_orders() -> None:
    event = make_event(corpus.SEEDS["base"], 0)
    (row,) = copying_data.repeating(event, random.Random(1))
    prompt, answer = (turn["value"] for turn in row["conversations"])
    words = prompt.removeprefix("Again and again: ").removesuffix(".").split()
    lines = [line.removeprefix("- ").split() for line in answer.split("\n")]
    assert len(words) == 16 and [sorted(line) for line in lines] == [sorted(words)] * 5
    assert len({tuple(line) for line in [words, *lines]}) > 2
