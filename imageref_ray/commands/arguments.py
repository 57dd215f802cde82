"""What a command and its arguments are, for table.py and those who read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its names, its help, and argparse's own options.

    With `sets`, its value goes into that setting of the job's config instead of to the function.
    """

    names: tuple[str, ...]
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sets: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `call` is the `module:function` that runs it; an int that this returns is the exit code.

    The function is given the arguments by name, and first, where `config` names a class of `core.config`, the `config`
    read from `--config` (or from the file `default`) with its overrides.
    """

    name: str
    short: str
    text: str
    call: str
    config: str = ""
    default: Path | None = None
    arguments: tuple[Argument, ...] = ()


def path(text: str) -> Path:
    """An argument that is a path. Raises ArgumentTypeError for an address: it would become a folder called `s3:`."""
    import argparse

    from imageref_ray.core.config.places import reject_address

    try:
        return Path(reject_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def option(name: str, metavar: str, help: str, **options: Any) -> Argument:
    return Argument((name,), help, {"metavar": metavar, **options})


def folder(name: str, metavar: str, help: str, **options: Any) -> Argument:
    return option(name, metavar, help, type=path, **options)


def number(name: str, metavar: str, help: str, default: int) -> Argument:
    return option(name, metavar, f"{help} (default {default})", type=int, default=default)


BUDGET = Argument(
    ("--max-budget",), "stop after so much: `2000000 tokens`, or money: `20`", {"metavar": "AMOUNT"}, sets="max_budget"
)
SET = Argument(
    ("--set",), "change one setting; repeatable", {"metavar": "KEY=VALUE", "action": "append", "default": []}
)


def config_arguments(command: Command) -> tuple[Argument, ...]:
    """What every command with a config takes before its own arguments."""
    note = " (default: the one in the package)" if command.default else ""
    given = {"type": path, "required": command.default is None, "default": command.default, "metavar": "FILE"}
    return (
        Argument(("--config",), f"YAML file with the job's settings{note}", given),
        SET,
        Argument(("--output",), "run directory (short for --set output=DIR)", {"metavar": "DIR"}, sets="output"),
        Argument(("--dry-run",), "print the settings and what would be read and written", {"action": "store_true"}),
    )
