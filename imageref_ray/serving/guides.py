"""Bounds of what a request may bind its reply to, checked before a grammar is made of it.

A grammar compiler's time grows with what is counted here, and nobody else's reply may wait for it. vLLM itself ends the
compilation of a regular expression after VLLM_REGEX_COMPILATION_TIMEOUT_S (5 s).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from imageref_ray.core.files import shown
from imageref_ray.engines.base import Guide
from imageref_ray.serving.chat_body import ChatBody
from imageref_ray.serving.errors import WireError

SCHEMA_BYTES = 65_536
SCHEMA_DEPTH = 32
"""Objects and lists within each other; a nested object of the reply takes two."""
PROPERTIES = 500
"""Properties of all objects of a schema together."""
VALUES = 2_000
"""Choices, or values of all enumerations of a schema together."""
CHOICE_CHARACTERS = 65_536
REGEX_CHARACTERS = 4_096
REPEATS = 3_300
"""Most of `written_out`, of a regular expression or of all patterns and lengths of a schema together (a `maxLength` of
200 is common). So much took 16 s of processor time on a slow machine with a vocabulary of 150,000, in a thread of its
own; nothing ends the compilation of a schema."""
WIDE = 16
"""What a place counts where nearly any character fits: nearly every token of the vocabulary must be tried there."""

LENGTHS = ("minLength", "maxLength")
"""Bounds of items and of properties cost the compiler nothing."""

ANY_OBJECT = Guide("json", {"type": "object"})


def guide_of(body: ChatBody) -> Guide | None:
    """The guide of a request, within bounds. Raises WireError."""
    if given := body.structured_outputs:
        if len(given.model_fields_set) != 1 or (given.regex, given.choice, given.json_).count(None) != 2:
            raise WireError("structured_outputs takes exactly one of regex, json, choice", "structured_outputs")
        if given.regex is not None:
            _check_regex(given.regex, "structured_outputs.regex")
            return Guide("regex", given.regex)
        if given.choice is not None:
            return Guide("choice", _choices(given.choice))
        assert given.json_ is not None
        return _schema(given.json_, "structured_outputs.json")
    if body.response_format is None or body.response_format.type == "text":
        return None
    if body.response_format.type == "json_object":
        return ANY_OBJECT
    return _schema(body.response_format.json_schema.schema_, "response_format.json_schema.schema")


def _choices(choices: list[str]) -> tuple[str, ...]:
    where = "structured_outputs.choice"
    if len(choices) > VALUES:
        raise WireError(f"{where} has {len(choices)} values, more than the {VALUES} allowed", where)
    if (size := sum(map(len, choices))) > CHOICE_CHARACTERS:
        raise WireError(f"{where} has {size} characters, more than the {CHOICE_CHARACTERS} allowed", where)
    return tuple(choices)


def _schema(schema: dict[str, Any], where: str) -> Guide:
    """The guide for a JSON Schema. Raises WireError for one that is none or too large."""
    size = len(json.dumps(schema, ensure_ascii=False).encode())
    if size > SCHEMA_BYTES:
        raise WireError(f"{where} has {size} bytes, more than the {SCHEMA_BYTES} allowed", where)
    properties = values = 0
    for depth, keyword, value in _parts(schema):
        if depth > SCHEMA_DEPTH:
            raise WireError(f"{where} is nested more than {SCHEMA_DEPTH} deep", where)
        if keyword in ("properties", "patternProperties") and isinstance(value, dict):
            properties += len(value)
        elif keyword == "enum" and isinstance(value, list):
            values += len(value)
        elif keyword in ("$ref", "$dynamicRef") and not str(value).startswith("#"):
            raise WireError(f"{where} refers to {str(value)[:80]!r}; only references within it (#/…) are read", where)
    if properties > PROPERTIES:
        raise WireError(f"{where} has {properties} properties, more than the {PROPERTIES} allowed", where)
    if values > VALUES:
        raise WireError(f"{where} has {values} enumerated values, more than the {VALUES} allowed", where)
    _check_repeats(schema, where)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = "/".join(map(str, error.absolute_path)) or "its root"
        raise WireError(f"{where} is not a JSON Schema: {error.message[:200]} (at {at})", where) from None
    return Guide("json", schema)


def _parts(schema: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """(depth, key, value) of everything within; a list's items have their list's key."""
    level: list[tuple[str, Any]] = [("", schema)]
    depth = 0
    while level:
        depth += 1
        found = [
            (key if isinstance(part, list) else str(name), value)
            for key, part in level
            if isinstance(part, dict | list)
            for name, value in (part.items() if isinstance(part, dict) else enumerate(part))
        ]
        yield from ((depth, key, value) for key, value in found)
        level = found


def _check_repeats(schema: dict[str, Any], where: str) -> None:
    """Raises WireError where a schema's patterns and lengths of strings are too much; equal ones are compiled once."""
    sizes: dict[tuple[str, str | float], float] = {}
    for _, keyword, value in _parts(schema):
        patterns = [value] if keyword == "pattern" else value if keyword == "patternProperties" else ()
        if isinstance(patterns, list | dict):
            sizes |= {("pattern", one): _size(one, f"{where}: pattern") for one in patterns if isinstance(one, str)}
        if keyword in LENGTHS and isinstance(value, int | float):
            sizes[keyword, value] = WIDE * max(0, min(value, REPEATS))
    if sum(sizes.values()) > REPEATS:
        keyword, value = max(sizes, key=lambda key: sizes[key])
        most = f"patterns and lengths of strings, each length {WIDE} times, may come to {REPEATS} in a schema"
        raise WireError(
            f"{where}: {keyword} {shown(str(value))} is too much: {most}; shorten it or leave it out", where
        )


