"""One HTML page → its title, its text with `[Image k]` in place of image k, and the images' addresses.

    HTML ─▶ tree ─main_content.py─▶ main content ─page_text.py─▶ lines and images

Sources: HTML's rules for `img`, `picture` and `srcset`; the `data-` attributes of common lazy-loading scripts.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from imageref_ray.sources.main_content import find_content
from imageref_ray.sources.page import Page, one_line, untitled
from imageref_ray.sources.page_text import extract

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
CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]{1,40})""", re.IGNORECASE)
WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252"}
"""Encodings that pages declare, and the supersets that browsers use instead."""


def parse_html(data: bytes) -> Page:
    """An HTML page in the encoding that it declares (else UTF-8 or Windows-1252), without its navigation."""
    tree = LexborHTMLParser(decode(data))
    url = web(
        _attribute(tree, "link[rel~=canonical]", "href") or _attribute(tree, "meta[property='og:url']", "content")
    )
    base = web(urljoin(url, _attribute(tree, "base[href]", "href"))) or url
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
    text, images = extract(root, junk, addresses)
    return Page(one_line(title), untitled(text, title), images, url, base)


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


def _attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    node = tree.css_first(selector)
    return (node.attributes.get(name) or "").strip() if node else ""


def _plain(node: LexborNode) -> str:
    return one_line(node.text())


def web(address: str) -> str:
    return address if re.match(r"https?://", address, re.IGNORECASE) else ""
