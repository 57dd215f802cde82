"""One HTML or Markdown page → its title, its text with `[Image k]` in place of image k, and the images' addresses.

    HTML ─▶ tree ─main_content.py─▶ main content ──────────┐
    Markdown ─▶ HTML ─▶ tree ──────────────────────────────┴─▶ lines: `## heading`, `- item`, paragraphs, `a | b` rows

Sources: HTML's rules for `img`, `picture` and `srcset`; the `data-` attributes of common lazy-loading scripts.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import yaml
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from imageref_ray.core.records import MARKER
from imageref_ray.sources.main_content import find_content, traverse

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "noscript", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr",
    "ul",
))  # fmt: skip
IMAGE_TAGS = ("img", "amp-img")
LAZY_ATTRIBUTES = (
    "data-srcset",
    "data-lazy-srcset",
    "data-src",
    "data-lazy-src",
    "data-original",
    "data-orig-file",
    "data-url",
)
"""Attributes that hold the address while `src` is a placeholder."""

NOT_DECODED = ("image/avif", "image/jxl", "image/heic", "image/svg+xml")
CANDIDATE = re.compile(r"(\S*[^,\s])(?:\s+([\d.]+)[wx])?\s*(?:,|$)")
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]{1,40})""", re.IGNORECASE)
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252"}
"""Encodings that pages declare, and the supersets that browsers use instead."""


@dataclass(frozen=True, slots=True)
class Page:
    """`images[k]` are the addresses of image k as the page writes them, best first; `base` is the web address they
    are relative to, `url` the page's own (either is empty if unknown)."""

    title: str
    text: str
    images: tuple[tuple[str, ...], ...]
    url: str = ""
    base: str = ""


def parse_html(data: bytes) -> Page:
    """An HTML page in the encoding that it declares (else UTF-8 or Windows-1252), without its navigation."""
    tree = LexborHTMLParser(decode(data))
    url = _web(
        _attribute(tree, "link[rel~=canonical]", "href") or _attribute(tree, "meta[property='og:url']", "content")
    )
    base = _web(urljoin(url, _attribute(tree, "base[href]", "href"))) or url
    body = tree.body
    if body is None:
        return Page("", "", ())
    root, junk = find_content(body)
    headings = root.css("h1")
    named = tree.css_first("title")
    title = (
        (_plain(headings[0]) if len(headings) == 1 else "")
        or _attribute(tree, "meta[property='og:title']", "content")
        or (_plain(named) if named else "")
    )
    text, images = _extract(root, junk)
    return Page(_one_line(title), _untitled(text, title), images, url, base)


def parse_markdown(data: bytes) -> Page:
    """A CommonMark page (with tables and embedded HTML); title and address from YAML front matter, if it has any."""
    source = decode(data)
    front = FRONT_MATTER.match(source)
    fields = _front_matter(front[1]) if front else {}
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = LexborHTMLParser(reader.render(source[front.end() :] if front else source)).body
    if body is None:
        return Page("", "", ())
    heading = body.css_first("h1")
    title = _one_line(str(fields.get("title") or "")) or (_plain(heading) if heading else "")
    named = (
        str(fields[key]) for key in ("canonical_url", "canonical", "url", "permalink", "source") if fields.get(key)
    )
    url = next(filter(None, map(_web, named)), "")
    text, images = _extract(body, ())
    return Page(title, _untitled(text, title), images, url, url)


