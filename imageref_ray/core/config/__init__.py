"""One pydantic model per job: YAML file + `--set key=value` in, a frozen, fully checked config out.

Unknown keys fail, every message says what is wrong, where, and how to fix it. Relative paths are
relative to the working directory; places.py says which of them work on a cluster.
"""

from imageref_ray.core.config.base import Config, ConfigError
from imageref_ray.core.config.build import (
    NO_ENGINE,
    STAGES,
    BuildConfig,
    ExamplesConfig,
    ExportConfig,
    Format,
    InputsConfig,
    PlaceConfig,
    SplitConfig,
    Stage,
    StageConfig,
)
from imageref_ray.core.config.engine import (
    CheckpointConfig,
    EngineConfig,
    OpenAIConfig,
    RateLimitConfig,
    RetryConfig,
    SamplingConfig,
    ScriptedConfig,
    TransformersConfig,
    VllmConfig,
)
from imageref_ray.core.config.evaluate import DemoConfig, EvaluateConfig, QuestionsConfig, VqaConfig
from imageref_ray.core.config.instruct import CorrectConfig, ImagesConfig, InstructConfig, InstructSamplingConfig
from imageref_ray.core.config.judge import JudgeConfig
from imageref_ray.core.config.load import C, check, load, overridden
from imageref_ray.core.config.passes import PassConfig, PriceConfig
from imageref_ray.core.config.places import check_places
from imageref_ray.core.config.serve import KeyConfig, ServeConfig
from imageref_ray.core.config.source import FetchConfig, FilterConfig, SourceConfig
from imageref_ray.core.config.speed import SpeedConfig
from imageref_ray.core.config.train import LoraConfig, MixtureEntry, TrainConfig

__all__ = [
    "NO_ENGINE",
    "STAGES",
    "BuildConfig",
    "C",
    "CheckpointConfig",
    "Config",
    "ConfigError",
    "CorrectConfig",
    "DemoConfig",
    "EngineConfig",
    "EvaluateConfig",
    "ExamplesConfig",
    "ExportConfig",
    "FetchConfig",
    "FilterConfig",
    "Format",
    "ImagesConfig",
    "InputsConfig",
    "InstructConfig",
    "InstructSamplingConfig",
    "JudgeConfig",
    "KeyConfig",
    "LoraConfig",
    "MixtureEntry",
    "OpenAIConfig",
    "PassConfig",
    "PlaceConfig",
    "PriceConfig",
    "QuestionsConfig",
    "RateLimitConfig",
    "RetryConfig",
    "SamplingConfig",
    "ScriptedConfig",
    "ServeConfig",
    "SourceConfig",
    "SpeedConfig",
    "SplitConfig",
    "Stage",
    "StageConfig",
    "TrainConfig",
    "TransformersConfig",
    "VllmConfig",
    "VqaConfig",
    "check",
    "check_places",
    "load",
    "overridden",
]
