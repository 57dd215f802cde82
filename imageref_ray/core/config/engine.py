"""The settings of an engine, one model for each kind, and of what it is asked for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Model


class PoolConfig(Config):
    """What every kind of engine has: a pool of actors."""

    actors: tuple[int, int] = Field((1, 1), description="least and most engine actors in the autoscaling pool")
    concurrency: int = Field(
        64,
        ge=1,
        description="requests in flight per actor (vllm: a few times max_num_seqs keeps its batch full; "
        "openai: at most, it begins with rate_limit.start)",
    )
    cpus: float = Field(1, ge=0, description="CPUs reserved per actor")
    gpus: float = Field(0, ge=0, description="GPUs reserved per actor")
    accelerator_type: str | None = Field(None, description="GPU kind in a mixed cluster, in Ray's words: A100, L40S, …")
    env: dict[str, str] = Field({}, description="environment variables of the actor's process")


class VllmConfig(PoolConfig):
    """vLLM inside a Ray actor or a Serve replica."""

    OPERATIONAL: ClassVar[frozenset[str]] = frozenset(
        {
            "gpu_memory_utilization",
            "max_model_len",
            "limit_mm_per_prompt",
            "max_num_seqs",
            "max_num_batched_tokens",
            "enforce_eager",
            "block_size",
            "tensor_parallel_size",
            "pipeline_parallel_size",
            "data_parallel_size",
            "enable_prefix_caching",
            "disable_log_stats",
            "compilation_config",
            "mm_processor_cache_gb",
            "swap_space",
            "distributed_executor_backend",
        }
    )
    """Arguments that change how fast replies come, or which requests fit, but not what the replies are."""

    kind: Literal["vllm"] = "vllm"
    model: Model = Field(description="checkpoint folder, hub name, or `embedded`: the one in the package")
    args: dict[str, Any] = Field({}, description="vLLM's own engine arguments, passed on as they are (AsyncEngineArgs)")

    def identity(self) -> dict[str, Any]:
        """What of these settings changes replies: a part of a run's fingerprint."""
        args = {key: value for key, value in self.args.items() if key not in self.OPERATIONAL}
        return {"kind": self.kind, "model": self.model, "args": args}


class RateLimitConfig(Config):
    """How fast an endpoint is asked; the defaults suit public endpoints and a vLLM server alike."""

    start: int = Field(8, ge=1, description="calls in flight at the beginning; answers raise it up to concurrency")
    window_s: float = Field(
        1.0, ge=0, description="failures of calls begun less than this after a decrease belong to the same burst"
    )
    first_wait_s: float = Field(0.5, ge=0, description="longest wait after a first failure; doubles with every further")
    longest_wait_s: float = Field(30.0, ge=0, description="longest wait between two calls of a request")


class RetryConfig(Config):
    """When one request, or the whole endpoint, is given up."""

    tries: int = Field(6, ge=1, description="failed calls after which a request fails, where others are answered")
    busy_tries: int = Field(24, ge=1, description="… where the endpoint was merely busy")
    failures: int = Field(5, ge=1, description="failed calls in a row, over all requests, before it may be dead")


class OpenAIConfig(PoolConfig):
    """An OpenAI-compatible endpoint, asked by actors that hold no model."""

    kind: Literal["openai"] = "openai"
    model: str = Field(description="the model's name at the endpoint")
    args: dict[str, Any] = Field({}, description="further fields of every request, e.g. reasoning_effort, extra_body")
    base_url: str | None = Field(None, description="where the endpoint is (…/v1); without: OpenAI's own")
    api_key_env: str = Field("OPENAI_API_KEY", description="the environment variable that holds the key")
    headers: dict[str, str] = Field(
        {}, description="headers of every request; `$NAME` as a value is read from the environment"
    )
    timeout_s: float = Field(120, gt=0, description="seconds before one call is given up")
    patience_s: float = Field(
        120, gt=0, description="the run stops when nothing is answered for so long, or Retry-After asks for more"
    )
    rate_limit: RateLimitConfig = RateLimitConfig()
    retries: RetryConfig = RetryConfig()
    guides: Literal["auto", "validate"] = Field(
        "auto", description="ask the endpoint to keep a guide and check its reply (auto), or only check it"
    )
    picture: Literal["original", "thumbnail"] = Field(
        "original", description="send files as they are, or JPEGs of at most 1,024 pixels a side and 1 MiB"
    )

    def identity(self) -> dict[str, Any]:
        """As VllmConfig.identity."""
        return self.model_dump(mode="json", include={"kind", "model", "args", "guides", "picture"})


class ScriptedConfig(PoolConfig):
    """A function as engine: for tests of the framework and for measuring its own cost."""

    kind: Literal["scripted"] = "scripted"
    model: str = Field("none", description="a name for the function's replies")
    script: str = Field(description="`package.module:function` that computes each reply")

    def identity(self) -> dict[str, Any]:
        """As VllmConfig.identity."""
        return self.model_dump(mode="json", include={"kind", "model", "script"})


def _kind(value: Any) -> Any:
    return value.get("kind", "vllm") if isinstance(value, dict) else getattr(value, "kind", None)


EngineConfig = Annotated[
    Annotated[VllmConfig, Tag("vllm")]
    | Annotated[OpenAIConfig, Tag("openai")]
    | Annotated[ScriptedConfig, Tag("scripted")],
    Discriminator(
        _kind,
        custom_error_type="engine_kind",
        custom_error_message="expected a table of settings whose kind is vllm (the default), openai or scripted",
    ),
]
"""Which engine answers, and how big its pool is."""


class SamplingConfig(Config):
    """How one kind of reply is drawn."""

    temperature: float = Field(0.0, ge=0)
    max_tokens: int = Field(1024, ge=1)
