"""What in an answer may show, load or run something that is not the sample's, and the answer with that made plain text.

An answer is read as a Markdown renderer reads it that passes HTML on: reference links, autolinks, entities and all.
What stands in code is text. HTML that only formats (`<b>`, `<sub>`, `<details>`, a link to a page) is let be.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from imageref_ray.core.markdown_blocks import REFERENCE
from imageref_ray.core.markdown_bounds import bound_tables

SCHEMES = re.compile(r"https?|mailto|tel|sms|sips?|xmpp|ircs?|news|nntp|ftps?|sftp|ssh|git|geo|urn|doi|magnet")
"""Schemes of addresses that run nothing in the page that shows them and read no local file."""

ELEMENTS = re.compile(
    r"applet|audio|base|basefont|bgsound|body|button|canvas|embed|fencedframe|form|frame|frameset|head|html|iframe|"
    r"image|img|input|isindex|link|listing|map|area|math|meta|noembed|noframes|noscript|object|option|param|picture|"
    r"plaintext|portal|script|select|slot|source|style|svg|template|textarea|title|track|video|xml|xmp"
)
"""HTML elements that show, load, run or send something, or make text of what follows them."""

ATTRIBUTES = re.compile(
    r"abbr|align|alt|border|cellpadding|cellspacing|char|charoff|class|color|colspan|compact|datetime|dir|face|"
    r"height|href|hreflang|id|lang|name|nowrap|open|rel|reversed|role|rowspan|rules|scope|size|span|start|style|"
    r"summary|target|title|type|valign|value|width|aria-.*|data-.*"
)
"""HTML attributes that load and run nothing; what `href` and `style` hold is looked at."""

_TAG = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)"
    r"(?P<rest>(?:\s+[^\s\"'<>/=\0]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?)*)\s*/?>"
)
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]+)(?:\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?")
_COMMENT = re.compile(r"<!--(?!-?>)[^<>]*?-->")
_STYLE = re.compile(r"[^\\(@/]*")
_NOISE = re.compile(r"[\0-\x20\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202f\u2060\ufeff]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):")
_SHOWN = 80
"""Characters of what was found that a message shows."""
_BRACKETS = 2_000
"""Most opening brackets of one paragraph; the time to read them grows with their square."""
_PASSES = 8
"""How often a text is read again after what was made plain in it uncovered something else."""


@dataclass(frozen=True, slots=True)
class Danger:
    """`what` stands on line `row` (from 1) of the text: a picture (`source`), a link, or HTML up to line `end`.

    `at` is the character of that line where it begins, -1 where that cannot be told.
    """

    kind: Literal["source", "html", "link"]
    what: str
    why: str
    row: int
    at: int = -1
    end: int = 0

    @property
    def message(self) -> str:
        return f"{self.what} on line {self.row} {self.why}."


def dangers(text: str) -> list[Danger]:
    """All of a text's: those of its link definitions, then all others, in order."""
    if "<" not in text and "[" not in REFERENCE.sub("", text):
        return []
    text = _normal(text)
    rows, env = text.split("\n"), dict[str, Any]()
    found: list[Danger] = []
    cell: tuple[int, int] = (-1, 0)
    for token in _parser().parse(text, env):
        if not token.map:
            continue
        if token.type == "html_block":
            found += _in_block(token, token.map)
        elif token.type == "inline":
            begin = cell[1] if cell[0] == token.map[0] else 0
            places = _places(token, rows, begin)
            found += _in_line(token, places, env)
            cell = (token.map[0], places[-1][1] + len(places[-1][2]))
    return [*_in_definitions(rows, env), *found]


def disarmed(text: str) -> str:
    """The text without dangers: what makes each a tag, picture or link is written as a character (`&lt;`, `\\[`)."""
    for _ in range(_PASSES):
        found = dangers(text)
        if not found:
            return text
        rows = _normal(text).split("\n")
        for danger in reversed(found):
            _disarm(rows, danger)
        text = "\n".join(rows)
    return text.replace("<", "&lt;").replace("[", "&#91;") if dangers(text) else text


def _disarm(rows: list[str], danger: Danger) -> None:
    """Write one danger's opening mark as a character; where its place is not known, all marks of its lines."""
    row = rows[danger.row - 1]
    mark = row[danger.at : danger.at + 1] if danger.at >= 0 else ""
    if mark in ("<", "["):
        rows[danger.row - 1] = row[: danger.at] + ("&lt;" if mark == "<" else "\\[") + row[danger.at + 1 :]
        return
    for i in range(danger.row - 1, max(danger.row, danger.end)):
        rows[i] = rows[i].replace("<", "&lt;")
        if danger.kind != "html":
            rows[i] = rows[i].replace("[", "&#91;")


def _normal(text: str) -> str:
    """The text as the parser reads it."""
    return re.sub(r"\r\n?", "\n", text).replace("\0", "\ufffd")


