"""Conversations and a processor → token ids with a loss mask, and image tiles.

The text is the one that inference writes for the same turns (`engines/chat_template.py`), and every image becomes
`<img>` + `<IMG_CONTEXT>` × (tokens per tile × tiles) + `</img>` where its tag stands, as its processor and vLLM do it.
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
from imageref_ray.core.tiles import Tiles
from imageref_ray.dataset.mixture import Conversation, messages
from imageref_ray.dataset.turns import SampleError
from imageref_ray.engines.base import Message, RequestError
from imageref_ray.engines.chat_template import internvl
from imageref_ray.training.augment import crop_and_flip

IGNORED = -100
CACHE_BYTES = 1 << 29  # decoded tiles kept in memory, per worker


@dataclass(frozen=True)
class TiledImage:
    """An image of a sample: its path and the grid (columns, rows) of tiles that it is cut into."""

    path: Path
    grid: tuple[int, int]
    augment: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        """Number of tiles, including the thumbnail of an image with more than one."""
        count = self.grid[0] * self.grid[1]
        return count if count == 1 else count + 1


@dataclass(frozen=True)
class Example:
    """One tokenized sample: ids int32 [tokens], learned bool [tokens] (the tokens with a loss), uses per epoch.

    `again` is its conversation if every use draws another wording and answer; `draw` names one use of it, the seed of
    what is random about its images.
    """

    dataset: str
    ids: np.ndarray
    learned: np.ndarray
    images: tuple[TiledImage, ...]
    copies: int = 1
    again: Conversation | None = None
    draw: str = ""


class Encoder:
    """Conversations → examples, with the checkpoint's processor; caches image sizes.

    `share_tiles`: the images of a conversation share its `max_tiles` (`Tiles.per_image`).
    """

    def __init__(self, processor: Any, sequence_length: int, system: str = "", share_tiles: bool = True) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.sequence_length = sequence_length
        self.system = system
        self.share_tiles = share_tiles
        self.template = internvl(self.tokenizer)
        self.size = int(processor.image_processor.size["height"])
        self.image_size = lru_cache(maxsize=None)(_image_size)

    def encode(self, conversation: Conversation) -> Example:
        """Tokenize one conversation. Raises SampleError if it cannot be used for training."""
        most = Tiles(conversation.max_tiles, self.share_tiles).per_image(len(conversation.images))
        images = tuple(TiledImage(path, self._grid(path, most), conversation.augment) for path in conversation.images)
        tiles = iter([image.tiles for image in images])
        ids: list[int] = []
        learned: list[bool] = []
        for text, is_answer in self._pieces(self._messages(conversation)):
            tokens = self._tokens(text, tiles)
            ids += tokens
            learned += [is_answer] * len(tokens)
        if len(ids) > self.sequence_length:
            raise SampleError("longer than sequence_length")
        again = conversation if conversation.alternatives else None
        return Example(
            conversation.dataset, np.array(ids, np.int32), np.array(learned, bool), images, conversation.copies, again
        )

    def _messages(self, conversation: Conversation) -> list[Message]:
        turns = conversation.turns
        system = [("system", self.system)] if self.system and turns[0][0] != "system" else []
        return messages((*system, *turns))

    def _pieces(self, messages: list[Message]) -> Iterable[tuple[str, bool]]:
        """The rendered text in pieces: (text, is it learned); an answer includes the end-of-turn token."""
        done = 0
        whole = ""
        for number, message in enumerate(messages, 1):
            if message.role != "assistant":
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

    def _render(self, messages: list[Message], open_turn: bool) -> str:
        try:
            return self.template.conversation(messages, open_turn)
        except RequestError:
            raise SampleError("the chat template refuses the conversation") from None

    def _tokens(self, text: str, tiles: Iterable[int]) -> list[int]:
        context = self.processor.image_token
        if context in text:
            first, *rest = text.split(context)
            per_tile = self.processor.image_seq_length
            begin, end = self.processor.start_image_token, self.processor.end_image_token
            text = first + "".join(
                f"{begin}{context * per_tile * count}{end}{part}" for part, count in zip(rest, tiles, strict=False)
            )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _grid(self, path: Path, max_tiles: int) -> tuple[int, int]:
        width, height = self.image_size(path)
        if max_tiles == 1:
            return (1, 1)
        columns, rows = get_optimal_tiled_canvas((height, width), (self.size, self.size), 1, max_tiles)
        return (columns, rows)


def encode_all(
    conversations: Iterable[Conversation], encoder: Encoder, skipped: Counter[tuple[str, str]]
) -> list[Example]:
    """The usable conversations as examples; the others are counted in `skipped` under (data set, reason)."""
    examples = []
    for conversation in conversations:
        try:
            examples.append(encoder.encode(conversation))
        except SampleError as error:
            skipped[conversation.dataset, str(error)] += conversation.copies
    return examples


class TileLoader:
    """Image files → uint8 tiles [tiles, 3, size, size], cached up to CACHE_BYTES."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cached = lru_cache(maxsize=max(1, CACHE_BYTES // (3 * size * size)))(self._cut)

    def __call__(self, image: TiledImage, generator: random.Random) -> np.ndarray:
        """The tiles, from the cache or decoded. Raises SampleError if the image cannot be decoded."""
        return self._cut(image, generator) if image.augment else self.cached(image)

    def _cut(self, image: TiledImage, generator: random.Random | None = None) -> np.ndarray:
        columns, rows = image.grid
        size = self.size
        try:
            pixels = open_rgb(str(image.path))
        except (*DECODE_ERRORS, Image.DecompressionBombError):
            raise SampleError("image cannot be decoded") from None
        if generator and "crop_flip" in image.augment:
            pixels = crop_and_flip(pixels, generator)
        if generator and "jpeg" in image.augment:
            pixels = _recompressed(pixels, generator.randint(75, 100))
        large = _resized(pixels, columns * size, rows * size)
        tiles = [
            large.crop((column * size, row * size, (column + 1) * size, (row + 1) * size))
            for row in range(rows)
            for column in range(columns)
        ]
        if len(tiles) > 1:
            tiles.append(_resized(pixels, size, size))
        return np.stack([np.asarray(tile) for tile in tiles]).transpose(0, 3, 1, 2)


