"""Every JSON and JSONL file that people give → values, one row at a time; what cannot be read is that row's error.

    JSON    one value                                   read_json
    JSONL   values between line feeds, and those only   json_lines    (a carriage return or U+2028 ends no row)
    either  a JSON list where lines are expected        json_rows     (its items are the rows)

Memory holds one row. Beyond the standard: control characters in strings are read as they stand; NaN and infinities,
which JSON does not have, are null, as pandas and browsers write them; a key that an object gives twice, with two
values, is an error, as no rule says which one counts; so is nesting beyond `DEPTH`. Escapes may hold what is no
text: two halves of a surrogate pair are their character, a single half and NUL become U+FFFD.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from imageref_ray.core.config_error import ConfigError
from imageref_ray.core.files import BEGIN, Encoding, encoding_of, not_text, read_text, shown
from imageref_ray.core.text import repaired

DEPTH = 100
"""Lists and objects within each other."""

OPENING, CHUNK, LONGEST = 2**12, 2**20, 2**26
"""In characters: where a JSON list must begin, how much of it is read at a time, its longest item."""

Hook = Callable[[dict[str, Any]], Any]

_NO_TEXT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
"""Escapes that may be half a surrogate pair, or NUL."""

_BETWEEN = re.compile(r"[\s,]*")


class BrokenJson(ValueError):
    """Not a JSON value; the message says why, for `{where}: {error}`."""


class NotText(BrokenJson):
    """Bytes in another encoding, NUL bytes, or half a character."""


@dataclass(frozen=True, slots=True)
class JsonRow:
    """One line, or one item of a list, not parsed yet.

    `line` is where it begins, from 1; `item` is its number in a list, from 0. Its bytes are the `size` at `offset`.
    `problem` is why there is nothing to parse; `last`: the file ends in this line.
    """

    line: int
    offset: int
    size: int
    text: str
    problem: BrokenJson | None = None
    item: int | None = None
    last: bool = False

    @property
    def place(self) -> str:
        """What follows a file's name in an id: `:12` for a line, `[3]` for an item of a list."""
        return f":{self.line}" if self.item is None else f"[{self.item}]"

    @property
    def where(self) -> str:
        """The same in words."""
        return f"line {self.line}" if self.item is None else f"line {self.line}, item [{self.item}]"

    def read(self, repair: bool = True) -> Any:
        """The row's value. Raises BrokenJson; without `repair` also for half a character, else that is U+FFFD."""
        if self.problem:
            raise self.problem
        try:
            return parse_json(self.text, repair=repair)
        except NotText:
            raise
        except BrokenJson as error:
            cut = "; the file ends in this line, perhaps it was cut off" if self.last else ""
            raise BrokenJson(f"{error}{cut}") from None


