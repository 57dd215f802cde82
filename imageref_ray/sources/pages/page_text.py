"""The tree of a page → its lines, with `[Image k]` where picture k stands, and the pictures.

    `## heading`, paragraphs, `- item`, `1. item` (deeper and later lines of an item are indented), `a | b` rows,
    code between fences

Markdown and reStructuredText come here as the HTML that their own parsers make of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from imageref_ray.core.records import MARKER
from imageref_ray.sources.pages.page import Picture, one_line
from imageref_ray.sources.pages.tree import tokens, traverse

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "noscript", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr",
    "ul",
))  # fmt: skip
IMAGE_TAGS = ("img", "amp-img")
LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre, ul, ol, dl, p ~ p, div ~ div"
"""What makes a cell a part of the page's layout; the blocks in any other cell are parts of its line."""

LANGUAGE = re.compile(r"(?:^|\s)(?:language-|lang-|highlight-source-)([\w+#.-]+)")

Addresses = Callable[[LexborNode], tuple[str, ...]]
"""An `img` → its addresses, best first."""


@dataclass
class _Item:
    """An open list and its current item: the number of the next one (None without numbers), the marker's width."""

    number: int | None
    width: int = 0
    step: int = 1


@dataclass
class _Lines:
    """The finished lines, and the parts of the current one; pictures are numbers in it."""

    done: list[str] = field(default_factory=list)
    parts: list[str | int] = field(default_factory=list)
    code: list[str | int] = field(default_factory=list)
    verbatim: int = 0
    cells: list[bool] = field(default_factory=list)
    lists: list[_Item] = field(default_factory=list)
    prefix: str = ""

    @property
    def indent(self) -> str:
        return " " * sum(item.width for item in self.lists)

    def add(self, part: str | int) -> None:
        (self.code if self.verbatim else self.parts).append(part)

    def end(self) -> None:
        """The end of the current line; inside a row's cell only of its word."""
        if self.cells and self.cells[-1]:
            self.parts.append(" ")
            return
        text = "".join(part if isinstance(part, str) else f"\0{part}\0" for part in self.parts)
        self.parts.clear()
        text = MARKER.sub(r"(Image \1)", text)  # the page's own text must not look like an image marker
        words = re.sub(r"\0\d+\0", "", text).strip(" \t\r\n|")
        text = " ".join(re.sub(r"\0(\d+)\0", r" [Image \1] ", text).split()).removesuffix(" |")
        if not text or text == "|":
            return
        if words and self.prefix:
            self.done.append(self.indent[: len(self.indent) - len(self.prefix)] + self.prefix + text)
            self.prefix = ""
        else:
            self.done.append(self.indent + text)

    def end_code(self, language: str) -> None:
        """The code as it is, between fences, and the pictures that were in it."""
        text = "".join(part for part in self.code if isinstance(part, str)).strip("\n")
        pictures = [part for part in self.code if isinstance(part, int)]
        self.code.clear()
        if text.strip():
            fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text)), 3)
            lines = MARKER.sub(r"(Image \1)", text).split("\n")
            self.done += [f"{self.indent}{line}".rstrip() for line in (f"{fence}{language}", *lines, fence)]
        for picture in pictures:
            self.parts.append(picture)
            self.end()

    def begin_item(self, value: str) -> None:
        """The marker of a list's next item; `value` is a number of its own."""
        item = self.lists[-1] if self.lists else _Item(None)
        if item.number is not None and value.isdecimal():
            item.number = int(value[:9])
        self.prefix = "- " if item.number is None else f"{item.number}. "
        item.width = len(self.prefix)
        item.number = None if item.number is None else item.number + item.step


