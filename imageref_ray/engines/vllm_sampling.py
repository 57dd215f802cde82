"""Request → vLLM's parameters: how tokens are drawn, what binds them, and how the output comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from imageref_ray.engines.base import Guide, Request

OPTIONS = frozenset(
    (
        "allowed_token_ids",
        "bad_words",
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "logit_bias",
        "min_p",
        "presence_penalty",
        "repetition_penalty",
        "skip_special_tokens",
        "stop_token_ids",
        "top_k",
    )
)
"""Fields of SamplingParams that `Sampling.options` may set."""


def sampling(request: Request, kind: RequestOutputKind) -> SamplingParams:
    """vLLM's parameters for how tokens are drawn and how the output comes."""
    if request.scored:
        # 0: no alternatives to the prompt's own tokens. vLLM does not use its prefix cache then (cached tokens have no
        # probabilities), and it generates at least one token.
        return SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, output_kind=kind)
    wanted = request.sampling
    return SamplingParams(
        n=request.n,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_tokens=wanted.max_tokens,
        min_tokens=wanted.min_tokens,
        seed=wanted.seed,
        stop=list(wanted.stop) or None,
        logprobs=request.logprobs,
        structured_outputs=_guide(request.guide) if request.guide else None,
        output_kind=kind,
        **_options(wanted.options),
    )


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """vLLM's fields for them; token ids of `logit_bias` are text in JSON."""
    biases = options.get("logit_bias")
    return {**options, "logit_bias": {int(token): bias for token, bias in biases.items()}} if biases else {**options}


def _guide(guide: Guide) -> StructuredOutputsParams:
    if guide.kind == "json":
        return StructuredOutputsParams(json=guide.value)
    if guide.kind == "choice":
        return StructuredOutputsParams(choice=list(guide.value))
    return StructuredOutputsParams(regex=guide.value)
