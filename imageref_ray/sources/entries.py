"""One line, file or address of a source → a checked value, or `Unusable` with the reason; shared by the readers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageref_ray.core.json_files import BrokenJson

STAGE = "read"
"""The stage of every failure of a reader."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
"""The start of an address; anything else is a path."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


class Unusable(ValueError):
    """A part of a source cannot be used; `error` is the error class for its Failure."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


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
    name = str(value if value is not None else "")
    if not name or name in (".", "..") or Path(name).name != name or "\x00" in name:
        raise Unusable(error, f"{key} {name!r} is empty or not usable as a file name")
    return name


def image_id(document: str, index: int, address: str) -> str:
    """`<document>/<index>.<ext>`; the extension is the address's, if it is one of an image format."""
    path = re.split(r"[?#]", address, maxsplit=1)[0] if SCHEME.match(address) else address
    extension = Path(path).suffix.lower()
    return f"{document}/{index}{extension if extension in EXTENSIONS else ''}"


def resolve_address(root: Path, address: str) -> str:
    """An address unchanged; a path under `root`."""
    return address if SCHEME.match(address) else str(root / address)
