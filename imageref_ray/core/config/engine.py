"""The settings of an engine, one config model per kind, and of sampling."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from imageref_ray.core.config.base import Config
from imageref_ray.core.config.places import Model


class PoolConfig(Config):
    """Settings of the actor pool that every kind of engine has."""

    actors: tuple[int, int] = Field(
        (1, 1), description="[min, max] engine actors of the autoscaling pool (serve: replicas)"
    )
    concurrency: int = Field(
        64,
        ge=1,
        description="maximum requests in flight per actor (vllm: a few times max_num_seqs keeps its batch full; "
        "openai: starts with rate_limit.start and grows while the endpoint keeps up)",
    )
    cpus: float = Field(1, ge=0, description="CPUs that Ray reserves per actor")
    gpus: float = Field(0, ge=0, description="GPUs that Ray reserves per actor")
    accelerator_type: str | None = Field(
        None, description="GPU type to run on in a mixed cluster, as Ray names it: A100, L40S, …"
    )
    env: dict[str, str] = Field({}, description="environment variables of the actor processes")


class CheckpointConfig(PoolConfig):
    """An engine that loads a checkpoint in its own process."""

    model: Model = Field(
        description="checkpoint: a folder, a Hugging Face hub name, or `embedded` (the one in the package)"
    )
    template_args: dict[str, Any] = Field(
        {}, description="variables of the model's chat template, e.g. {enable_thinking: false} for Qwen3"
    )
    max_tiles: int | None = Field(
        None,
        ge=1,
        description="InternVL only: maximum tiles per image; default: what the checkpoint was trained with "
        "(imageref.json in its folder, else max_patches of its processor)",
    )
    share_tiles: bool | None = Field(
        None,
        description="InternVL only: the images of a request share the maximum, each gets max(1, max_tiles // images); "
        "default: as in the checkpoint's training, true for a checkpoint that does not say",
    )

    args: dict[str, Any] = Field({}, description="arguments of the library that runs the model")

    def tiling(self) -> dict[str, Any]:
        """The settings of tiles that are given: they change replies, as the checkpoint does where they are not."""
        return self.model_dump(mode="json", include={"max_tiles", "share_tiles"}, exclude_none=True)


class VllmConfig(CheckpointConfig):
    """vLLM inside a Ray actor or a Serve replica, with any model that vLLM runs."""

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
    """vLLM arguments that change speed, or which requests fit, but not the replies."""

    kind: Literal["vllm"] = Field("vllm", description="vLLM loads the model in each actor")
    args: dict[str, Any] = Field({}, description="vLLM engine arguments (AsyncEngineArgs), passed on unchanged")

    def identity(self) -> dict[str, Any]:
        """The settings that change replies, as plain values: part of a run's fingerprint."""
        args = {key: value for key, value in self.args.items() if key not in self.OPERATIONAL}
        template = {"template_args": self.template_args} if self.template_args else {}
        return {"kind": self.kind, "model": self.model, "args": args, **template, **self.tiling()}


class TransformersConfig(CheckpointConfig):
    """Hugging Face transformers inside a Ray actor or a Serve replica: slower, for models and machines without vLLM."""

    kind: Literal["transformers"] = Field("transformers", description="transformers loads the model in each actor")
    args: dict[str, Any] = Field(
        {},
        description="arguments of from_pretrained (revision, attn_implementation, …), passed on unchanged",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="precision of the weights; auto: the checkpoint's"
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="where the model runs; auto: the first of these that there is"
    )
    batch: int = Field(8, ge=1, description="maximum requests that are generated together")

    def identity(self) -> dict[str, Any]:
        """As `VllmConfig.identity`."""
        values = self.model_dump(mode="json", include={"kind", "model", "args", "dtype", "template_args"})
        return {**values, **self.tiling()}


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


