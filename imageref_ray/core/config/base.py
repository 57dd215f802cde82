"""The base class of every config model, and the error for everything that a user can fix."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """An input of the user is wrong: the message says what, where and how to fix it (exit code 2)."""


class Config(BaseModel):
    """Base of all config models: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
