"""The embedded checkpoint before training: a tokenizer trained on the corpus, processor, random InternVL weights.

    texts ──BPE──▶ tokenizer ─┐
    sizes ──────▶ config ─────┴──▶ folder that transformers and vLLM can load

The shape is InternVL's own (vision transformer, pixel shuffle, projector, Qwen2 language model) at 3 M parameters.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

TILE = 112
"""Side of a tile in pixels; patches of 14 px and a pixel shuffle of 0.5 give 16 tokens."""

SPECIAL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<IMG_CONTEXT>{% elif part.type == 'text' %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def create(folder: Path, texts: Iterable[str], vocabulary: int = 2048, seed: int = 0) -> None:
    """Write a checkpoint with random weights and a tokenizer trained on `texts`."""
    import torch
    from transformers import InternVLForConditionalGeneration

    processor = make_processor(texts, vocabulary)
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration(make_config(processor.tokenizer))
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def make_processor(texts: Iterable[str], vocabulary: int) -> Any:
    """InternVL's processor around a byte-level BPE: any text can be encoded, unknown characters as bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", *SPECIAL.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        extra_special_tokens=SPECIAL,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    size = {"height": TILE, "width": TILE}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=False, min_patches=1, max_patches=1),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=(TILE // 14 // 2) ** 2,
        chat_template=CHAT_TEMPLATE,
    )


def make_config(tokenizer: Any) -> Any:
    """The model config: 3 M parameters, text of at most 2,048 tokens."""
    from transformers import InternVLConfig

    return InternVLConfig(
        vision_config={
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 384,
            "image_size": [TILE, TILE],
            "patch_size": [14, 14],
            "layer_scale_init_value": 1.0,
            "initializer_range": 0.04,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "num_hidden_layers": 5,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "intermediate_size": 512,
            "max_position_embeddings": 2048,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
            "initializer_range": 0.04,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(SPECIAL["context_image_token"]),
        image_seq_length=(TILE // 14 // 2) ** 2,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
        vision_feature_layer=-1,
    )
