"""The error for everything that a user can fix, apart from the configs: readers of files need none of them."""

from __future__ import annotations


class ConfigError(ValueError):
    """An input of the user is wrong: the message says what, where and how to fix it (exit code 2)."""