class PictureLimitsConfig(Config):
    """Which images an endpoint takes as they are; the defaults suit OpenAI, Anthropic, Gemini and Qwen-VL."""

    min_side: int = Field(28, ge=1, description="pixels; a shorter side is filled up with white on both ends")
    max_side: int = Field(2048, ge=1, description="pixels; an image with a longer side is made smaller")
    max_bytes: int = Field(
        4_194_304, ge=65_536, description="bytes; a larger file is sent as a JPEG of at most so many"
    )

    @model_validator(mode="after")
    def _ordered(self) -> PictureLimitsConfig:
        if self.min_side > self.max_side:
            raise ValueError(f"min_side is {self.min_side}, more than max_side, {self.max_side}; lower it")
        return self


class OpenAIConfig(PoolConfig):
    """An OpenAI-compatible endpoint; the actors only send requests."""

    kind: Literal["openai"] = Field("openai", description="requests go to an OpenAI-compatible endpoint")
    model: str = Field(description="the model's name at the endpoint")
    args: dict[str, Any] = Field({}, description="extra fields of every request, e.g. reasoning_effort, extra_body")
    base_url: str | None = Field(None, description="base URL of the endpoint (…/v1); default: OpenAI's")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable with the API key")
    headers: dict[str, str] = Field(
        {}, description="HTTP headers of every request; a value `$NAME` is read from the environment"
    )
    timeout_s: float = Field(120, gt=0, description="seconds until one call times out")
    patience_s: float = Field(
        120, gt=0, description="seconds without any answer, or asked for by Retry-After, after which the run stops"
    )
    rate_limit: RateLimitConfig = Field(RateLimitConfig(), description="how fast the endpoint is asked")
    retries: RetryConfig = Field(RetryConfig(), description="when a request, or the endpoint, is given up")
    guides: Literal["auto", "validate"] = Field(
        "auto",
        description="structured output: enforced by the endpoint and checked here (auto), or only checked (validate)",
    )
    prefill: Literal["auto", "never"] = Field(
        "auto",
        description="continuing an answer that has begun, as guided placement does: until the endpoint refuses it "
        "(auto), or never, for endpoints that ignore it and begin anew",
    )
    picture: Literal["auto", "original", "thumbnail"] = Field(
        "auto",
        description="images as sent: the files, but what is not within picture_limits, upright, or a JPEG, PNG, WebP "
        "or still GIF is made so (auto); the files whatever they are (original); JPEGs of at most 1,024 px per side "
        "and 1 MiB (thumbnail)",
    )
    picture_limits: PictureLimitsConfig = Field(
        PictureLimitsConfig(), description="which images picture: auto sends as they are"
    )

    def identity(self) -> dict[str, Any]:
        """As `VllmConfig.identity`."""
        keys = {"kind", "model", "args", "guides", "prefill", "picture"}
        return self.model_dump(mode="json", include=keys | ({"picture_limits"} if self.picture == "auto" else set()))


class ScriptedConfig(PoolConfig):
    """A Python function as engine, to test the framework and to measure its overhead."""

    kind: Literal["scripted"] = Field("scripted", description="a Python function computes the replies")
    model: str = Field("none", description="model name to report")
    script: str = Field(description="`package.module:function` that computes each reply")

    def identity(self) -> dict[str, Any]:
        """As `VllmConfig.identity`."""
        return self.model_dump(mode="json", include={"kind", "model", "script"})


def _kind(value: Any) -> Any:
    return value.get("kind", "vllm") if isinstance(value, dict) else getattr(value, "kind", None)


EngineConfig = Annotated[
    Annotated[VllmConfig, Tag("vllm")]
    | Annotated[TransformersConfig, Tag("transformers")]
    | Annotated[OpenAIConfig, Tag("openai")]
    | Annotated[ScriptedConfig, Tag("scripted")],
    Discriminator(
        _kind,
        custom_error_type="engine_kind",
        custom_error_message="expected a table of settings whose kind is vllm (the default), transformers, openai "
        "or scripted",
    ),
]
"""Settings of an engine; `kind` selects the model."""


class SamplingConfig(Config):
    """Sampling parameters of one kind of reply."""

    temperature: float = Field(0.0, ge=0, description="sampling temperature; 0: greedy decoding")
    max_tokens: int = Field(1024, ge=1, description="maximum tokens per reply")
