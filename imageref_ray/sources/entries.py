"""One line, file or address of a source → a checked value, or `Unusable` with the reason; shared by the readers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import read_text, require_file, shown
from imageref_ray.core.json_files import BrokenJson, Hook, JsonRow, json_lines, parse_json

STAGE = "read"
"""The stage of every failure of a reader."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
"""The start of an address; anything else is a path."""

ENTRY = {"image", "image_path", "image_id", "question", "question_id", "conversations"}
"""Keys by which an object is a question about an image, and no list of them."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


class Unusable(ValueError):
    """A part of a source cannot be used; `error` is the error class for its Failure."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def question_entries(path: Path, what: str, keys: Sequence[str], hook: Hook | None = None) -> Iterator[tuple[str, Any]]:
    """(where, entry) of a JSON list, of a published object with the list under one of `keys`, or of JSON lines.

    A line that is no JSON is `Unusable`; `hook` takes every object of a file that is one value. Raises ConfigError for
    a file that is missing (it should be `what`), no JSON at all, or an object without such a list.
    """
    require_file(path, what)
    text = read_text(path)
    try:
        value = parse_json(text, hook)
    except BrokenJson as error:
        if not text.lstrip().startswith("{"):
            raise ConfigError(f"{path} is {error}; fix the file") from None
        yield from ((path.name + row.place, _line(row)) for row in json_lines(path))
        return
    listed = _listed(value, keys)
    if not isinstance(listed, list):
        found = (
            f"has no {' or '.join(keys)}"
            if listed is None
            else f"contains {type(listed).__name__}, not a list of entries"
        )
        raise ConfigError(f"{path} {found}; give {what}")
    yield from ((f"{path.name}[{number}]", entry) for number, entry in enumerate(listed))


def _listed(value: Any, keys: Sequence[str]) -> Any:
    """The list of a file's value; of an object that is an entry itself (a file of one line), the list of it."""
    if not isinstance(value, dict):
        return value
    found = next((key for key in keys if key in value), None)
    return value[found] if found else [value] if ENTRY & value.keys() else None


def _line(row: JsonRow) -> Any:
    """A line's value; its error for one that is no JSON."""
    try:
        return row.read()
    except BrokenJson as error:
        return Unusable("BrokenLine", str(error))


def entry_object(entry: Any) -> dict[str, Any]:
    """An entry of `question_entries` as an object. Raises Unusable."""
    if isinstance(entry, Unusable):
        raise entry
    if not isinstance(entry, dict):
        raise Unusable("BrokenEntry", f"expected a JSON object, found {type(entry).__name__}")
    return entry


def json_object(read: Callable[[], Any], error: str) -> dict[str, Any]:
    """The JSON object that `read` gives; raises Unusable(`error`) if it is not one."""
    try:
        value = read()
    except BrokenJson as problem:
        raise Unusable(error, str(problem)) from None
    if not isinstance(value, dict):
        raise Unusable(error, f"expected a JSON object, found {type(value).__name__}")
    return value


def safe_name(value: object, error: str, key: str) -> str:
    """An id that is safe as a file name (ids become paths); `key` is its key, for the message. Raises Unusable."""
    name = id_text(value)
    if name is None:
        raise Unusable(error, f"{key} {shown(repr(value))} is neither a text nor a whole number")
    if not name or name in (".", "..") or Path(name).name != name or "\x00" in name:
        raise Unusable(error, f"{key} {name!r} is empty or not usable as a file name")
    return name


def id_text(value: object) -> str | None:
    """An id as text, empty for null; None for what is none. pandas writes whole numbers beside missing ones as 7.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool | float | bytes | list | dict):
        return None
    return "" if value is None else str(value)


def image_id(document: str, index: int, address: str) -> str:
    """`<document>/<index>.<ext>`; the extension is the address's, if it is one of an image format."""
    path = re.split(r"[?#]", address, maxsplit=1)[0] if SCHEME.match(address) else address
    extension = Path(path).suffix.lower()
    return f"{document}/{index}{extension if extension in EXTENSIONS else ''}"


def is_data(address: str) -> bool:
    """Whether the address is the picture itself."""
    return address[:5].lower() == "data:"


def resolve_address(root: Path, address: str) -> str:
    """An address unchanged; a path under `root`."""
    return address if SCHEME.match(address) else str(root / address)
