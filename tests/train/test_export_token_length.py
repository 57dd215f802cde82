"""A row's `length` is what training will make of it."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

import imageref_ray
from imageref_ray.core import tokens
from imageref_ray.core.config import ConfigError, MixtureEntry
from imageref_ray.dataset.export.token_length import counter, estimate
from imageref_ray.dataset.mixture import parse
from imageref_ray.training.encode import Encoder

CHECKPOINT = Path(imageref_ray.__file__).parent / "picturenews" / "checkpoint"

TURNS = [
    {"from": "human", "value": "Velmora:\n<image>\nand the market: IMAGE_2: <image> Which boats?"},
    {"from": "gpt", "value": "# Boats\nTwo red boats.\nIMAGE_1"},
    {"from": "human", "value": "And the kite?"},
    {"from": "gpt", "value": "Blue."},
]


def row(turns: list[dict[str, str]], images: list[str]) -> dict[str, Any]:
    return {"id": "7", "image": images, "conversations": turns}


@pytest.mark.parametrize("count", [0, 2])
def test_the_count_is_the_number_of_tokens_that_training_reads(tmp_path: Path, count: int) -> None:
    images = ["a.png", "b.png"][:count]
    for name in images:
        Image.new("RGB", (300, 200)).save(tmp_path / name)
    turns = TURNS if count else TURNS[2:]
    entry = MixtureEntry(root=tmp_path, annotation=tmp_path / "a.jsonl")
    found = parse(row(turns, images), "s", entry, max_tiles=1)
    example = Encoder(AutoProcessor.from_pretrained(CHECKPOINT), 4096).encode(found)
    assert counter(str(CHECKPOINT))(row(turns, images)) == len(example.ids)


def test_without_a_tokenizer_text_and_tiles_are_estimated() -> None:
    turns = [{"from": "human", "value": "abcdefgh<image>"}, {"from": "gpt", "value": "港口"}]
    assert counter(None) is estimate
    assert estimate(row(turns, ["a.png"])) == 2 + 2 + 258


def test_a_checkpoint_without_a_tokenizer_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"export\.tokenizer: .* has no usable tokenizer"):
        counter(str(tmp_path))


def test_a_checkpoint_counts_with_its_own_tokenizer() -> None:
    text = "Mara opened the harbour 红色小船."
    ids = AutoTokenizer.from_pretrained(str(CHECKPOINT)).encode(text, add_special_tokens=False)
    assert tokens.counter(str(CHECKPOINT))(text) == len(ids)
    assert tokens.counter(None)(text) == tokens.estimate(text) < len(ids)
