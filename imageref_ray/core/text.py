"""Text is valid Unicode from where it enters: halves of characters (of escapes, file names) and NUL are repaired."""

from __future__ import annotations

import json
import re
from typing import Any

_PAIR, _HALF = re.compile(r"[\ud800-\udbff][\udc00-\udfff]"), re.compile(r"[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """The text as valid Unicode: two halves of a surrogate pair are joined, single halves become U+FFFD.

    Halves come from JSON and YAML escapes (a reply that was cut inside one) and from file names that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)
        return _HALF.sub("\ufffd", joined)
    return text


def repaired(value: Any) -> Any:
    """Plain values as they may enter: their strings are `well_formed`, without NUL (U+FFFD)."""
    if isinstance(value, str):
        return well_formed(value).replace("\0", "\ufffd")
    if isinstance(value, list):
        return [repaired(one) for one in value]
    return {repaired(key): repaired(one) for key, one in value.items()} if isinstance(value, dict) else value


def json_text(value: Any) -> str:
    """Plain values as JSON that is always valid UTF-8, as Arrow and files require."""
    return well_formed(json.dumps(value, ensure_ascii=False))
