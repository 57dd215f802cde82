"""The base class of every config model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from imageref_ray.core.config_error import ConfigError

__all__ = ["Config", "ConfigError"]


class Config(BaseModel):
    """Base of all config models: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
