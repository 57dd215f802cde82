"""What happens at each step of transformers' `generate` over a batch: guides, stops and log-probabilities of its rows.

logits ─ process ─▶ logits that the guides allow ─ a token is drawn ─ ended ─▶ which rows are done
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import xgrammar

from imageref_ray.engines.base import Guide, Request, RequestError

CONTEXT_TOKENS = 6
"""Tokens of the prompt that are decoded with a reply: whether a word begins with a space depends on them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished row; the fields are those of a `Reply`, `tokens` counts the generated ones."""

    text: str
    reason: str
    tokens: int
    logprobs: tuple[float, ...] = ()
    opening: dict[str, float] = field(default_factory=dict)


class Guides:
    """Compiles guides for one model; equal ones once."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: list[int]) -> None:
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary, stop_token_ids=ends)
        self.vocabulary = vocabulary
        self._compiler = xgrammar.GrammarCompiler(info)

    def matcher(self, guide: Guide) -> Any:
        """What follows one reply token by token. Raises RequestError for a guide that is none."""
        try:
            return xgrammar.GrammarMatcher(self._compiled(guide))
        except (RuntimeError, TypeError, ValueError) as error:
            raise RequestError(f"the guide cannot be used: {' '.join(str(error).split())}") from error

    def _compiled(self, guide: Guide) -> Any:
        if guide.kind == "json":  # free white space may never end
            return self._compiler.compile_json_schema(json.dumps(guide.value), any_whitespace=False)
        if guide.kind == "choice":
            choices = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in guide.value)
            return self._compiler.compile_grammar(f"root ::= {choices}")
        return self._compiler.compile_regex(guide.value)


class Steps:
    """The state of one batch; `rows` are its requests, each as often as it wants texts."""

    def __init__(self, rows: Sequence[Request], prompts: torch.Tensor, tokenizer: Any, guides: Guides) -> None:
        self._rows, self._tokenizer = rows, tokenizer
        self._width = prompts.shape[1]
        self._matchers = [guides.matcher(row.guide) for row in rows if row.guide]
        self._mask = xgrammar.allocate_token_bitmask(len(self._matchers), guides.vocabulary)
        each = len(rows) // len(prompts)
        self._contexts = [prompt[-CONTEXT_TOKENS:] for prompt in prompts.tolist() for _ in range(each)]
        self._ended: dict[int, Outcome] = {}
        self._last: torch.Tensor | None = None
        self._openings: list[dict[str, float]] = []
        self._chosen: list[list[float]] = []

    def process(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores (rows × vocabulary) of what the guides allow after `ids`; a logits processor of `generate`."""
        if self._matchers:
            scores = self._allowed(ids, scores)
        if self._rows[0].logprobs is not None:
            self._note(ids)
            self._last = scores.log_softmax(-1)
        return scores

    def ended(self, ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Which rows have their stop string, or are enough; a stopping criterion of `generate`."""
        count = ids.shape[1] - self._width
        for at, row in enumerate(self._rows):
            if at in self._ended or not (row.sampling.stop or row.until) or count < row.sampling.min_tokens:
                continue
            text = self._text(at, ids[at, self._width :].tolist())
            found = [place for stop in row.sampling.stop if (place := text.find(stop)) >= 0]
            if found:
                self._ended[at] = Outcome(text[: min(found)], "stop", count)
            elif row.until and row.until(text):
                self._ended[at] = Outcome(text, "until", count)
        return torch.tensor([at in self._ended for at in range(len(self._rows))], device=ids.device)

    def outcomes(self, ids: torch.Tensor, ends: Sequence[int]) -> list[Outcome]:
        """What became of every row, once `generate` has returned `ids`."""
        self._note(ids)
        return [self._outcome(at, generated, ends) for at, generated in enumerate(ids[:, self._width :].tolist())]

    def _outcome(self, at: int, generated: list[int], ends: Sequence[int]) -> Outcome:
        end = next((place for place, token in enumerate(generated) if token in ends), None)
        if end is not None and not (at in self._ended and self._ended[at].tokens <= end):
            outcome = Outcome(self._text(at, generated[: end + 1]), "stop", end + 1)
        else:
            outcome = self._ended.get(at) or Outcome(self._text(at, generated), "length", len(generated))
        if not self._chosen:
            return outcome
        logprobs = tuple(step[at] for step in self._chosen[: outcome.tokens])
        opening = self._openings[at] | {self._tokenizer.decode([generated[0]]): logprobs[0]}
        return dataclasses.replace(outcome, logprobs=logprobs, opening=opening)

    def _allowed(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for at, matcher in enumerate(self._matchers):
            if ids.shape[1] > self._width and not matcher.is_terminated():
                matcher.accept_token(int(ids[at, -1]))  # False for the padding of a row that has ended
            if not matcher.is_terminated():
                matcher.fill_next_token_bitmask(self._mask, at)
        place = scores.device if scores.device.type in ("cpu", "cuda") else torch.device("cpu")  # as xgrammar can
        allowed = scores.to(place)
        xgrammar.apply_token_bitmask_inplace(allowed, self._mask.to(place))
        return allowed.to(scores.device)

    def _note(self, ids: torch.Tensor) -> None:
        """The log-probabilities of the tokens drawn last, and the likeliest of the first step."""
        if self._last is None:
            return
        self._chosen.append(self._last.gather(1, ids[:, -1:])[:, 0].tolist())
        if not self._openings:
            best = self._last.topk(self._rows[0].logprobs or 0)
            for values, tokens in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                pairs = zip(tokens, values, strict=True)
                self._openings.append({self._tokenizer.decode([t]): v for t, v in pairs if v > -math.inf})

    def _text(self, at: int, generated: list[int]) -> str:
        context = self._contexts[at]
        text = self._decode([*context, *generated])[len(self._decode(context)) :]
        return text.rstrip("\ufffd")  # the last character's bytes are not all there

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
