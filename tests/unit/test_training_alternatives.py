"""Rows that say what else they may be: what a later use of them draws."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core.config import MixtureEntry
from imageref_ray.dataset import mixture
from imageref_ray.dataset.turns import SampleError

ENTRY = MixtureEntry(root=Path("pictures"), annotation=Path("rows.jsonl"))
CHOICES: dict[str, Any] = {
    "human": ["<image>A", "<image>B <answer>"],
    "gpt": "It is <answer>.",
    "answers": ["x", "y"],
    "weights": [1, 3],
}
ROW: dict[str, Any] = {
    "image": "a.png",
    "conversations": [{"from": "human", "value": "<image>A"}, {"from": "gpt", "value": "It is x."}],
    "alternatives": CHOICES,
}


def test_a_use_draws_a_wording_and_an_answer_by_weight_and_the_same_with_the_same_seed() -> None:
    row = mixture.parse(ROW, "s", ENTRY, 1)
    assert row.turns == (("user", "<image>A"), ("assistant", "It is x."))
    turns = [mixture.draw_again(row, str(seed)).turns for seed in range(800)]
    assert turns == [mixture.draw_again(row, str(seed)).turns for seed in range(800)]
    asked, answers = Counter(human for (_, human), _ in turns), Counter(gpt for _, (_, gpt) in turns)
    assert asked.keys() == {"<image>A", "<image>B x", "<image>B y"} and answers.keys() == {"It is x.", "It is y."}
    assert asked["<image>A"] / 800 == pytest.approx(0.5, abs=0.07)
    assert answers["It is y."] / 800 == pytest.approx(0.75, abs=0.07)
    plain = mixture.parse({**ROW, "alternatives": None}, "s", ENTRY, 1)
    assert mixture.draw_again(plain, "1") is plain


@pytest.mark.parametrize(
    "change",
    [
        {"human": []},
        {"human": ["no tag"]},
        {"human": [1]},
        {"gpt": " "},
        {"gpt": None},
        {"answers": []},
        {"answers": ["x", " "]},
        {"weights": [1]},
        {"weights": [1, 0]},
        {"weights": [1, "NaN"]},
        {"weights": None},
    ],
)
def test_alternatives_that_do_not_fit_are_a_reason_to_leave_a_line_out(change: dict[str, object]) -> None:
    line: dict[str, object] = {**ROW, "alternatives": {**CHOICES, **change}}
    with pytest.raises(SampleError, match="alternatives do not fit the conversation"):
        mixture.parse(line, "s", ENTRY, 1)
    several = {**ROW, "conversations": [*ROW["conversations"], *ROW["conversations"]], "image": ["a.png", "b.png"]}
    with pytest.raises(SampleError, match="alternatives do not fit the conversation"):
        mixture.parse(several, "s", ENTRY, 1)
