"""Tokens counted by the checkpoint that will read them, and the estimate where there is none."""

from pathlib import Path

from imageref_ray.core import tokens
from imageref_ray.core.records import Document, Image
from imageref_ray.stages import prompts

CHECKPOINT = str(Path(__file__).parents[2] / "imageref_ray/picturenews/checkpoint")
IMAGE = Image("0", "0.jpg")


def test_the_estimate_counts_wide_characters_one_by_one() -> None:
    assert tokens.estimate("abcdefgh") == 2
    assert tokens.estimate("红色小船") == 4
    assert tokens.estimate("") == 0


def test_both_sides_of_an_image_fit_the_budget_in_the_models_own_tokens() -> None:
    count = tokens.counter(CHECKPOINT)
    lines = "\n".join(f"line {n}: Ürümqi 红色小船 x{n}" for n in range(40))
    document = Document("7", "T", f"{lines}\n[Image 0]\n{lines}", (IMAGE,))
    for budget in (1, 7, 50, 400):
        before, after = prompts.context(document, IMAGE, budget, count)
        for side in (before, after):
            assert sum(map(count, side.splitlines())) <= budget
    assert before.splitlines() == lines.splitlines()[28:] and after.splitlines() == lines.splitlines()[:13]
    estimated = prompts.context(document, IMAGE, 400)[0]
    assert sum(map(count, estimated.splitlines())) > 400  # what an estimate would have sent


def test_a_text_shorter_in_bytes_than_the_budget_is_not_counted() -> None:
    def count(text: str) -> int:
        raise AssertionError(text)

    document = Document("7", "T", "before[Image 0]after", (IMAGE,))
    assert prompts.context(document, IMAGE, len(b"# Tbefore"), count) == ("# T\nbefore", "after")
