"""A model's chat template over requests: Request → the prompt's text, every image where it stands.

The text is written here, for all engines that hold the model themselves, so that an open assistant turn and an image's
exact place are the same in every stage and on every engine. It is a whole prompt: it is tokenized as it stands, without
adding special tokens.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from jinja2 import TemplateError

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Message, Request, RequestError

INTERNVL = "InternVLForConditionalGeneration"

INTERNVL_IMAGE = "<IMG_CONTEXT>"
"""What InternVL's Hugging Face processor replaces by an image's tokens."""

Placeholder = Callable[[int], str | None]
"""How the k-th image of a request (k from 1) is written in a prompt's text; None: this model has no such writing."""

Content = Literal["string", "text", "parts"]
"""What a template takes as a message's content: a string, a list with one text, or a list of texts and images. Images
are written as placeholders in the first two."""

BEFORE, AFTER = "Before", "After"
"""The texts around the image in the conversation that shows what a template takes."""


class ChatTemplate:
    """One model's template. `placeholder` is None for a model that reads text only.

    `template` is the Jinja text (None: the tokenizer's own); `content` what it takes (None: found out by a trial),
    `variables` what it is given besides the conversation (`engine.template_args`).
    Raises ConfigError where there is no template.
    """

    def __init__(
        self,
        tokenizer: Any,
        placeholder: Placeholder | None = None,
        template: str | None = None,
        content: Content | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        if template is None and not tokenizer.chat_template:
            raise ConfigError(
                f"engine.model: {tokenizer.name_or_path} has no chat template, so there is no telling how it is asked; "
                "give a model that was trained to follow instructions"
            )
        self._tokenizer, self._template, self._placeholder = tokenizer, template, placeholder
        self._variables = variables or {}
        self._control = _control_tokens(tokenizer, placeholder)
        # A template that leaves the first token to the tokenizer (LLaVA's) would lose it.
        begins = tokenizer.bos_token is not None and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]
        self._begin: str = tokenizer.bos_token if begins else ""
        self._content = content or self._accepted_content()

    def render(self, request: Request) -> str:
        """The prompt's text, with the open turn's prefix at the end.

        Raises RequestError for images where the model reads none, and for a conversation that the template refuses.
        """
        if request.images and self._placeholder is None:
            raise RequestError(f"{len(request.images)} images in a request to a model that reads text only")
        return self.conversation(request.messages) + self._plain(request.prefix)

    def conversation(self, messages: Iterable[Message], open_turn: bool = True) -> str:
        """The text of the turns, and of the beginning of the assistant's next one (`open_turn`).

        Training reads its samples as this writes them: what is learned is what is asked. Raises RequestError for a
        conversation that the template refuses.
        """
        number = 0
        chat = []
        for message in messages:
            chat.append({"role": message.role, "content": self._written(message, number)})
            number += len(message.images)
        try:
            return self._apply(chat, open_turn)
        except (TemplateError, TypeError, ValueError) as error:
            raise RequestError(f"the model's chat template refuses the conversation: {error}") from error

    def prefix(self, request: Request) -> list[int]:
        """The tokens of the open turn's prefix: all from where the prompt with it differs from the prompt without it.

        A token across that boundary counts to the prefix. Raises RequestError where there is none.
        """
        texts = self.render(dataclasses.replace(request, prefix="")), self.render(request)
        bare, whole = (self._tokenizer.encode(text, add_special_tokens=False) for text in texts)
        common = next((i for i, (a, b) in enumerate(zip(bare, whole, strict=False)) if a != b), len(bare))
        if not whole[common:]:
            raise RequestError(f"nothing to score: the prefix {request.prefix!r} has no tokens")
        return list(whole[common:])

    def _apply(self, chat: list[dict[str, Any]], open_turn: bool = True) -> str:
        text: str = self._tokenizer.apply_chat_template(
            chat, chat_template=self._template, tokenize=False, add_generation_prompt=open_turn, **self._variables
        )
        return text if text.startswith(self._begin) else self._begin + text

    def _accepted_content(self) -> Content:
        """By what the template makes of text, image, text: some print the list, some move all images to the front."""
        parts = [{"type": "text", "text": BEFORE}, {"type": "image"}, {"type": "text", "text": AFTER}]
        try:
            text = self._apply([{"role": "user", "content": parts}])
        except (TemplateError, TypeError, ValueError):
            return "string"
        found = re.search(f"{BEFORE}(.*){AFTER}", text, re.DOTALL)
        if found is None or "'type'" in text:
            return "string"
        return "parts" if found[1].strip() else "text"

    def _written(self, message: Message, number: int) -> str | list[dict[str, str]]:
        """A message's content as the template takes it; `number` images came before it."""
        parts = _joined(message.parts)
        if self._content == "parts":
            return [
                {"type": "image"} if isinstance(part, Image) else {"type": "text", "text": self._plain(part)}
                for part in parts
            ]
        numbers = itertools.count(number + 1)
        text = "".join(self._image(next(numbers)) if isinstance(part, Image) else self._plain(part) for part in parts)
        return [{"type": "text", "text": text}] if self._content == "text" else text

    def _image(self, number: int) -> str:
        written = self._placeholder(number) if self._placeholder else None
        if written is None:
            raise RequestError("the model's chat template takes text only, and nothing says how it writes an image")
        return written

    def _plain(self, text: str) -> str:
        """`text` in which no control token of the model can hide (documents are untrusted)."""
        return self._control.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)


def internvl(tokenizer: Any, variables: Mapping[str, Any] | None = None) -> ChatTemplate:
    """InternVL's: images are placeholders in a string, whatever else its template takes."""
    return ChatTemplate(tokenizer, lambda _: INTERNVL_IMAGE, content="string", variables=variables)


def image_token(config: Any) -> int | None:
    """The token that stands for a piece of an image in a prompt of the model (a Hugging Face config); None: unknown."""
    token = getattr(config, "image_token_id", None)
    return getattr(config, "image_token_index", None) if token is None else token


def _joined(parts: Iterable[str | Image]) -> Iterator[str | Image]:
    """The parts with texts that follow each other as one: no control token is put together from two."""
    for is_image, group in itertools.groupby(parts, lambda part: isinstance(part, Image)):
        if is_image:
            yield from group
        else:
            yield "".join(map(str, group))


def _control_tokens(tokenizer: Any, placeholder: Placeholder | None) -> re.Pattern[str]:
    """What text from outside must not contain.

    White space and single characters are among the added tokens of some vocabularies (Gemma's): no control tokens.
    """
    tokens = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    patterns = [re.escape(token) for token in tokens if len(token.strip(" \t\n\r▁")) > 1]
    if placeholder and (written := placeholder(1)):
        patterns.append(re.escape(written).replace("1", r"\d+"))  # of any image
    return re.compile("|".join(sorted(patterns, key=len, reverse=True)) or r"(?!)")