class Collator:
    """Examples → one padded batch: input_ids, labels [batch, longest], pixel_values [tiles, 3, size, size].

    Also `dataset` [batch], the index in `datasets` of each example's data set, and `broken`, the same of the examples
    whose image could not be decoded: they stay in the batch without labels.
    """

    def __init__(self, processor: Any, datasets: Sequence[str], seed: int) -> None:
        image_processor = processor.image_processor
        self.tiles = TileLoader(int(image_processor.size["height"]))
        self.seed = seed
        self.pad = int(processor.tokenizer.pad_token_id)
        self.datasets = {name: number for number, name in enumerate(datasets)}
        self.mean = torch.tensor(image_processor.image_mean).view(1, 3, 1, 1) * 255
        self.scale = 1 / (torch.tensor(image_processor.image_std).view(1, 3, 1, 1) * 255)

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Pad to the longest. No attention mask is needed: padding is on the right and attention is causal."""
        longest = max(len(example.ids) for example in examples)
        ids = np.full((len(examples), longest), self.pad, np.int64)
        labels = np.full((len(examples), longest), IGNORED, np.int64)
        tiles: list[np.ndarray] = []
        broken: list[int] = []
        for row, example in enumerate(examples):
            length = len(example.ids)
            ids[row, :length] = example.ids
            generator = random.Random(f"{self.seed}:{example.draw}")
            try:
                tiles += [self.tiles(image, generator) for image in example.images]
                labels[row, :length] = np.where(example.learned, example.ids, IGNORED)
            except SampleError:
                tiles += [self._blank(image.tiles) for image in example.images]
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


def _image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels of the upright image, from the header. Raises SampleError if it cannot be read."""
    try:
        return upright_size(str(path))
    except FileNotFoundError:
        raise SampleError("image is missing") from None
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        raise SampleError("image cannot be read") from None


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
