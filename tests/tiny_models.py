"""Models of a few hundred thousand random weights, in the format and with the chat templates of three families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = [
    "The harbour of Lisbon in the morning, seen from a boat between two ships.",
    "Which of these images belongs into the report about the new bridge?",
    "A chart with three bars, a portrait and a logo that nobody needs.",
]

LLAMA = (  # Llama 3's way: the template writes the first token itself
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message['content'] | trim }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QWEN = (  # Qwen2-VL's own, without videos: images stand where they are, and are numbered on request
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA = (  # LLaVA 1.5's own: all images first, and no first token
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

TEXT_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


def llama(folder: Path) -> None:
    """A text-only model; its tokenizer begins every text with `<s>`, and so does its template."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(["<|user|>", "<|system|>", "<|assistant|>"], begins=True)
    tokenizer.chat_template = LLAMA
    _save(LlamaForCausalLM, LlamaConfig(**TEXT_SIZES, **_vocabulary(tokenizer)), folder)
    tokenizer.save_pretrained(folder)


def qwen2_vl(folder: Path) -> None:
    """Images of any size; positions of three dimensions."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = make_tokenizer(special)
    token = tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 2, "initializer_range": 0.2},
        text_config={
            **TEXT_SIZES,
            **_vocabulary(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        },
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
    )
    _save(Qwen2VLForConditionalGeneration, config, folder)
    sizes = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
    images, videos = Qwen2VLImageProcessor(**sizes), Qwen2VLVideoProcessor(**sizes)
    Qwen2VLProcessor(images, tokenizer, videos, chat_template=QWEN).save_pretrained(folder)


def llava(folder: Path) -> None:
    """CLIP and Llama; 16 tokens an image. Its tokenizer begins every text with `<s>`, its template does not."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = make_tokenizer(["<image>"], begins=True)
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "projection_dim": 64,
        },
        text_config={"model_type": "llama", **TEXT_SIZES, **_vocabulary(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    _save(LlavaForConditionalGeneration, config, folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA,
    ).save_pretrained(folder)


def make_tokenizer(special: list[str], begins: bool = False) -> Any:
    """A byte-level BPE trained on `TEXTS`; `begins`: it puts `<s>` before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<s>", "</s>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS, trainer)
    if begins:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>" if begins else None,
        eos_token="</s>",
        pad_token="</s>",
        additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    )


def _vocabulary(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(kind: Any, config: Any, folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    kind(config).save_pretrained(folder)


def internvl(folder: Path) -> None:
    """InternVL's shape with some 50,000 weights; 16 tokens an image of 112 px."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    from imageref_ray.picturenews import tiny_internvl

    processor = tiny_internvl.make_processor(TEXTS, 400)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    values = tiny_internvl.make_config(processor.tokenizer).to_dict()
    values["vision_config"] |= sizes
    values["text_config"] |= {**sizes, "num_key_value_heads": 1, "layer_types": ["full_attention"] * 2}
    _save(InternVLForConditionalGeneration, InternVLConfig(**values), folder)
    processor.save_pretrained(folder)
