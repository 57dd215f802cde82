"""Markdown → its blocks, and blocks → Markdown: the lines of the reference grammar.

A block is a header, a line of a plain paragraph, an item of a list with all that is in it, or one whole code block,
table, quote, HTML block, rule or set of link definitions, as CommonMark with tables has them (markdown-it-py). An image
line is a block of its own where no other block goes on after it; one inside a block is a part of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from imageref_ray.core.markdown_bounds import bound_tables

Kind = Literal["header", "line", "item", "code", "table", "quote", "html", "rule", "definition", "image"]

REFERENCE = re.compile(
    r"!\[(?P<caption>(?:(?!\]\(|!\[)[^\n])*)\]\(IMAGE_(?P<shown>[0-9]{1,4000})\)"
    r"|(?<![A-Za-z0-9_])IMAGE_(?P<bare>[0-9]{1,4000})(?![A-Za-z0-9_])"
)
"""One reference to an image, with or without a caption."""

_NEWLINE = re.compile(r"\r\n|\n|\r")
_SPECIAL = re.compile(
    r"^(?: {4}| {0,3}\t)[ \t]*\S|^[^\S\n]*(?:"
    r"[-+*](?:\s|$)|[0-9]{1,9}[.)](?:\s|$)|(?:[*_][ \t]*){3,}$|```|~~~|[-=|:>]|<[A-Za-z/!?]|\[(?:[^\n]*\]:|[^\]\n]*$))",
    re.MULTILINE,
)
"""A line that may begin, or go on with, something else than a plain paragraph or a `# header`."""

_HEADER = re.compile(r" {0,3}#")
_ATX = re.compile(r"#{1,6}(?:[ \t]|$)")
"""A header for every Markdown reader; the grammar takes `#Title` for one too."""

_KINDS: Mapping[str, Kind] = {
    "heading_open": "header",
    "paragraph_open": "line",
    "list_item_open": "item",
    "fence": "code",
    "code_block": "code",
    "table_open": "table",
    "blockquote_open": "quote",
    "html_block": "html",
    "hr": "rule",
}
_HTML_ENDS = (
    (re.compile(r"\s*<(script|pre|style|textarea)(?=\s|>|$)", re.I), r"</(?:script|pre|style|textarea)>", r"</{}>"),
    (re.compile(r"\s*<()!--"), r"-->", "-->"),
    (re.compile(r"\s*<()\?"), r"\?>", "?>"),
    (re.compile(r"\s*<()!\[CDATA\["), r"\]\]>", "]]>"),
    (re.compile(r"\s*<()![A-Za-z]"), r">", ">"),
)
"""HTML blocks that no blank line ends: how they begin, what ends them, and how it is written."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `text` is as written, of a header or plain line without spaces around it, of an unclosed code or HTML
    block with its end. `begin`, `end` are its lines in the whole text, `code` those of them that are code.

    `group` is the same for the items of one list. `apart`: a blank line separates it from the block before.
    """

    kind: Kind
    text: str
    begin: int = 0
    end: int = 0
    code: frozenset[int] = frozenset()
    group: int = 0
    apart: bool = False

    @property
    def plain(self) -> bool:
        """A line that needs no blank line before or after it."""
        return self.kind in ("header", "line", "image") and "\n" not in self.text

    @property
    def bound(self) -> bool:
        """A line of a paragraph that would be something else after a blank line."""
        return self.kind == "line" and not self.apart and _SPECIAL.match(self.text) is not None

    @property
    def rows(self) -> list[tuple[str, bool]]:
        """The block's lines, and whether each is code."""
        return [(line, self.begin + i in self.code) for i, line in enumerate(self.text.split("\n"))]


@dataclass(frozen=True, slots=True)
class _Part:
    """A block as the parser finds it; `ending` is what an unclosed one lacks."""

    kind: Kind
    begin: int
    end: int
    code: frozenset[int] = frozenset()
    group: int = 0
    ending: str = ""


@lru_cache(256)  # a text is asked for its slots, its lines and its images one after another
def blocks(text: str) -> tuple[Block, ...]:
    """The blocks of a text in order: between them is nothing but white space and blank lines."""
    raw = _NEWLINE.split(text)
    images = [i for i, line in enumerate(raw) if "IMAGE_" in line and REFERENCE.fullmatch(line.strip())]
    shown = set(images)
    kept = [i for i in range(len(raw)) if i not in shown]
    parts = [_located(part, kept, images) for part in _parts([_seen(raw[i]) for i in kept])]
    taken = {i for part in parts for i in range(part.begin, part.end)} if images else set()
    parts += [_Part("image", i, i + 1) for i in images if i not in taken]
    found: list[Block] = []
    before: Block | None = None
    for part in sorted(parts, key=lambda part: part.begin):
        last = found[-1] if part.kind == "image" and found else before
        since = last.end if last else part.begin
        block = _block(part, raw, before, any(not line.strip() for line in raw[since : part.begin]))
        found.append(block)
        before = before if block.kind == "image" else block
    return tuple(found)


def lines(parts: Iterable[Block]) -> list[str]:
    """The text of each block; one that a blank line must separate from the last begins with a line break.

    Joined with line breaks they are the text again, each block what it was.
    """
    written: list[str] = []
    last: Block | None = None
    before: Block | None = None
    for block in parts:
        apart = block.apart
        if block.kind == "image":
            apart = last is not None and not last.plain
        elif last is not None and last.kind == "image" and before is not None:
            apart = apart or (block.group == before.group > 0)
        written.append("\n" + block.text if apart and last is not None else block.text)
        last = block
        before = before if block.kind == "image" else block
    return written


