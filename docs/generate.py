"""Writes the pages under docs/reference/ that are made from the code: commands, settings, files.

python docs/generate.py        (`make docs` runs it; tests/unit/test_docs.py fails while a page is stale)
"""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from imageref_ray.commands.arguments import Argument, Command, all_arguments
from imageref_ray.commands.schema import CONFIGS
from imageref_ray.commands.table import COMMAND_OF, COMMANDS
from imageref_ray.core import config
from imageref_ray.core.config import Config, PassConfig
from imageref_ray.core.config.engine import PoolConfig
from imageref_ray.core.config.places import Access

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"

SHARED: dict[type[BaseModel], str] = {PassConfig: "Every run", PoolConfig: "Every engine"}
"""Bases whose settings are listed once; the jobs and engines that have them link there."""

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}

CLI = """\
# Commands

Generated from `imageref_ray/commands/table.py`. `imageref COMMAND --help` prints the same.

"""

SETTINGS = """\
# Settings

Generated from the models in `imageref_ray/core/config/`. A job's YAML file holds the settings of its table
below; `--set key.sub=value` changes one of them. An unknown key, a missing one or a wrong value ends the command before
it starts, with one sentence. `imageref init JOB` writes a file to start from, `imageref schema JOB` prints the JSON
Schema for editors, `--dry-run` prints the settings that a file amounts to.

Paths are relative to the working directory. On a cluster (`RAY_ADDRESS` is set) it depends on who opens them:

| path | opened by | on a cluster |
|---|---|---|
| path (shared) | the workers | absolute, on storage that all machines mount |
| path (written) | the job, which writes it | the same |
| path (uploaded) | the workers | the same, or inside the `working_dir` of a submitted job |
| path (local) | the process that starts the job | relative to that process |

"""

FILES = """\
# Files

Generated: every module of the package with the first lines of its docstring, room by room. Which room may import which:
[Architecture](../architecture.md#which-way-imports-point).

"""


def pages() -> dict[str, str]:
    """File name under docs/reference/ → the page's text."""
    return {"cli.md": CLI + _commands(), "settings.md": SETTINGS + _settings(), "files.md": FILES + _rooms()}


def main() -> None:
    """Write them all."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def _table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    cells = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * head.count(" | ") + "---|", *cells]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or "–"


def _code(value: object) -> str:
    return f"`{' '.join(str(value).split())}`".replace("|", "\\|")


def _commands() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for command in COMMANDS:
            yield f"[`imageref {command.name}`](#{_slug(command.name)})", _cell(command.short)

    codes = (
        "Exit codes: 0 done · 1 failed, too little succeeded, or breaches found · 2 wrong input · 130 interrupted · "
        "141 the reader of the output is gone (`… | head`).\n"
    )
    return "\n".join([_table("| command | what it does |", rows()), codes, *map(_command, COMMANDS)])


def _command(command: Command) -> str:
    text, _, example = command.text.strip().partition("\nexample: ")
    arguments = all_arguments(command)
    parts = [f"## imageref {command.name}\n", f"{text.strip()}\n"]
    if example:
        parts.append(f"    {example}\n")
    if arguments:
        parts.append(_table("| argument | what it is |", map(_argument, arguments)))
    if command.config:
        model = getattr(config, command.config)
        job = next(name for name, one in CONFIGS.items() if one is model)
        parts.append(f"Its settings: [{job}](settings.md#{job}).\n")
    return "\n".join(parts)


def _argument(argument: Argument) -> tuple[str, str]:
    options = argument.options
    metavar = options.get("metavar", argument.names[-1].lstrip("-").upper())
    flag = argument.names[0].startswith("-")
    shown = argument.names[0] if flag else metavar
    if flag and options.get("action") != "store_true":
        shown += f" {metavar}"
    return _code(shown), _cell(argument.help) + (" (required)" if options.get("required") else "")


def _slug(name: str) -> str:
    return f"imageref-{name.replace(' ', '-')}"


def _settings() -> str:
    order = _models()

    def jobs() -> Iterator[tuple[str, ...]]:
        short = {command.name: command.short for command in COMMANDS}
        for job in CONFIGS:
            name = COMMAND_OF.get(job, job)
            yield f"[{job}](#{job})", f"[`imageref {name}`](cli.md#{_slug(name)})", _cell(short[name])

    return "\n".join([_table("| job | command | what it does |", jobs()), *(_model(model, order) for model in order)])


def _models() -> dict[type[BaseModel], str]:
    """Every model that a job's config holds → its title: jobs first, then tables as they are first used."""
    titles: dict[type[BaseModel], str] = {model: job for job, model in CONFIGS.items()}
    queue = [*titles]
    while queue:
        model = queue.pop(0)
        found = [base for base in SHARED if issubclass(model, base)]
        found += [inner for field in model.model_fields.values() for inner in _inner(field.annotation)]
        for inner in found:
            if inner not in titles:
                titles[inner] = SHARED.get(inner) or _title(inner)
                queue.append(inner)
    return titles


