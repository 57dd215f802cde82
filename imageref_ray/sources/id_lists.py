"""A file of ids of what shall be left out → the ids: what names nothing for sure is an error, as it would leave out
nothing.

    one id a line         139
    a JSON list           [139, {"image_id": 140}]
    JSON lines            {"image_id": 139}
    an object with one    {"images": [{"file_name": "000000000139.jpg"}]}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import read_text, shown
from imageref_ray.core.json_files import BrokenJson, json_lines, parse_json
from imageref_ray.sources.entries import id_text

_LINE = re.compile(r"\r\n?|\n")
_COLUMNS = re.compile(r"[\t,;]")
_QUOTED = re.compile(r"""(["'])(.*)\1""")


class Ids(NamedTuple):
    """What the ids are of (`an image`), the keys of an entry that hold one, the surest first, and the same for the
    lists that an object may have."""

    what: str
    keys: Sequence[str]
    lists: Mapping[str, Sequence[str]]


def read_ids(path: Path, ids: Ids) -> list[str]:
    """The ids in the order of the file. Raises ConfigError for a file that is none of these, and as `read_text`."""
    text = read_text(path)
    if text.lstrip()[:1] not in ("[", "{"):
        return list(_of_lines(path, text))
    entries, keys = _entries(path, text, ids)
    found = []
    for number, entry in enumerate(entries):
        values = [entry.get(key) for key in keys] if isinstance(entry, dict) else [entry]
        id = next((id for value in values if (id := id_text(value))), None)
        if id is None:
            raise ConfigError(f"{path}: entry {number} is {shown(repr(entry))}, not the id of {ids.what}; fix the file")
        found.append(id)
    return found


def _of_lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(_LINE.split(text), 1):
        if _COLUMNS.search(line.strip()):
            what = f"{shown(line)} is not one id; write one id per line, or a JSON list of ids"
            raise ConfigError(f"{path} line {number}: {what}")
        if name := _QUOTED.sub(r"\2", line.strip()).strip():
            yield name


def _entries(path: Path, text: str, ids: Ids) -> tuple[list[Any], Sequence[str]]:
    """The entries of the list in the file, and the keys that hold an id in it."""
    try:
        value = parse_json(text)
    except BrokenJson as error:
        rows = list(json_lines(path))
        if not text.lstrip().startswith("{") or len(rows) == 1:
            raise ConfigError(f"{path} is {error}; fix the file") from None
        try:
            return [(row := one).read() for one in rows], ids.keys
        except BrokenJson as problem:
            raise ConfigError(f"{path} {row.where}: {problem}; fix the line") from None
    if isinstance(value, list):
        return value, ids.keys
    listed = [name for name in ids.lists if isinstance(value.get(name), list)]
    if not listed and any(key in value for key in ids.keys):
        return [value], ids.keys
    if not listed:
        raise ConfigError(f"{path} has none of the lists {', '.join(ids.lists)}; give a list of the ids of {ids.what}")
    name = next((name for name in listed if value[name]), listed[0])
    return value[name], ids.lists[name]
