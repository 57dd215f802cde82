"""A processor and annotation rows in, token ids with a loss mask and image tiles out.

The token layout is the checkpoint's own: its chat template renders the turns, and every image becomes
`<img>` + `<IMG_CONTEXT>` × (tokens a tile × tiles) + `</img>`, as its processor and vLLM write it at inference.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from imageref_ray.core.images import DECODE_ERRORS, open_rgb, upright_size
from imageref_ray.dataset.mixture import IMAGE_TAG, Conversation, SampleError

IGNORED = -100
CACHE_BYTES = 1 << 29  # decoded tiles kept in memory, per worker


@dataclass(frozen=True)
class Picture:
    """An image of a sample: where it is and into how many tiles (columns, rows) it is cut."""

    path: Path
    grid: tuple[int, int]
    augment: bool = False

    @property
    def tiles(self) -> int:
        """Tiles, the thumbnail of a cut image included."""
        count = self.grid[0] * self.grid[1]
        return count if count == 1 else count + 1


@dataclass(frozen=True)
class Example:
    """One tokenized sample: ids int32 [tokens], learned bool [tokens]."""

    dataset: str
    ids: np.ndarray
    learned: np.ndarray
    pictures: tuple[Picture, ...]
    copies: int = 1


class Encoder:
    """Rows → examples, by the checkpoint's processor; remembers image sizes and template pieces."""

    def __init__(self, processor: Any, sequence_length: int, system: str = "") -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.sequence_length = sequence_length
        self.system = system
        self.size = int(processor.image_processor.size["height"])
        self.image_size = lru_cache(maxsize=None)(_image_size)

    def encode(self, row: Conversation) -> Example:
        """Tokenize one row; SampleError says why it cannot be trained on."""
        pictures = tuple(Picture(path, self._grid(path, row.max_tiles), row.augment) for path in row.images)
        tiles = iter([picture.tiles for picture in pictures])
        ids: list[int] = []
        learned: list[bool] = []
        for text, is_answer in self._pieces(self._messages(row)):
            found = self._tokens(text, tiles)
            ids += found
            learned += [is_answer] * len(found)
        if len(ids) > self.sequence_length:
            raise SampleError("longer than sequence_length")
        return Example(row.dataset, np.array(ids, np.int32), np.array(learned, bool), pictures, row.copies)

    def _messages(self, row: Conversation) -> list[dict[str, Any]]:
        system = [("system", self.system)] if self.system and row.turns[0][0] != "system" else []
        return [{"role": role, "content": _parts(text, role)} for role, text in (*system, *row.turns)]

    def _pieces(self, messages: list[dict[str, Any]]) -> Iterable[tuple[str, bool]]:
        """Template text in pieces: (text, is it learned); an answer includes the token that ends the turn."""
        done = 0
        whole = ""
        for number, message in enumerate(messages, 1):
            if message["role"] != "assistant":
                continue
            opened = self._render(messages[: number - 1], True)
            whole = self._render(messages[:number], False)
            if not whole.startswith(opened):
                raise SampleError("the chat template rewrites earlier turns")
            end = whole.rindex(self.tokenizer.eos_token) + len(self.tokenizer.eos_token)
            yield opened[done:], False
            yield whole[len(opened) : end], True
            done = end
        yield whole[done:], False

    def _render(self, messages: list[dict[str, Any]], open_turn: bool) -> str:
        text = self.processor.apply_chat_template(messages, add_generation_prompt=open_turn, tokenize=False)
        assert isinstance(text, str)
        return text

    def _tokens(self, text: str, tiles: Iterable[int]) -> list[int]:
        context = self.processor.image_token
        if context in text:
            first, *rest = text.split(context)
            per_tile = self.processor.image_seq_length
            begin, end = self.processor.start_image_token, self.processor.end_image_token
            text = first + "".join(
                f"{begin}{context * per_tile * count}{end}{part}" for part, count in zip(rest, tiles, strict=False)
            )
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _grid(self, path: Path, max_tiles: int) -> tuple[int, int]:
        width, height = self.image_size(path)
        if max_tiles == 1:
            return (1, 1)
        columns, rows = get_optimal_tiled_canvas((height, width), (self.size, self.size), 1, max_tiles)
        return (columns, rows)


