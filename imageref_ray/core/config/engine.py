"""The settings of an engine and of what it is asked for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Annotator


class EngineConfig(Config):
    """Which engine answers, and how big its pool is."""

    kind: Literal["vllm", "openai", "scripted"] = "vllm"
    model: Annotator = Field(description="checkpoint folder, hub name or, for openai, the served model's name")
    args: dict[str, Any] = Field({}, description="engine arguments passed on as they are (AsyncEngineArgs for vllm)")
    actors: tuple[int, int] = Field((1, 1), description="least and most engine actors in the autoscaling pool")
    concurrency: int = Field(
        64,
        ge=1,
        description="requests in flight per actor (vllm: a few times max_num_seqs keeps its batch full; "
        "openai: at most, it begins with 8)",
    )
    cpus: float = Field(1, ge=0, description="CPUs reserved per actor")
    gpus: float = Field(0, ge=0, description="GPUs reserved per actor")
    accelerator_type: str | None = Field(None, description="GPU kind in a mixed cluster, in Ray's words: A100, L40S, …")
    env: dict[str, str] = Field({}, description="environment variables of the actor's process")
    base_url: str | None = Field(None, description="openai: where the endpoint is (…/v1)")
    api_key_env: str = Field("OPENAI_API_KEY", description="openai: the environment variable that holds the key")
    headers: dict[str, str] = Field(
        {}, description="openai: headers of every request; `$NAME` as a value is read from the environment"
    )
    timeout_s: float = Field(120, gt=0, description="openai: seconds before one call is given up")
    patience_s: float = Field(
        120,
        gt=0,
        description="openai: the run stops when nothing is answered for so long, or Retry-After asks for more",
    )
    guides: Literal["auto", "validate"] = Field(
        "auto", description="openai: ask the endpoint to keep a guide and check its reply (auto), or only check it"
    )
    picture: Literal["original", "thumbnail"] = Field(
        "original", description="openai: send files as they are, or JPEGs of at most 1,024 pixels a side and 1 MiB"
    )
    script: str | None = Field(None, description="scripted: `package.module:function` that computes each reply")


class SamplingConfig(Config):
    """How one kind of reply is drawn."""

    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(1024, ge=1)