@cache
def _parser() -> MarkdownIt:
    """A parser that leaves inline content unread, and where it reads it notes the place of every link, picture, tag."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").disable("inline")
    bound_tables(parser)
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    for rule in parser.inline.ruler.__rules__:
        if rule.name in ("image", "link", "autolink", "html_inline"):
            parser.inline.ruler.at(rule.name, _noting(rule.fn))
    return parser


def _noting(read: Any) -> Any:
    def noting(state: StateInline, silent: bool) -> bool:
        begin, known = state.pos, len(state.tokens)
        done: bool = read(state, silent)
        if done and not silent:
            notes = (token for token in state.tokens[known:] if token.type in ("image", "link_open", "html_inline"))
            if token := next(notes, None):
                state.env["notes"].append((state.src, token, begin, state.pos))
        return done

    return noting


def _in_line(token: Token, places: list[tuple[int, int, str]], env: dict[str, Any]) -> Iterator[Danger]:
    text = token.content
    if "<" not in text and "](" not in text and not env.get("references"):
        return  # no link is possible, and a flood of brackets would be slow to read
    if text.count("[") > _BRACKETS:
        yield Danger("link", _short(text), "has too many brackets to be read", places[0][0] + 1, -1, places[-1][0] + 1)
        return
    env["notes"] = []
    _parser().inline.parse(token.content, _parser(), env, [])
    for source, inner, begin, end in sorted(env["notes"], key=lambda note: int(note[2])):
        written = source[begin:end]
        if source is not token.content or not (fault := _fault(inner, written)):
            continue
        line = token.content.count("\n", 0, begin)
        row, column, content = places[line]
        at = begin - (token.content.rfind("\n", 0, begin) + 1) + (inner.type == "image")
        known = column >= 0 and content[at : at + 1] in ("<", "[")
        yield Danger(fault[0], _short(written), fault[1], row + 1, column + at if known else -1)


def _in_definitions(rows: list[str], env: dict[str, Any]) -> Iterator[Danger]:
    """Also of definitions that nothing refers to: a renderer that does not take one for a definition shows its text."""
    for known in (*env.get("references", {}).values(), *env.get("duplicate_refs", ())):
        if fault := _link_fault(known["href"]):
            begin, end = known["map"]
            yield Danger(fault[0], _short(" ".join(rows[begin:end])), fault[1], begin + 1, -1, end)


def _places(token: Token, rows: list[str], begin: int) -> list[tuple[int, int, str]]:
    """For each line of inline content: its row, the column there at which it begins (-1: it is not there as it is), and
    the line. `begin`: where to look from (the cells of a table share a row)."""
    assert token.map is not None
    found = []
    for i, line in enumerate(token.content.split("\n")):
        row = token.map[0] + i
        bare = line.strip()
        at = rows[row].find(bare, begin) if begin else rows[row].rfind(bare)
        column = at - (len(line) - len(line.lstrip())) if at >= 0 else -1
        found.append((row, column, line))
    return found


def _fault(token: Token, written: str) -> tuple[Literal["source", "html", "link"], str] | None:
    """What is wrong with a picture, link or tag, and the end of the sentence about it."""
    if token.type == "html_inline":
        return next(_tag_faults(token.content), None)
    if token.type == "image":
        if REFERENCE.fullmatch(written):
            return None
        return "source", "is not one of the sample's images; write IMAGE_k"
    return _link_fault(str(token.attrGet("href") or ""))


def _link_fault(address: str) -> tuple[Literal["link"], str] | None:
    match = _SCHEME.match(_NOISE.sub("", html.unescape(address)).lower())
    if not match or SCHEMES.fullmatch(match[1]):
        return None
    return "link", f"opens a {match[1]}: address, which may run code or read local files; link to a web page"


def _in_block(token: Token, lines: list[int]) -> Iterator[Danger]:
    for kind, why in _tag_faults(token.content):
        yield Danger(kind, _short(token.content.strip()), why, lines[0] + 1, -1, lines[1])
        return


def _tag_faults(text: str) -> Iterator[tuple[Literal["html", "link"], str]]:
    """The faults of HTML; every tag and comment in it must be whole."""
    at = text.find("<")
    while at >= 0:
        end = at + 1
        if match := _COMMENT.match(text, at):
            end = match.end()
        elif match := _TAG.match(text, at):
            end = match.end()
            if fault := _tag_fault(match):
                yield fault
        elif re.match(r"[A-Za-z/!?]", text[at + 1 : at + 2]):
            yield "html", "is HTML that does not end where it seems to; write &lt; for the sign <"
        at = text.find("<", end)


def _tag_fault(tag: re.Match[str]) -> tuple[Literal["html", "link"], str] | None:
    name = tag["name"].lower()
    if ELEMENTS.fullmatch(name):
        return "html", f"has the HTML element <{name}>, which may show, load or run something that is not the sample's"
    for key, value in _ATTRIBUTE.findall(tag["rest"]):
        key, value = key.lower(), html.unescape(value.strip("\"'"))
        if key == "href" and (fault := _link_fault(value)):
            return fault
        if not ATTRIBUTES.fullmatch(key) or (key == "style" and not _STYLE.fullmatch(value)):
            return "html", f"has the HTML attribute {key}, which may load or run something that is not the sample's"
    return None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
