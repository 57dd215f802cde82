"""The prompt's text: images where they stand, one first token, and no control token from outside."""

from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Image
from imageref_ray.engines import chat_template
from imageref_ray.engines.base import Message, Request, RequestError
from imageref_ray.engines.chat_template import ChatTemplate
from tests import tiny_models

A, B = Image("d/a.png", "a.png"), Image("d/b.png", "b.png")
CHAT = Request((Message("user", ("One ", A, " two ", B, " three")),), prefix="It is")


def template(text: str | None, special: list[str], placeholder: Any = None, begins: bool = False) -> ChatTemplate:
    tokenizer = tiny_models.make_tokenizer(special, begins)
    tokenizer.chat_template = text
    return ChatTemplate(tokenizer, placeholder)


def numbered(number: int) -> str:
    return f"<|image_{number}|>"


@pytest.mark.parametrize(
    ("text", "special", "placeholder", "prompt"),
    [
        (
            tiny_models.QWEN,
            ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"],
            lambda _: "not used",
            "<|im_start|>user\nOne <|vision_start|><|image_pad|><|vision_end|> two "
            "<|vision_start|><|image_pad|><|vision_end|> three<|im_end|>\n<|im_start|>assistant\nIt is",
        ),
        # The template would move both images to the front; so they are written in the text.
        (
            tiny_models.LLAVA,
            ["<image>"],
            lambda _: "<image>",
            "<s>USER: One <image> two <image> three ASSISTANT:It is",
        ),
        (
            tiny_models.LLAMA,
            [],
            numbered,
            "<s><|user|>One <|image_1|> two <|image_2|> three</s><|assistant|>It is",
        ),
    ],
    ids=["parts", "one text", "string"],
)
def test_images_stand_where_they_are_whatever_the_template_takes(
    text: str, special: list[str], placeholder: Any, prompt: str
) -> None:
    assert template(text, special, placeholder, begins=prompt.startswith("<s>")).render(CHAT) == prompt


def test_images_are_numbered_over_all_messages() -> None:
    chat = Request((Message("user", (A,)), Message("assistant", ("Yes.",)), Message("user", (B, "?"))))
    prompt = template(tiny_models.LLAMA, [], numbered, begins=True).render(chat)
    assert "<|image_1|></s>" in prompt and "<|image_2|>?</s>" in prompt


@pytest.mark.parametrize("text", [tiny_models.QWEN, tiny_models.LLAVA, tiny_models.LLAMA])
def test_no_control_token_and_no_placeholder_hides_in_text(text: str) -> None:
    made = template(text, ["<image>", "<|im_end|>"], numbered)
    given = ("a <|im_end|> b <ima", "ge> c </s> <|image_12|>", A)
    request = Request((Message("user", given),), prefix="</s><image>")
    bare = made.render(Request((Message("user", ("", A)),)))
    prompt = made.render(request)
    for token in ("<|im_end|>", "</s>", "<|image_12|>"):
        assert prompt.count(token) == bare.count(token)
    assert prompt.count("<image>") == bare.count("<image>")


def test_blank_tokens_of_a_vocabulary_are_no_control_tokens() -> None:
    made = template(tiny_models.QWEN, ["\n\n", "▁▁", "<|im_end|>"])
    assert "a\n\nb ▁▁ c" in made.render(Request((Message("user", ("a\n\nb ▁▁ c",)),)))


def test_a_prompt_begins_once() -> None:
    chat = Request((Message("user", ("Hi",)),))
    for text in (tiny_models.LLAMA, tiny_models.LLAVA):
        made = template(text, [], begins=True)
        assert made.render(chat).startswith("<s>") and made.render(chat).count("<s>") == 1
    assert template(tiny_models.QWEN, []).render(chat).startswith("<|im_start|>")


def test_a_template_is_given_its_variables() -> None:
    tokenizer = tiny_models.make_tokenizer([])
    tokenizer.chat_template = tiny_models.QWEN + "{% if not thinks %}<think></think>{% endif %}"
    chat = Request((Message("user", ("Hi",)),), prefix="Yes")
    assert ChatTemplate(tokenizer).render(chat).endswith("assistant\n<think></think>Yes")
    assert ChatTemplate(tokenizer, variables={"thinks": True}).render(chat).endswith("assistant\nYes")


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        template(None, [])
    with pytest.raises(RequestError, match="2 images in a request to a model that reads text only"):
        template(tiny_models.LLAMA, []).render(CHAT)
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + tiny_models.QWEN
    )
    chat = Request((Message("system", ("Be brief.",)), Message("user", ("Hi",))))
    with pytest.raises(RequestError, match="refuses the conversation: no system role"):
        template(refusing, []).render(chat)
    with pytest.raises(RequestError, match="nothing says how it writes an image"):
        template(tiny_models.LLAMA, [], lambda _: None).render(CHAT)


def test_internvls_prompt_is_a_string_with_its_own_placeholder_and_no_token_is_added(checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    prompt = chat_template.internvl(tokenizer).render(CHAT)
    assert prompt == (
        "<|im_start|>user\nOne <IMG_CONTEXT> two <IMG_CONTEXT> three<|im_end|>\n<|im_start|>assistant\nIt is"
    )
    assert tokenizer.encode(prompt) == tokenizer.encode(prompt, add_special_tokens=False)
