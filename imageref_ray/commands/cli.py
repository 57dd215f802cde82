"""`imageref …`: arguments in, one function call, exit code out. The commands are listed in table.py.

Nothing heavy is imported before a command runs. Wrong input (`ConfigError`) is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

from imageref_ray.commands import streams
from imageref_ray.commands.arguments import Command, all_arguments
from imageref_ray.commands.table import COMMANDS, GROUPS, PURPOSE

RESUME = "Run the same command again to resume."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed or breaches found, 2 wrong input, 130 interrupted, 141
    output pipe closed (`… | head`)."""
    return streams.run_guarded(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = vars(parser().parse_args(argv))
    from imageref_ray.batch.outcome import RunFailed
    from imageref_ray.batch.watchdog import Stopped
    from imageref_ray.core.config import ConfigError
    from imageref_ray.engines.base import EngineError

    try:
        return call(arguments.pop("command"), arguments)
    except ConfigError as error:
        return _print_error(str(error), 2)
    except EngineError as error:
        return _print_error(f"{str(error).rstrip('.')}. {RESUME}", 1)
    except RunFailed as failed:
        return _print_error(str(failed), 1)
    except Stopped as stopped:
        return _print_error(str(stopped), 130)
    except KeyboardInterrupt:
        return _print_error(f"interrupted. {RESUME}", 130)


def _print_error(message: str, code: int) -> int:
    print(f"imageref: {message}", file=sys.stderr)
    return code


def call(command: Command, arguments: dict[str, Any]) -> int:
    """Run the command's function with the parsed arguments; returns the exit code: the function's int, else 0."""
    if command.config:
        arguments, dry_run = _with_config(command, arguments)
        if dry_run:
            from imageref_ray.commands.dry_run import show

            return show(command.name, arguments["config"])
    module, _, name = command.call.partition(":")
    result = getattr(importlib.import_module(module), name)(**arguments)
    return result if isinstance(result, int) else 0


def _with_config(command: Command, parsed: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The arguments, with the loaded config in place of those that change it; and whether this is only a dry run."""
    from imageref_ray.core import config

    arguments = dict(parsed)
    file, overrides, dry_run = arguments.pop("config"), [*arguments.pop("set")], arguments.pop("dry_run")
    for argument in all_arguments(command):
        if argument.sets and (value := arguments.pop(argument.sets)) is not None:
            overrides.append(f"{argument.sets}={json.dumps(value)}")
    loaded = config.load(getattr(config, command.config), file, overrides)
    config.check_places(loaded)
    return {"config": loaded, **arguments}, dry_run


BESIDE = {command.name for command in COMMANDS if command.name.rpartition(" ")[0] in {other.name for other in COMMANDS}}
"""Two-word commands whose first word is a command with arguments of its own: `instruct rows` beside `instruct`."""


class _Parser(argparse.ArgumentParser):
    """Takes the two words of a command in BESIDE for one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        if " ".join(words[:2]) in BESIDE:
            words[:2] = [" ".join(words[:2])]
        return super().parse_known_args(words, namespace)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands, with their help."""
    root = _Parser(prog="imageref", description=PURPOSE, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = root.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=argparse.ArgumentParser
    )
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        if command.name in BESIDE:
            _add_command(commands, command.name, command)
            continue
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            summary, description = GROUPS[group]
            group_parser = commands.add_parser(group, help=summary, description=description)
            groups[group] = group_parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        _add_command(groups[group] if group else commands, name, command)
    return root


def _add_command(subparsers: Any, name: str, command: Command) -> None:
    command_parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=command.short,
        description=command.text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for argument in all_arguments(command):
        command_parser.add_argument(*argument.names, help=argument.help, **argument.options)
    command_parser.set_defaults(command=command)