def _check_regex(pattern: str, where: str) -> None:
    """Raises WireError for a large one; the engine refuses what is none."""
    if _size(pattern, where) > REPEATS:
        message = f"{where} is longer than {REPEATS} characters with its repetitions written out; repeat less often"
        raise WireError(f"{message} (a place where nearly any character fits counts {WIDE})", where)


def _size(pattern: str, where: str) -> int:
    if len(pattern) > REGEX_CHARACTERS:
        raise WireError(f"{where} has {len(pattern)} characters, more than the {REGEX_CHARACTERS} allowed", where)
    return written_out(pattern)


_PIECE = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<open>\()|(?P<close>\))|\{(?P<least>\d+)?(?P<comma>,)?(?P<most>\d+)?\}|.",
    re.DOTALL,
)


_NARROW = re.compile(
    r"\[(?!\^)(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|\\[^SDWPp]|(?:[^\]\\-]|-(?=\]))(?!-[^\]]))+\]|\\[^SDWPp]|[^.\[\\]",
    re.DOTALL,
)
"""A place where few characters fit."""


def written_out(pattern: str) -> int:
    """About the characters of a regular expression when `x{m,n}` is x, n times (m where there is no n); at least 1.

    A place where nearly any character fits counts `WIDE`. A repetition of a repetition counts n² times: so much longer
    does its grammar take.
    """
    groups, last, repeated = [(0, False)], 0, False  # of each open group its size, and whether it has repetitions
    for piece in _PIECE.finditer(pattern):
        size, has = groups[-1]
        if piece["open"]:
            groups.append((0, False))
        elif piece["close"] and len(groups) > 1:
            last, repeated = max(1, groups.pop()[0]), has
            groups[-1] = (groups[-1][0] + last, groups[-1][1] or repeated)
        elif piece["least"] or piece["most"]:
            times = max(1, int(piece["most"] or piece["least"])) ** (2 if repeated else 1)
            groups[-1] = (size + last * (times - 1), True)
            last *= times
        elif piece[0] not in "*+?|":
            last, repeated = 1 if _NARROW.fullmatch(piece[0]) else WIDE, False
            groups[-1] = (size + last, has)
    return max(1, sum(size for size, _ in groups))
