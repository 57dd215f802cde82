"""Types and constructors for the command table: a command, its arguments and their common forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its names, its help, and options for argparse's `add_argument`.

    With `sets`, its value overrides that setting of the job's config and is not passed to the function.
    """

    names: tuple[str, ...]
    help: str
    options: Mapping[str, Any] = field(default_factory=dict)
    sets: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `call` is the `module:function` that runs it; an int that this returns is the exit code.

    The function gets the arguments by name. Where `config` names a class of `core.config`, it also gets `config`, read
    from `--config` (or from the file `default`) with its overrides. `short` is the line in the list of commands,
    `text` the text of `--help`.
    """

    name: str
    short: str
    text: str
    call: str
    config: str = ""
    default: Path | None = None
    arguments: tuple[Argument, ...] = ()


def path(text: str) -> Path:
    """Parse an argument that is a path. Raises ArgumentTypeError for a URL: it would create a folder named `s3:`."""
    import argparse

    from imageref_ray.core.config.places import reject_address

    try:
        return Path(reject_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def option(name: str, metavar: str, help: str, **options: Any) -> Argument:
    return Argument((name,), help, {"metavar": metavar, **options})


def path_option(name: str, metavar: str, help: str, **options: Any) -> Argument:
    return option(name, metavar, help, type=path, **options)


def int_option(name: str, metavar: str, help: str, default: int) -> Argument:
    return option(name, metavar, f"{help} (default {default})", type=int, default=default)


BUDGET = Argument(
    ("--max-budget",),
    "stop after this cost: `2000000 tokens`, or money: `20`",
    {"metavar": "AMOUNT"},
    sets="max_budget",
)
SET = Argument(
    ("--set",), "change one setting; repeatable", {"metavar": "KEY=VALUE", "action": "append", "default": []}
)


def all_arguments(command: Command) -> tuple[Argument, ...]:
    """The command's arguments in order: before its own, those that every command with a config takes."""
    return (*_config_arguments(command), *command.arguments) if command.config else command.arguments


def _config_arguments(command: Command) -> tuple[Argument, ...]:
    note = " (default: the one in the package)" if command.default else ""
    options = {"type": path, "required": command.default is None, "default": command.default, "metavar": "FILE"}
    return (
        Argument(("--config",), f"YAML file with the job's settings{note}", options),
        SET,
        Argument(("--output",), "run directory (short for --set output=DIR)", {"metavar": "DIR"}, sets="output"),
        Argument(
            ("--dry-run",), "print the settings and the paths that would be read and written", {"action": "store_true"}
        ),
    )
