"""One line, file or address of a source → a checked value, or `Unusable` with the reason: what the readers share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

STAGE = "read"
"""The stage in every failure of a reader."""

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
"""How an address begins; anything else is a path."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")


class Unusable(ValueError):
    """A part of a source cannot be used; `error` is the class of the problem."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def json_object(text: str, error: str) -> dict[str, Any]:
    """The JSON object in `text`; raises Unusable(`error`) where there is none."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is valid JSON but no text
    except (ValueError, RecursionError) as problem:
        raise Unusable(error, f"not valid JSON: {problem}") from None
    if not isinstance(value, dict):
        raise Unusable(error, f"expected a JSON object, found {type(value).__name__}")
    return value


def safe_name(value: object, error: str, key: str) -> str:
    """An id that is safe as a file name (ids become paths)."""
    name = str(value if value is not None else "")
    if not name or name in (".", "..") or Path(name).name != name or "\x00" in name:
        raise Unusable(error, f"{key} {name!r} is empty or not usable as a file name")
    return name


def image_id(document: str, index: int, address: str) -> str:
    """`<document>/<index>.<ext>`; the extension is the address's own, if it names a kind of picture."""
    path = re.split(r"[?#]", address, maxsplit=1)[0] if SCHEME.match(address) else address
    extension = Path(path).suffix.lower()
    return f"{document}/{index}{extension if extension in EXTENSIONS else ''}"


def located(root: Path, address: str) -> str:
    """An address as it is; a path under `root`."""
    return address if SCHEME.match(address) else str(root / address)
