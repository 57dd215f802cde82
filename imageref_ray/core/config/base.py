"""What every config model rests on, and the error for everything that a user can mend."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to mend it (exit code 2)."""


class Config(BaseModel):
    """Base of all configs: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
