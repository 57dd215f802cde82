"""JSON as models write it → values: read as leniently as can mean one thing only, in one pass over the text.

    Here: {'image': “IMAGE_1”, // the pier      ─▶  {"image": "IMAGE_1", "fits": true, "why": null}
           fits: True, why: None,}  Good?

Beyond `json_files.parse_json`: text before and after, comments, commas before a closing bracket, strings between
single, curly, full-width or three quotes, names without quotes, Python's and JavaScript's words, full-width brackets,
colons and commas, Python's tuples, backslashes that escape nothing, and JSON that is written as a string of JSON once
more. A bracket, comma or quote that is missing is an error: it would have to be guessed.
No library does that: json5 knows JavaScript's forms only and is slow; json-repair guesses, and never says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from imageref_ray.core.json_files import DEPTH, BrokenJson, parse_json
from imageref_ray.core.text import repaired

_BEGIN = re.compile(r"[{\[｛［]")
_TOKEN = re.compile(
    r"(?P<nothing>[\s\ufeff\u200b-\u200f\u2060-\u2064]++|//[^\n]*+|\#[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
    r"|(?P<mark>[{}\[\]():,｛｝［］：，])"
    r'|"""(?P<long>(?:[^"\\]|\\.|"(?!""))*+)"""'
    r'|"(?P<double>(?:[^"\\]|\\.)*+)"'
    r"|'(?P<single>(?:[^'\\]|\\.|(?<=\w)'(?=\w))*+)'"
    r"|[“”„](?P<curly>(?:[^“”\\]|\\.)*+)[“”]"
    r"|＂(?P<wide>(?:[^＂\\]|\\.)*+)＂"
    r"|[‘‚](?P<thin>(?:[^‘’\\]|\\.|(?<=\w)’(?=\w))*+)[‘’]"
    r"|(?P<number>[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)(?![\w.])"
    r"|(?P<word>-?[^\W\d]\w*+)",
    re.DOTALL,
)
_ASCII = str.maketrans("｛｝［］：，", "{}[]:,")
_PAIRS = {"}": "{", "]": "[", ")": "("}
_ESCAPE = re.compile(
    r"""\\(u[0-9a-fA-F]{4}|["\\/bfnrt])|\\(\n)|\\(['“”‘’])"""
    r"""|\\(?:x([0-9a-fA-F]{2})|U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}))|\\|\""""
)
"""JSON's own escapes; a line that goes on; quotes; Python's characters by number; what has to be escaped."""
_MIXED = re.compile(r"\"\s*+[,:]\s*+\"")
"""What in a text between curly quotes may be its end, and the beginning of the next one."""
_NUMBER = re.compile(r"\+?(-?)0*(?=\d|\.)(\d*)(?:\.(\d*))?([eE].*)?")
_NAMES = re.compile(r"\s*+[:：]")
_NULLS = frozenset({"null", "none", "nil", "undefined", "nan", "infinity", "-infinity", "-nan", "inf", "-inf"})

_ESCAPED = re.compile(r"[{\[](?:\s|\\++[nrt])*+\\++\"")
"""How JSON begins that is written as a string."""
_SLASHED, _CONTROLS = re.compile(r"\\([\"\\/nrt])"), {"n": "\n", "r": "\r", "t": "\t"}

STARTS = 1000
"""Brackets at which a value is looked for."""

EFFORT = 4
"""How often, in all, the text may be read from such a bracket to its end."""


def find(text: str, wanted: Callable[[Any], bool]) -> Any:
    """The first object or list in the text that is wanted, else the first one. Raises BrokenJson for none."""
    first: list[Any] = []
    for value in values(text):
        if wanted(value):
            return value
        first = first or [value]
    return first[0]


def values(text: str) -> Iterator[Any]:
    """Every object and list that begins outside another one, in order. Raises BrokenJson where there is none at all."""
    text = repaired(text)
    first, escaped = _BEGIN.search(text), _ESCAPED.search(text)
    if first and escaped and first.start() == escaped.start():
        with suppress(BrokenJson):
            yield from values(_SLASHED.sub(_unescaped, text))
            return
    problem: BrokenJson | None = None
    found, at, effort = False, 0, EFFORT * len(text)
    for _ in range(STARTS):
        begin = _BEGIN.search(text, at)
        if begin is None or effort < 0:
            break
        try:
            strict, end = _strict(text, begin.start())
            value = parse_json(strict)
        except _Unreadable as error:
            problem = problem or error
            effort -= error.read
            at = begin.end()
            if error.final:
                break
        except BrokenJson as error:
            problem = problem or error
            at = begin.end()
            effort -= end - begin.start()
        else:
            found, at = True, end
            yield value
    if not found:
        raise problem or BrokenJson("no JSON")


def _unescaped(match: re.Match[str]) -> str:
    return _CONTROLS.get(match[1], match[1])


class _Unreadable(BrokenJson):
    """No value begins here; `read` characters were looked at. `final`: nor does one anywhere after."""

    def __init__(self, message: str, read: int, final: bool = False) -> None:
        super().__init__(f"not valid JSON ({message})")
        self.read, self.final = read, final


def _strict(text: str, begin: int) -> tuple[str, int]:
    """The value that begins there in JSON's own form, and where it ends; its order of tokens is not checked."""
    written: list[str] = []
    brackets: list[tuple[str, int]] = []
    at = begin
    while True:
        token = _TOKEN.match(text, at)
        if token is None:
            unclosed = at == len(text) or text[at] in "\"'“„＂‘‚/"
            what = "it is not closed" if at == len(text) else f"unexpected {text[at]!r}"
            raise _Unreadable(what, (len(text) if unclosed else at + 1) - begin)
        at = token.end()
        if token.lastgroup == "nothing":
            continue
        mark = token["mark"].translate(_ASCII) if token["mark"] else ""
        if mark in ("{", "[", "("):
            brackets.append((mark, len(written)))
            mark = "[" if mark == "(" else mark
            if len(brackets) > DEPTH:
                raise _Unreadable(f"nested more than {DEPTH} deep", at - begin, final=True)
        elif mark in _PAIRS:
            opening, place = brackets.pop()
            if opening != _PAIRS[mark]:
                raise _Unreadable(f"unexpected {mark!r}", at - begin)
            if mark == ")":
                mark = "]" if _is_tuple(written[place + 1 :]) else ""
                written[place] = "[" if mark else ""
            if written[-1] == "," and written[-2] not in ("{", "[", ","):
                written.pop()
        if token["curly"] and _MIXED.search(token["curly"]):
            raise _Unreadable("quotes of two kinds, which may end a text or stand in it", at - begin)
        written.append(mark if token["mark"] else _value(token, text))
        if not brackets:
            return "".join(written), at


def _is_tuple(inside: list[str]) -> bool:
    """Whether what stands between round brackets is a tuple of Python's, not one value."""
    depth = 0
    for part in inside:
        depth += (part in ("{", "[")) - (part in ("}", "]"))
        if part == "," and not depth:
            return True
    return not inside


def _value(token: re.Match[str], text: str) -> str:
    """A string, number or word in JSON's form."""
    kind, body = str(token.lastgroup), token[str(token.lastgroup)]
    if kind == "number":
        return _number(body)
    if kind != "word":
        return f'"{_ESCAPE.sub(_escape, body)}"'
    if not _NAMES.match(text, token.end()):
        if body.lower() in _NULLS:
            return "null"
        if body.lower() in ("true", "false"):
            return body.lower()
    return f'"{body}"'


def _escape(match: re.Match[str]) -> str:
    if match[1]:
        return match[0]
    if match[2]:  # a line that goes on
        return ""
    if match[4] or match[5]:  # Python's
        return json.dumps(chr(int(match[4] or match[5], 16)))[1:-1]
    return match[3] or ("\\" + match[0])


def _number(body: str) -> str:
    match = _NUMBER.fullmatch(body)
    assert match
    sign, whole, part, power = match.groups(default="")
    return f"{sign}{whole or '0'}{f'.{part}' if part else ''}{power}"