def decode(data: bytes) -> str:
    """The text of a page: by its byte order mark, as UTF-8, in the encoding it declares, or as Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    named = CHARSET.search(data[:4096])
    name = named[1].decode("ascii", "replace").lower() if named else ""
    for encoding in ("utf-8-sig", WIDER.get(name, name), "cp1252"):
        try:
            return data.decode(encoding).encode("utf-8", "replace").decode()  # some encodings hold half characters
        except (UnicodeDecodeError, LookupError, ValueError):
            continue
    return data.decode("utf-8", "replace")


@dataclass
class _Lines:
    """The finished lines and the parts of the current one; images are numbers in it."""

    done: list[str] = field(default_factory=list)
    parts: list[str | int] = field(default_factory=list)
    prefix: str = ""

    def end(self) -> None:
        text = "".join(part if isinstance(part, str) else f"\0{part}\0" for part in self.parts)
        self.parts.clear()
        text = MARKER.sub(r"(Image \1)", text)  # the page's own text must not look like an image marker
        words = re.sub(r"\0\d+\0", "", text).strip(" \t\r\n|")
        text = " ".join(re.sub(r"\0(\d+)\0", r" [Image \1] ", text).split()).removesuffix(" |")
        if text and text != "|":
            self.done.append((self.prefix if words else "") + text)
            self.prefix = ""


def _extract(root: LexborNode, junk: Collection[int]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """The text below a node, and its images' addresses; a repeated image counts at its first place only."""
    lines = _Lines()
    images: dict[str, tuple[str, ...]] = {}
    verbatim = 0
    for node, entering in traverse(root, junk):
        tag = node.tag or ""
        if node.is_text_node and entering:
            for number, part in enumerate((node.text_content or "").split("\n") if verbatim else [node.text_content]):
                if number:
                    lines.end()
                lines.parts.append(part or "")
        elif tag in IMAGE_TAGS and entering:
            candidates = addresses(node)
            if candidates and candidates[0] not in images:
                lines.parts.append(len(images))
                images[candidates[0]] = candidates
        elif tag == "br" and entering:
            lines.end()
        elif tag in ("td", "th") and not entering:
            lines.parts.append(" | ")
        elif tag in BLOCKS:
            lines.end()
            verbatim += (tag == "pre") * (1 if entering else -1)
            lines.prefix = _prefix(tag, lines.prefix, entering)
    lines.end()
    return "\n".join(lines.done), tuple(images.values())


def _prefix(tag: str, before: str, entering: bool) -> str:
    """The start of the next line: `#` marks of a heading, the dash of a list item; a block inside an item keeps it."""
    own = "#" * int(tag[1]) + " " if re.fullmatch("h[1-6]", tag) else "- " if tag == "li" else ""
    return own if own and entering else "" if own else before


def addresses(image: LexborNode) -> tuple[str, ...]:
    """The addresses of an `img`, best first; none for a tracking pixel. `src` is left out if it is a placeholder."""
    own = image.attributes
    if any(re.fullmatch(r"[01](px)?", own.get(side) or "") for side in ("width", "height")):
        return ()
    sets = [own.get("srcset") or ""]
    parent = image.parent
    if parent is not None and parent.tag == "picture":
        offered = (source.attributes for source in parent.css("source"))
        sets += [s.get("srcset") or s.get("data-srcset") or "" for s in offered if s.get("type") not in NOT_DECODED]
    lazy = [own.get(key) or "" for key in LAZY_ATTRIBUTES]
    lazy_sets = [text for key, text in zip(LAZY_ATTRIBUTES, lazy, strict=True) if key.endswith("srcset")]
    candidates = _largest([*sets, *lazy_sets])
    candidates += [text.strip() for key, text in zip(LAZY_ATTRIBUTES, lazy, strict=True) if not key.endswith("srcset")]
    if not any(candidates) or not any(lazy):
        candidates.append((own.get("src") or "").strip())
    return tuple(dict.fromkeys(filter(None, candidates)))


def _largest(sets: list[str]) -> list[str]:
    """The addresses in `srcset` attributes, the largest image first."""
    offers = [(float(size or 0), address) for text in sets for address, size in CANDIDATE.findall(text)]
    return [address for _, address in sorted(offers, key=lambda offer: -offer[0]) if not address.startswith("data:")]


def _front_matter(text: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _untitled(text: str, title: str) -> str:
    """The text without a first line that only repeats the title (documents are rendered with their title)."""
    first, _, rest = text.partition("\n")
    return rest if first.startswith("#") and _one_line(first.lstrip("#")) == _one_line(title) else text


def _attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    node = tree.css_first(selector)
    return (node.attributes.get(name) or "").strip() if node else ""


def _plain(node: LexborNode) -> str:
    return _one_line(node.text())


def _one_line(text: str) -> str:
    return " ".join(MARKER.sub(r"(Image \1)", text).split())


def _web(address: str) -> str:
    return address if re.match(r"https?://", address, re.IGNORECASE) else ""
