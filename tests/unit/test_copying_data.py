"""What teaches a language model to copy and to find is true, and asks for what it is meant to teach."""

import random
import re

from imageref_ray.picturenews import copying_data, corpus
from imageref_ray.picturenews.events import SECTIONS, make_event


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


def test_a_numbers_line_has_the_word_that_is_asked_for() -> None:
    for number in range(20):
        event = make_event(corpus.SEEDS["base"], number)
        for row in copying_data.numbering(event, random.Random(number)):
            prompt, answer = (turn["value"] for turn in row["conversations"])
            *lines, asked = prompt.split("\n")
            pairs = [re.fullmatch(r"- (\w+) (?:IMAGE_)?(\d)", line) for line in answer.split("\n")]
            found = {pair[1]: int(pair[2]) for pair in pairs if pair}
            assert asked == f"Numbers: {', '.join(found)}." and len(found) == len(lines)
            assert sorted(found.values()) == list(range(1, len(lines) + 1))
            for word, k in found.items():
                assert word in lines[k - 1] and str(k) in lines[k - 1]


def test_a_matched_picture_is_of_the_person_the_thing_or_the_section_that_is_asked_for() -> None:
    matched = 0
    for number in range(20):
        event = make_event(corpus.SEEDS["base"], number)
        listed, turns = copying_data.matching(event, random.Random(number))
        prompt, answer = (turn["value"] for turn in listed["conversations"])
        captions = dict(re.findall(r"^(IMAGE_\d): (.*)$", prompt, re.MULTILINE))
        pairs = [re.fullmatch(r"- (.+) (IMAGE_\d|Not Insert)", line) for line in answer.split("\n")]
        asked = [turn["value"] for turn in turns["conversations"]]
        assert len(asked) == 2 * len(event.facets)
        for facet in event.facets:
            section = "\n".join(facet.fill(line, event) for line in SECTIONS[facet.kind])
            (picture,) = [b for a, b in zip(asked[::2], asked[1::2], strict=True) if f"{section}\nWhich" in a]
            pairs.append(re.fullmatch(r"(\w+) (.+)", f"{facet.thing} {picture}"))
        for pair in pairs:
            assert pair
            key, picture = pair.groups()
            if picture == "Not Insert":
                assert not any(key in told for told in captions.values())
            else:
                assert key in captions[picture]
                matched += 1
    assert matched > 100