def parse_json(text: str, hook: Hook | None = None, repair: bool = True, strict: bool = False) -> Any:
    """The value of a JSON text; `hook` takes every object. Raises BrokenJson (see `JsonRow.read` for `repair`).

    `strict`: also for NaN and infinities, control characters in strings and any key that an object gives twice.
    """
    if "\0" in text:
        raise NotText("not text (it has NUL bytes); remove them")
    repeated: list[str] = []
    try:
        value = _decoder(repeated, hook, strict).decode(text.lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        raise BrokenJson(f"not valid JSON ({error.msg}, {line}column {error.colno})") from None
    except ValueError as error:  # a number of thousands of digits
        raise BrokenJson(f"not valid JSON ({shown(str(error))})") from None
    except RecursionError:
        raise BrokenJson(_TOO_DEEP) from None
    if repeated:
        raise BrokenJson(f"not valid JSON (an object gives the key {shown(repr(repeated[0]))} twice)")
    if text.count("[") + text.count("{") > DEPTH and _deeper(value):
        raise BrokenJson(_TOO_DEEP)
    if not _NO_TEXT.search(text):
        return value
    if (whole := repaired(value)) != value and not repair:
        raise NotText("not text (an escape such as \\ud83d is half a character, or it is NUL); write the character")
    return whole


def read_json(path: Path, hook: Hook | None = None) -> Any:
    """The value of a file. Raises ConfigError for what is not JSON, and as `read_text`."""
    try:
        return parse_json(read_text(path), hook)
    except BrokenJson as error:
        raise ConfigError(f"{path} is {error}; fix the file") from None


def json_rows(path: Path) -> Iterator[JsonRow]:
    """The rows of a JSONL file or the items of a JSON list. Raises ConfigError for what is no text."""
    with path.open("rb") as file:
        encoding = _encoding(path, file)
        opening = file.read(OPENING).decode(encoding.codec, "replace").lstrip("\ufeff \t\r\n")
    yield from json_list(path) if opening.startswith("[") else json_lines(path)


def json_lines(path: Path) -> Iterator[JsonRow]:
    """The rows of a JSONL file, without empty lines. Raises ConfigError for what is no text."""
    with path.open("rb") as file:
        encoding = _encoding(path, file)
        number, offset = 0, file.tell()
        while data := _read_line(file, encoding):
            number += 1
            row = _row(data, encoding, number, offset)
            if row.problem or row.text.strip("\ufeff \t\r\n"):
                yield row
            offset += len(data)


def json_at(path: Path, offset: int, size: int) -> Any:
    """The value of the row whose bytes these are. Raises BrokenJson."""
    with path.open("rb") as file:
        encoding = _encoding(path, file)
        file.seek(offset)
        return _row(file.read(size), encoding, 0, offset).read()


def json_list(path: Path, chunk: int = CHUNK) -> Iterator[JsonRow]:
    """The items of a JSON list; at most one chunk or item is in memory. After what cannot be read, there is no more."""
    with path.open("rb") as file:
        encoding = _encoding(path, file)
        begin = file.tell()
        text = io.TextIOWrapper(file, encoding.codec, "surrogateescape", newline="")
        try:
            yield from _items(text, encoding, begin, chunk)
        except UnicodeDecodeError:
            broken = NotText(f"the list is not {encoding.name}; save the file as UTF-8")
            yield JsonRow(1, begin, 0, "", broken)


def _items(file: io.TextIOWrapper, encoding: Encoding, offset: int, chunk: int) -> Iterator[JsonRow]:
    text = file.read(max(chunk, OPENING))
    at, line, number = 0, 1, 0
    begin = text.index("[") + 1
    while True:
        line, offset = line + text.count("\n", at, begin), offset + _size(text[at:begin], encoding)
        at = begin
        found = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        line, offset, at = line + text.count("\n", at, found), offset + _size(text[at:found], encoding), found
        end, reason = _end_of_item(text, at)
        if end is None or end == len(text):  # what stands at the end of a chunk may go on in the next
            more = file.read(max(chunk, len(text) - at)) if len(text) - at < LONGEST else ""
            if more:
                text, at, begin = text[at:] + more, 0, 0
                continue
        if text.startswith("]", at):
            if not text[at + 1 :].strip() and not any(part.strip() for part in iter(lambda: file.read(CHUNK), "")):
                return
            end, reason = None, "text after the end of the list"
        if end is None:
            problem = BrokenJson(f"not valid JSON from here on ({reason})")
            yield JsonRow(line, offset, 0, "", problem, number)
            return
        data = text[at:end].encode(encoding.codec, "surrogateescape")
        yield _row(data, encoding, line, offset, number)
        number, begin = number + 1, end


def _end_of_item(text: str, at: int) -> tuple[int | None, str]:
    """Where the item that begins there ends; None and the reason for what is not one. A list's end has one."""
    if text.startswith("]", at):
        return at + 1, ""
    try:
        return _SCANNER.raw_decode(text, at)[1], ""
    except json.JSONDecodeError as error:
        return None, error.msg
    except RecursionError:
        return None, "nested too deeply"


def _size(text: str, encoding: Encoding) -> int:
    return len(text.encode(encoding.codec, "surrogateescape"))


def _row(data: bytes, encoding: Encoding, line: int, offset: int, item: int | None = None) -> JsonRow:
    """The row of these bytes: a line, or an item of a list."""
    last = item is None and not data.endswith("\n".encode(encoding.codec))
    try:
        text, problem = data.decode(encoding.codec), None
    except UnicodeDecodeError as error:
        text, problem = "", NotText(f"{not_text(error, encoding)}; save the file as UTF-8")
    return JsonRow(line, offset, len(data), text, problem, item, last)


def _encoding(path: Path, file: BinaryIO) -> Encoding:
    """The file's encoding; the file stands after its mark."""
    begin = file.read(BEGIN)
    encoding = encoding_of(path, begin)
    if not encoding.mark and b"\0" in begin[:4]:  # JSON begins with ASCII
        raise ConfigError(f"{path} line 1: NUL bytes, as UTF-16 without a byte order mark has; save the file as UTF-8")
    file.seek(len(encoding.mark))
    return encoding


def _read_line(file: BinaryIO, encoding: Encoding) -> bytes:
    """The bytes to the next line feed and with it: the character, not any byte of that value."""
    end = "\n".encode(encoding.codec)
    line = bytearray(file.readline())
    while len(end) > 1 and line:
        line += file.read(-len(line) % len(end))
        if line.endswith(end) or not (more := file.readline()):
            break
        line += more
    return bytes(line)


def _decoder(repeated: list[str], hook: Hook | None, strict: bool) -> json.JSONDecoder:
    def gather(pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) < len(pairs):
            different = [key for key, value in pairs if found[key] != value]
            repeated.extend(different or ([next(_again(pairs))] if strict else []))
        return hook(found) if hook else found

    def finite(number: str) -> float | None:
        value = float(number)
        if strict and not math.isfinite(value):
            raise ValueError(f"{number} is no number of JSON")
        return value if math.isfinite(value) else None

    return json.JSONDecoder(strict=strict, object_pairs_hook=gather, parse_constant=finite, parse_float=finite)


def _again(pairs: list[tuple[str, Any]]) -> Iterator[str]:
    """The keys that came before."""
    before: set[str] = set()
    for key, _ in pairs:
        if key in before:
            yield key
        before.add(key)


_SCANNER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
"""Finds where an item ends; numbers are not made."""

_TOO_DEEP = f"not valid JSON (nested more than {DEPTH} deep)"


def _deeper(value: Any) -> bool:
    """Whether lists and objects are nested beyond `DEPTH`, by levels: Python's own stack is not deep enough."""
    level = [value]
    for _ in range(DEPTH + 1):
        found = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not found:
            return False
        level = [one for inner in found for one in inner]
    return True
