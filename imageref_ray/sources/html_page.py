"""One HTML or Markdown page → its title, its text with `[Image k]` where image k stands, and where images can be read.

    HTML ─▶ tree ─main_content.py─▶ what the page is about ┐
    Markdown ─▶ HTML ─▶ tree ──────────────────────────────┴─▶ lines: `## heading`, `- item`, paragraphs, `a | b` rows

Sources: HTML's rules for `img`, `picture` and `srcset`; the `data-` attributes of the common late-loading scripts.
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
from imageref_ray.sources.main_content import content, walk

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "noscript", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr",
    "ul",
))  # fmt: skip
PICTURES = ("img", "amp-img")
LATE = ("data-srcset", "data-lazy-srcset", "data-src", "data-lazy-src", "data-original", "data-orig-file", "data-url")
"""Attributes that hold the true address while `src` shows a placeholder."""

NOT_DECODED = ("image/avif", "image/jxl", "image/heic", "image/svg+xml")
CANDIDATE = re.compile(r"(\S*[^,\s])(?:\s+([\d.]+)[wx])?\s*(?:,|$)")
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]{1,40})""", re.IGNORECASE)
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252"}
"""Encodings that pages name, and what browsers read instead."""


@dataclass(frozen=True, slots=True)
class Page:
    """`pictures[k]` are the addresses of image k as the page writes them, best first; `base` is what they are
    relative to on the web, `url` the page's own address (either may be unknown: empty)."""

    title: str
    text: str
    pictures: tuple[tuple[str, ...], ...]
    url: str = ""
    base: str = ""


def from_html(data: bytes) -> Page:
    """A page in any encoding that it names (UTF-8 or Windows-1252 otherwise), without its navigation."""
    tree = LexborHTMLParser(decoded(data))
    url = _web(
        _attribute(tree, "link[rel~=canonical]", "href") or _attribute(tree, "meta[property='og:url']", "content")
    )
    base = _web(urljoin(url, _attribute(tree, "base[href]", "href"))) or url
    body = tree.body
    if body is None:
        return Page("", "", ())
    root, junk = content(body)
    headings = root.css("h1")
    named = tree.css_first("title")
    title = (
        (_plain(headings[0]) if len(headings) == 1 else "")
        or _attribute(tree, "meta[property='og:title']", "content")
        or (_plain(named) if named else "")
    )
    text, pictures = _read(root, junk)
    return Page(_one_line(title), _untitled(text, title), pictures, url, base)


def from_markdown(data: bytes) -> Page:
    """A CommonMark page (with tables and embedded HTML); title and address from YAML front matter, if it has some."""
    source = decoded(data)
    front = FRONT_MATTER.match(source)
    facts = _facts(front[1]) if front else {}
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = LexborHTMLParser(reader.render(source[front.end() :] if front else source)).body
    if body is None:
        return Page("", "", ())
    heading = body.css_first("h1")
    title = _one_line(str(facts.get("title") or "")) or (_plain(heading) if heading else "")
    named = (str(facts[key]) for key in ("canonical_url", "canonical", "url", "permalink", "source") if facts.get(key))
    url = next(filter(None, map(_web, named)), "")
    text, pictures = _read(body, ())
    return Page(title, _untitled(text, title), pictures, url, url)


def decoded(data: bytes) -> str:
    """The text of a file: by its byte order mark, the encoding it names, else UTF-8, else Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    named = CHARSET.search(data[:4096])
    name = named[1].decode("ascii", "replace").lower() if named else ""
    for encoding in ("utf-8-sig", WIDER.get(name, name), "cp1252"):
        try:
            return data.decode(encoding).encode("utf-8", "replace").decode()  # some encodings can hold half characters
        except (UnicodeDecodeError, LookupError, ValueError):
            continue
    return data.decode("utf-8", "replace")


@dataclass
class _Lines:
    """The lines read so far and the one being read; pictures stand in it as numbers."""

    done: list[str] = field(default_factory=list)
    parts: list[str | int] = field(default_factory=list)
    prefix: str = ""

    def end(self) -> None:
        text = "".join(part if isinstance(part, str) else f"\0{part}\0" for part in self.parts)
        self.parts.clear()
        text = MARKER.sub(r"(Image \1)", text)  # the page's own words must not pass for a picture
        words = re.sub(r"\0\d+\0", "", text).strip(" \t\r\n|")
        text = " ".join(re.sub(r"\0(\d+)\0", r" [Image \1] ", text).split()).removesuffix(" |")
        if text and text != "|":
            self.done.append((self.prefix if words else "") + text)
            self.prefix = ""


def _read(root: LexborNode, junk: Collection[int]) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """The text below a node, and its pictures; one that the page shows twice counts where it stands first."""
    lines = _Lines()
    pictures: dict[str, tuple[str, ...]] = {}
    verbatim = 0
    for node, entering in walk(root, junk):
        tag = node.tag or ""
        if node.is_text_node and entering:
            for number, part in enumerate((node.text_content or "").split("\n") if verbatim else [node.text_content]):
                if number:
                    lines.end()
                lines.parts.append(part or "")
        elif tag in PICTURES and entering:
            found = addresses(node)
            if found and found[0] not in pictures:
                lines.parts.append(len(pictures))
                pictures[found[0]] = found
        elif tag == "br" and entering:
            lines.end()
        elif tag in ("td", "th") and not entering:
            lines.parts.append(" | ")
        elif tag in BLOCKS:
            lines.end()
            verbatim += (tag == "pre") * (1 if entering else -1)
            lines.prefix = _prefix(tag, lines.prefix, entering)
    lines.end()
    return "\n".join(lines.done), tuple(pictures.values())


def _prefix(tag: str, before: str, entering: bool) -> str:
    """What the next line begins with: a heading's marks, an item's dash; a block inside an item keeps its dash."""
    own = "#" * int(tag[1]) + " " if re.fullmatch("h[1-6]", tag) else "- " if tag == "li" else ""
    return own if own and entering else "" if own else before


def addresses(image: LexborNode) -> tuple[str, ...]:
    """Where an `img` can be read, best first; nothing for a tracking pixel. `src` counts unless it is a placeholder."""
    own = image.attributes
    if any(re.fullmatch(r"[01](px)?", own.get(side) or "") for side in ("width", "height")):
        return ()
    sets = [own.get("srcset") or ""]
    parent = image.parent
    if parent is not None and parent.tag == "picture":
        offered = (source.attributes for source in parent.css("source"))
        sets += [s.get("srcset") or s.get("data-srcset") or "" for s in offered if s.get("type") not in NOT_DECODED]
    late = [own.get(key) or "" for key in LATE]
    found = _largest([*sets, *(text for key, text in zip(LATE, late, strict=True) if key.endswith("srcset"))])
    found += [text.strip() for key, text in zip(LATE, late, strict=True) if not key.endswith("srcset")]
    if not any(found) or not any(late):
        found.append((own.get("src") or "").strip())
    return tuple(dict.fromkeys(filter(None, found)))


def _largest(sets: list[str]) -> list[str]:
    """The addresses in `srcset` texts, the one for the widest (or densest) screen first."""
    offers = [(float(size or 0), address) for text in sets for address, size in CANDIDATE.findall(text)]
    return [address for _, address in sorted(offers, key=lambda offer: -offer[0]) if not address.startswith("data:")]


def _facts(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _untitled(text: str, title: str) -> str:
    """The text without a first line that only repeats the title (which a document shows above its text)."""
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