def encode_all(rows: Iterable[Conversation], encoder: Encoder, skipped: Counter[tuple[str, str]]) -> list[Example]:
    """Every row that can be trained on; the others are counted in `skipped` under (data set, reason)."""
    examples = []
    for row in rows:
        try:
            examples.append(encoder.encode(row))
        except SampleError as error:
            skipped[row.dataset, str(error)] += row.copies
    return examples


class Tiles:
    """Pictures → uint8 tiles [tiles, 3, size, size], cached up to CACHE_BYTES."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.random = random.Random(seed)
        self.cached = lru_cache(maxsize=max(1, CACHE_BYTES // (3 * size * size)))(self._cut)

    def __call__(self, picture: Picture) -> np.ndarray:
        """Decode (or take from the cache); SampleError if the picture cannot be decoded."""
        return self._cut(picture) if picture.augment else self.cached(picture)

    def _cut(self, picture: Picture) -> np.ndarray:
        columns, rows = picture.grid
        size = self.size
        try:
            image = open_rgb(str(picture.path))
        except (*DECODE_ERRORS, Image.DecompressionBombError):
            raise SampleError("picture cannot be decoded") from None
        if picture.augment:
            image = _recompressed(image, self.random.randint(75, 100))
        large = _resized(image, columns * size, rows * size)
        tiles = [
            large.crop((column * size, row * size, (column + 1) * size, (row + 1) * size))
            for row in range(rows)
            for column in range(columns)
        ]
        if len(tiles) > 1:
            tiles.append(_resized(image, size, size))
        return np.stack([np.asarray(tile) for tile in tiles]).transpose(0, 3, 1, 2)


class Collator:
    """Examples → one padded batch: input_ids, labels [batch, longest], pixel_values [tiles, 3, size, size].

    Beside them `dataset` [batch], each example's set by its number in `datasets`, and `broken`, the sets of the
    examples whose picture could not be decoded: they stay in the batch without any label to learn.
    """

    def __init__(self, processor: Any, datasets: Sequence[str], seed: int) -> None:
        images = processor.image_processor
        self.tiles = Tiles(int(images.size["height"]), seed)
        self.pad = int(processor.tokenizer.pad_token_id)
        self.datasets = {name: number for number, name in enumerate(datasets)}
        self.mean = torch.tensor(images.image_mean).view(1, 3, 1, 1) * 255
        self.scale = 1 / (torch.tensor(images.image_std).view(1, 3, 1, 1) * 255)

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Pad to the longest; no attention mask is needed: padding is on the right and attention looks left."""
        longest = max(len(example.ids) for example in examples)
        ids = np.full((len(examples), longest), self.pad, np.int64)
        labels = np.full((len(examples), longest), IGNORED, np.int64)
        tiles: list[np.ndarray] = []
        broken: list[int] = []
        for row, example in enumerate(examples):
            length = len(example.ids)
            ids[row, :length] = example.ids
            try:
                tiles += [self.tiles(picture) for picture in example.pictures]
                labels[row, :length] = np.where(example.learned, example.ids, IGNORED)
            except SampleError:
                tiles += [self._blank(picture.tiles) for picture in example.pictures]
                broken.append(self.datasets[example.dataset])
        pixels = torch.from_numpy(np.concatenate(tiles or [self._blank(1)])).float()
        return {
            "input_ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(labels),
            "pixel_values": pixels.sub_(self.mean).mul_(self.scale),
            "dataset": torch.tensor([self.datasets[example.dataset] for example in examples]),
            "broken": torch.tensor(broken, dtype=torch.long),
        }

    def _blank(self, tiles: int) -> np.ndarray:
        return np.zeros((tiles, 3, self.tiles.size, self.tiles.size), np.uint8)


def _parts(text: str, role: str) -> list[dict[str, str]]:
    """The content parts of a turn: an image part at every tag of a question, the text between."""
    if role != "user":
        return [{"type": "text", "text": text}]
    parts: list[dict[str, str]] = []
    for number, piece in enumerate(text.split(IMAGE_TAG)):
        if number:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the header; SampleError if there is no such picture."""
    try:
        return upright_size(str(path))
    except FileNotFoundError:
        raise SampleError("picture is missing") from None
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        raise SampleError("picture cannot be read") from None


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
