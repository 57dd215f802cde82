"""What vLLM is told, and what is made of what it gives: its own classes, without an engine."""

from pathlib import Path
from typing import Any

import pytest
from vllm import AsyncLLMEngine
from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind
from vllm.usage.usage_lib import UsageContext

from imageref_ray.core.config import VllmConfig
from imageref_ray.engines import vllm, vllm_sampling
from imageref_ray.engines.base import Message, Request, Sampling, Token
from imageref_ray.serving import chat_body


def test_vllm_is_told_what_it_is_for_so_that_its_defaults_are_the_cards_and_that_no_video_comes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def started(args: Any, **given: Any) -> Any:
        told.update(given, args=args)
        raise RuntimeError("started")

    monkeypatch.setattr(AsyncLLMEngine, "from_engine_args", started)
    with pytest.raises(RuntimeError, match="started"):
        vllm.VllmEngine(VllmConfig(model=str(checkpoint)))
    assert told["usage_context"] is UsageContext.LLM_CLASS
    assert told["args"].limit_mm_per_prompt == {"video": 0}


def test_every_option_of_sampling_is_a_parameter_of_vllm_within_its_bounds() -> None:
    given = {
        "allowed_token_ids": [4, 5],
        "bad_words": ["ship"],
        "frequency_penalty": -2.0,
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "logit_bias": {"7": -100.0},
        "min_p": 0.1,
        "presence_penalty": 0.5,
        "repetition_penalty": 1.3,
        "skip_special_tokens": False,
        "stop_token_ids": [3],
        "top_k": 5,
    }
    assert given.keys() == vllm_sampling.OPTIONS == chat_body.OPTIONS.keys()
    asked = Request((Message("user", ("Hi",)),), Sampling(temperature=1.0, options=given), logprobs=2)
    params = vllm_sampling.sampling(asked, RequestOutputKind.DELTA)
    assert {name: getattr(params, name) for name in given} == {**given, "logit_bias": {7: -100.0}}
    step = {9: Logprob(-3.0, 7, "c"), 4: Logprob(-0.1, 1, "a"), 5: Logprob(-1.0, 2, "b")}
    output = CompletionOutput(0, "c", [9], None, [step])
    assert vllm._tokens(output, 2) == (Token("c", -3.0, (("a", -0.1), ("b", -1.0))),)
    assert vllm._tokens(output, 0) == (Token("c", -3.0),)