def extract(root: LexborNode, junk: Collection[int], addresses: Addresses) -> tuple[str, tuple[Picture, ...]]:
    """The text below a node, and its pictures; a repeated picture counts at its first place only."""
    lines = _Lines()
    pictures: dict[str, Picture] = {}
    for node, entering in traverse(root, junk):
        tag = node.tag or ""
        if node.is_text_node:
            if entering:
                lines.add(node.text_content or "")
        elif text := as_text(node):
            if entering:
                lines.add(text)
        elif tag in IMAGE_TAGS:
            found = addresses(node) if entering else ()
            if found and found[0] not in pictures:
                lines.add(len(pictures))
                pictures[found[0]] = _picture(node, found)
        elif tag == "br":
            if entering and lines.verbatim:
                lines.add("\n")
            elif entering:
                lines.end()
        elif tag in ("td", "th"):
            _cell(lines, node, entering)
        elif tag in BLOCKS:
            _block(lines, node, tag, entering)
    lines.end()
    return "\n".join(lines.done), tuple(pictures.values())


def as_text(node: LexborNode) -> str:
    """What an `img` is read as that only draws a sign: a callout's number as `(1)`, an emoji as itself; else ""."""
    if node.tag != "img":
        return ""
    own = node.attributes
    alt, source = (own.get("alt") or "").strip(), own.get("src") or ""
    names = set(tokens(node))
    if number := re.fullmatch(r"\(?(\d{1,2})\)?", alt):
        return f"({number[1]})" if names & {"callout", "co", "conum"} or "/callouts/" in source else ""
    return alt if names & {"emoji", "wp-smiley", "twemoji"} else ""


def _cell(lines: _Lines, node: LexborNode, entering: bool) -> None:
    if entering:
        lines.cells.append(node.css_first(LAYOUT) is None)
        return
    if lines.cells:
        lines.cells.pop()
    lines.parts.append(" | ")


def _block(lines: _Lines, node: LexborNode, tag: str, entering: bool) -> None:
    if tag == "pre":
        if entering and not lines.verbatim:
            lines.end()
        lines.verbatim += 1 if entering else -1
        if not entering and not lines.verbatim:
            lines.end_code(_language(node))
        return
    if lines.verbatim:
        return
    lines.end()
    if tag in ("ul", "ol"):
        if entering:
            lines.lists.append(_list(node, tag))
        elif lines.lists:
            lines.lists.pop()
    elif tag == "li" and entering:
        lines.begin_item(node.attributes.get("value") or "")
    elif tag == "li":
        lines.prefix = ""
    elif tag[0] == "h" and tag[1:].isdigit() and not lines.lists and not lines.cells:
        lines.prefix = "#" * int(tag[1]) + " " if entering else ""


def _list(node: LexborNode, tag: str) -> _Item:
    """A list before its first item; `start` and `reversed` as HTML has them."""
    if tag == "ul":
        return _Item(None)
    own = node.attributes
    start = own.get("start") or ""
    backwards = "reversed" in own
    count = sum(child.tag == "li" for child in node.iter()) if backwards else 1
    first = int(start) if re.fullmatch(r"-?\d{1,9}", start) else count
    return _Item(first, step=-1 if backwards else 1)


def _language(pre: LexborNode) -> str:
    """The language of code, as highlighters name it in a class of `pre` or `code`."""
    code = pre.css_first("code")
    classes = f"{pre.attributes.get('class') or ''} {(code.attributes.get('class') or '') if code else ''}"
    named = LANGUAGE.search(classes)
    return named[1] if named else pre.attributes.get("lang") or ""  # `lang` is docutils'


def _picture(node: LexborNode, addresses: tuple[str, ...]) -> Picture:
    own = node.attributes
    alt, title = one_line(own.get("alt") or ""), one_line(own.get("title") or "")
    return Picture(addresses, alt, title, _figcaption(node), anywhere="data-anywhere" in own)


def _figcaption(node: LexborNode) -> str:
    """The caption of the nearest figure around a picture, or one that follows its paragraph."""
    parent = node.parent
    while parent is not None and parent.tag != "figure":
        following = parent.next
        while following is not None and following.is_text_node and not (following.text_content or "").strip():
            following = following.next
        if following is not None and following.tag == "figcaption":
            return one_line(following.text())
        parent = parent.parent
    caption = parent.css_first("figcaption") if parent is not None else None
    return one_line(caption.text()) if caption is not None else ""