def woven(parts: Sequence[Block], after: Mapping[int, str]) -> str:
    """The blocks as one text, with `after[i]` on a line of its own behind block i and outside of it."""
    flow: list[Block] = []
    for i, block in enumerate(parts):
        flow.append(block)
        if i in after:
            flow.append(Block("image", after[i]))
    return "\n".join(lines(flow))


def _seen(line: str) -> str:
    """The line as the parser gets it: wide and other white space is blank, and does not hide a header."""
    bare = line.strip()
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    return "" if not bare else indent + bare if bare.startswith("#") else line


def _block(part: _Part, raw: Sequence[str], before: Block | None, blank: bool) -> Block:
    """The block of a part; `before` is the last one that is no image, `blank` whether a blank line is between."""
    text = "\n".join(raw[part.begin : part.end]).rstrip(" \t\n") + part.ending
    if part.kind in ("header", "line", "image") and "\n" not in text:
        bare = text.strip()
        text = bare if part.kind == "header" or not (bare.startswith("#") or _SPECIAL.match(bare)) else text
    block = Block(part.kind, text, part.begin, part.end, part.code, part.group)
    if part.kind == "image":
        apart = blank
    else:
        apart = before is not None and _apart(before, block, blank, not raw[part.begin - 1].strip())
    return Block(part.kind, text, part.begin, part.end, part.code, part.group, apart)


def _apart(before: Block, block: Block, blank: bool, directly: bool) -> bool:
    """Whether a blank line must stay between two blocks, or stays as written (`directly`) where either is not plain."""
    if before.kind in ("html", "definition"):
        return True
    if _ATX.match(block.text):
        return False
    if block.plain:
        special = _SPECIAL.match(block.text) is not None
        if before.plain:
            return special and blank and not _ATX.match(before.text)
        return special or before.kind in ("item", "quote", "table")
    if block.group == before.group > 0:
        return False
    if before.kind in ("quote", "table", "item") and block.kind in (before.kind, "table") and block.kind != "item":
        return True
    return directly or not _interrupts(block)


def _interrupts(block: Block) -> bool:
    """Whether the block begins where it does also right after a line of a paragraph."""
    first = "\n".join(block.text.split("\n", 2)[:2])
    opened = next(token for token in _parser().parse("x\n" + first) if token.map)
    return opened.type == "paragraph_open" and opened.map == [0, 1]


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    bound_tables(parser)
    return parser


def _parts(text: Sequence[str]) -> list[_Part]:
    """The blocks of lines without images; a text with nothing but paragraphs and headers needs no parser."""
    whole = "\n".join(text)
    if not _SPECIAL.search(whole):
        return list(_plain(text, 0, len(text)))
    tokens = _parser().parse(whole)
    parts: list[_Part] = []
    end, group, last = 0, 0, None
    for i, token in enumerate(tokens):
        group += token.level == 0 and token.type.endswith("list_open")
        if not token.map or token.type not in _KINDS or token.level != (token.type == "list_item_open"):
            continue
        parts += _definitions(text, end, token.map[0])
        begin, end = token.map
        if token.type == "paragraph_open":
            parts += _plain(text, begin, end)
        else:
            parts.append(_part(tokens, i, text, group))
        last = token
    rest = _definitions(text, end, len(text))
    if last is not None and parts and not rest:
        parts[-1] = replace(parts[-1], ending=_ending(last, text[parts[-1].begin : parts[-1].end]))
    return parts + rest


def _plain(text: Sequence[str], begin: int, end: int) -> Iterator[_Part]:
    for i in range(begin, end):
        if text[i]:
            yield _Part("header" if _HEADER.match(text[i]) else "line", i, i + 1)


def _definitions(text: Sequence[str], begin: int, end: int) -> list[_Part]:
    """What lies between two blocks and is no block for the parser."""
    begin, end = _trimmed(text, begin, end)
    return [_Part("definition", begin, end)] if begin < end else []


def _part(tokens: Sequence[Token], at: int, text: Sequence[str], group: int) -> _Part:
    token = tokens[at]
    assert token.map is not None
    begin, end = _trimmed(text, *token.map)
    code: set[int] = set()
    for inner in (tokens[i] for i in range(at, len(tokens))):
        if inner.type in ("fence", "code_block") and inner.map:
            code.update(range(*inner.map))
        if inner.level == token.level and inner.nesting <= 0:
            break
    return _Part(_KINDS[token.type], begin, end, frozenset(code), group if token.type == "list_item_open" else 0)


def _trimmed(text: Sequence[str], begin: int, end: int) -> tuple[int, int]:
    """The lines from `begin` to `end` without blank ones around them."""
    while begin < end and not text[begin]:
        begin += 1
    while begin < end and not text[end - 1]:
        end -= 1
    return begin, end


def _ending(token: Token, text: Sequence[str]) -> str:
    """What closes the last block of a text where the text does not."""
    if token.type == "fence":
        closed = len(text) > 1 and re.fullmatch(rf" {{0,3}}{token.markup[0]}{{{len(token.markup)},}}\s*", text[-1])
        return "" if closed else "\n" + token.markup
    if token.type == "html_block":
        whole = "\n".join(text)
        for begins, ends, written in _HTML_ENDS:
            if match := begins.match(whole):
                return "" if re.search(ends, whole, re.IGNORECASE) else "\n" + written.format(match[1])
    return ""


def _located(part: _Part, kept: Sequence[int], images: Sequence[int]) -> _Part:
    """The part by the lines of the text with images; those after an unclosed block are inside it."""
    end = kept[part.end - 1] + 1
    if part.ending and images:
        end = max(end, images[-1] + 1)
    code = frozenset(kept[i] for i in part.code if i < len(kept))
    return _Part(part.kind, kept[part.begin], end, code, part.group, part.ending)