def _title(model: type[BaseModel]) -> str:
    name = model.__name__.removesuffix("Config")
    if issubclass(model, PoolConfig):
        return f"Engine {model.model_fields['kind'].default}"
    return "".join(f" {one.lower()}" if one.isupper() and at else one for at, one in enumerate(name))


def _model(model: type[BaseModel], titles: dict[type[BaseModel], str]) -> str:
    base = next((one for one in SHARED if issubclass(model, one) and model is not one), None)
    fields = model.model_fields.items()
    own = {name: field for name, field in fields if base is None or _is_own(name, model, base)}
    parts = [f"## {titles[model]}\n", f"{_escaped(_doc(model))}\n"]
    if base:
        parts.append(f"Besides these: [{titles[base].lower()}](#{_anchor(titles[base])}).\n")
    rows = ((_code(name), *_facts(field, titles)) for name, field in own.items())
    parts.append(_table("| setting | value | default | what it is |", rows))
    return "\n".join(parts)


def _is_own(name: str, model: type[BaseModel], base: type[BaseModel]) -> bool:
    """Whether a setting is not of `base`, or is declared anew below it."""
    return any(name in inspect.get_annotations(one) for one in model.__mro__[: model.__mro__.index(base)])


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _doc(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").partition("\n\n")[0].split())


def _facts(field: FieldInfo, titles: dict[type[BaseModel], str]) -> tuple[str, str, str]:
    return _type(field, titles), _default(field), _cell(field.description or "")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


def _inner(annotation: Any) -> list[type[BaseModel]]:
    """The models in a type, in order."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, Config) else []
    return [model for part in get_args(annotation) for model in _inner(part)]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    return _code(_yaml(value))


def _yaml(value: Any) -> str:
    """A default as YAML's one-line form."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str | Path):
        return str(value) if str(value) and not set(str(value)) & set("*{}[]") else f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _type(field: FieldInfo, titles: dict[type[BaseModel], str]) -> str:
    """A setting's type in words, with its bounds and, for a path, who opens it."""
    access = next((mark for mark in field.metadata if isinstance(mark, Access)), None)
    words = _words(field.annotation, titles)
    if access:
        words = words.replace("path or text", "path or address")  # a folder or a bucket
        words = words.replace("text", "path" if get_origin(field.annotation) is tuple else "name or path")
        words = words.replace("path", f"path ({_opener(access)})", 1)
    bounds = [
        f"{sign} {getattr(mark, name):,g}"
        for mark in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(mark, name, None) is not None
    ]
    return ", ".join([words, *bounds])


def _opener(access: Access) -> str:
    return "written" if access.written else {"shared": "shared", "shipped": "uploaded", "own": "local"}[access.by]


def _words(annotation: Any, titles: dict[type[BaseModel], str]) -> str:
    if annotation in titles:
        return f"[{titles[annotation].lower()}](#{_anchor(titles[annotation])})"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "anything"}
    if annotation in plain:
        return plain[annotation]
    if annotation is type(None):
        return "null"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " · ".join(_code(part) for part in parts)
    if origin is typing.Annotated:
        return _words(parts[0], titles)
    if origin in (typing.Union, types.UnionType):
        engines = [part for part in parts if all(issubclass(one, PoolConfig) for one in _inner(part)) and _inner(part)]
        told = [_engines(annotation, titles)] if engines else []
        return " or ".join(told + [_words(part, titles) for part in parts if part not in engines])
    if origin is tuple:
        inner = [_words(part, titles) for part in parts if part is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in parts else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"table: name → {_words(parts[1], titles)}"
    raise TypeError(f"no words for {annotation}; add them here")


def _engines(annotation: Any, titles: dict[type[BaseModel], str]) -> str:
    kinds = [model for model in _inner(annotation) if issubclass(model, PoolConfig)]
    return "engine: " + " · ".join(
        f"[{model.model_fields['kind'].default}](#{_anchor(titles[model])})" for model in kinds
    )


def _rooms() -> str:
    package = ROOT / "imageref_ray"
    rooms = sorted(path for path in package.iterdir() if (path / "__init__.py").is_file())
    return "\n".join(f"## {room.name}/\n\n{_table('| file | what it is |', _files(room))}" for room in rooms)


def _files(room: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(room.rglob("*.py"), key=lambda path: (path.parent.parts, path.name)):
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if told:
            yield _code(path.relative_to(room).as_posix()), _cell(told.partition("\n\n")[0])


if __name__ == "__main__":
    main()
