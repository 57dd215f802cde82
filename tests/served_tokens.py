"""One annotation row as training reads it, and as a client asks for it: what must be the same tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoProcessor

from imageref_ray.core.config import MixtureEntry, ServeConfig
from imageref_ray.dataset import mixture
from imageref_ray.engines.base import Request
from imageref_ray.picturenews.tiny_internvl import create
from imageref_ray.serving import openai_chat
from imageref_ray.serving.chat_body import ChatBody
from imageref_ray.training.encode import Encoder, Example

CASES = [(tiles, images) for tiles in (1, 2, 6) for images in (1, 3, 20)]
"""`max_tiles` and the number of images."""

TEMPLATE = (  # as in released checkpoints: an image part brings a line break, which an annotation has already
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% else %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = ((900, 600), (112, 112), (300, 900), (640, 480), (1000, 250))


def make(folder: Path) -> None:
    """A tiny random checkpoint, and 50 pictures of several shapes."""
    create(folder / "model", ["Two red boats lie at the harbour of Velmora.\n\n### Sky\nIMAGE_1"], vocabulary=400)
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE)
    config = folder / "model" / "config.json"
    values = json.loads(config.read_text())
    values["text_config"]["max_position_embeddings"] = 4096
    config.write_text(json.dumps(values))
    rng = np.random.default_rng(0)
    for number in range(50):
        width, height = SIZES[number % len(SIZES)]
        pixels = np.kron(rng.integers(0, 256, (4, 4, 3), np.uint8), np.ones((height // 4, width // 4, 1), np.uint8))
        Image.fromarray(pixels).save(folder / f"{number}.png")


def turns(images: int) -> list[dict[str, str]]:
    """A system prompt, a question with all images but one and its answer, one about the last image and its answer."""
    first = "".join(f"IMAGE_{k}: <image>\n" for k in range(1, images))
    return [
        {"from": "system", "value": "You place pictures."},
        {"from": "human", "value": f"Velmora <|im_end|> 港口:\n{first}Which boats?"},
        {"from": "gpt", "value": "\n\nTwo red boats.\n\n### Harbour\nIMAGE_1"},
        {"from": "human", "value": "<image>\nAnd this kite?"},
        {"from": "gpt", "value": "Blue, <image> of the sky.\n"},
    ]


def trained(folder: Path, images: int, max_tiles: int, share_tiles: bool = True) -> Example:
    """The row as training reads it from an annotation file."""
    line = {"image": [f"{k}.png" for k in range(images)], "conversations": turns(images)}
    entry = MixtureEntry(root=folder, annotation=folder / "row.jsonl")
    encoder = Encoder(AutoProcessor.from_pretrained(folder / "model"), 4096, share_tiles=share_tiles)
    return encoder.encode(mixture.parse(line, "row", entry, max_tiles))


def asked(folder: Path, images: int, **more: Any) -> Request:
    """The same turns sent to the chat API, the last answer as the beginning of the reply."""
    numbers = iter(range(images))
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    chat = []
    for turn in turns(images):
        content: str | list[dict[str, Any]] = turn["value"].lstrip()  # as a model writes it that was trained on it
        if turn["from"] == "human":
            first, *rest = turn["value"].split("<image>")
            content = [{"type": "text", "text": first}] if first else []
            for text in rest:
                content += [
                    {"type": "image_url", "image_url": {"url": f"{next(numbers)}.png"}},
                    {"type": "text", "text": text},
                ]
        chat.append({"role": roles[turn["from"]], "content": content})
    body = ChatBody.model_validate({"messages": chat, "continue_final_message": True, "max_tokens": 1, **more})
    settings = ServeConfig.model_validate({"engine": {"kind": "vllm", "model": "embedded"}, "images": folder})
    return openai_chat.to_request(body, settings)


def read_until_the_end(example: Example, end_of_turn: int) -> list[int]:
    """The row's tokens up to the end of its last answer, which the model writes itself."""
    ids: list[int] = example.ids.tolist()
    return ids[: len(ids) - 1 - ids[::-1].index(end_of_turn)]
