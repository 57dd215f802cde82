"""One HTML page → its title, its text with `[Image k]` in place of image k, and the images' addresses.

bytes ─encodings.py─▶ HTML ─▶ tree ─main_content.py─▶ main content ─page_text.py─▶ lines and images
                                                        image_addresses.py, srcset.py ─┘
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from imageref_ray.core.images import Problem
from imageref_ray.sources.pages.encodings import decode
from imageref_ray.sources.pages.image_addresses import addresses, is_placeholder
from imageref_ray.sources.pages.main_content import Content, find_content
from imageref_ray.sources.pages.page import Page, Picture, one_line, untitled
from imageref_ray.sources.pages.page_text import as_text, extract
from imageref_ray.sources.pages.tree import above, traverse

MOST = 0.5
"""A page that loses more than this fraction of its text outside links is reported."""

BACKGROUND = re.compile(r"background[\w-]*\s*:[^;]*url\(\s*(?!['\"]?data:)", re.IGNORECASE)


def parse_html(data: bytes) -> Page:
    """An HTML page as browsers decode it, without its navigation; what is left out is in `problems` and `left_out`."""
    html = decode(data)
    tree = LexborHTMLParser(html)
    url, base = _web_addresses(tree)
    named = tree.css_first("title")
    name = _attribute(tree, "meta[property='og:title']", "content") or (_plain(named) if named else "")
    if tree.body is None:
        return Page("", "", ())
    content = find_content(tree, html)
    junk = content.junk
    headings = content.root.css("h1")
    title = (_plain(headings[0]) if len(headings) == 1 else "") or name
    text, images = extract(content.root, junk, addresses)
    kept = {picture.addresses[0] for picture in images}
    left_out = tuple(
        (Picture(found, one_line(image.attributes.get("alt") or "")), reason)
        for image, reason in [*content.left_out, *_stand_ins(content)]
        if (found := addresses(image) or ((image.attributes.get("src") or "").strip(),)) and found[0] not in kept
    )
    problems = tuple(_problems(content, junk))
    return Page(one_line(title), untitled(text, title), images, url, base, problems, left_out)


def left_out_of(data: bytes) -> list[tuple[str, str]]:
    """The texts of a page that `parse_html` takes for none of its content, in reading order, each with the reason."""
    html = decode(data)
    tree = LexborHTMLParser(html)
    if tree.body is None:
        return []
    content = find_content(tree, html)
    reasons = {node: reason for reason, nodes in content.parts.items() for node in nodes}
    parts = [("", "")]
    part = 0  # the outermost open element that is left out
    inside = content.root.mem_id == tree.body.mem_id
    for node, entering in traverse(tree.body):
        if node.mem_id == content.root.mem_id:
            inside = entering
        part = part or (node.mem_id if node.mem_id in reasons else 0)
        reason = reasons[part] if part else "" if inside else "outside the text"
        text = one_line(node.text_content or "") if node.is_text_node and entering else ""
        if text and parts[-1][0] == reason:
            parts[-1] = reason, f"{parts[-1][1]} {text}"
        elif text:
            parts.append((reason, text))
        if not entering and part == node.mem_id:
            part = 0
    return [(reason, text) for reason, text in parts if reason]


def pictures_of(data: bytes) -> tuple[list[Picture], str]:
    """All pictures of a page, navigation included, and the web address that theirs are relative to."""
    tree = LexborHTMLParser(decode(data))
    return [Picture(found) for image in tree.css("img") if (found := addresses(image))], _web_addresses(tree)[1]


def _problems(content: Content, junk: Collection[int]) -> Iterable[Problem]:
    """What of a page's content is not read."""
    if content.lost > MOST:
        yield Problem(
            "MostTextLeftOut",
            f"{content.lost:.0%} of its text outside links was taken for navigation or other articles and left out; "
            "look at the page, and cut it to its content if that is wrong",
        )
    styled = [node for node in content.root.css("[style]") if BACKGROUND.search(node.attributes.get("style") or "")]
    if backgrounds := sum(_is_inside(node, junk) for node in styled):
        yield Problem("BackgroundImage", f"{backgrounds} pictures are backgrounds (CSS), which are not read")
    if drawings := sum(_is_inside(node, junk) for node in content.root.css("svg") if node.css_first("text, image")):
        yield Problem("InlineSvg", f"{drawings} drawings stand in the page itself (svg), which are not read; link them")


def _is_inside(node: LexborNode, junk: Collection[int]) -> bool:
    """Whether an element is content, or the elements around it are."""
    return not any(parent.mem_id in junk for parent in above(node))


def _stand_ins(content: Content) -> Iterable[tuple[LexborNode, str]]:
    for image in content.root.css("img"):
        if as_text(image):
            yield image, "a sign that is read as text"
        elif is_placeholder(image) and not addresses(image):
            yield image, "a placeholder for a picture that a script loads"


def _web_addresses(tree: LexborHTMLParser) -> tuple[str, str]:
    """The page's own address and the one that others are relative to; either is empty if unknown."""
    canonical = _attribute(tree, "link[rel~=canonical]", "href")
    url = web(canonical or _attribute(tree, "meta[property='og:url']", "content"))
    return url, web(join(url, _attribute(tree, "base[href]", "href"))) or url


def join(base: str, address: str) -> str:
    """An address relative to another; as it is where the two make none."""
    try:
        return urljoin(base, address)
    except ValueError:
        return address


def _attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    node = tree.css_first(selector)
    return (node.attributes.get(name) or "").strip() if node else ""


def _plain(node: LexborNode) -> str:
    return one_line(node.text())


def web(address: str) -> str:
    """An address on the web as it is, any other as nothing."""
    return address if re.match(r"https?://", address, re.IGNORECASE) else ""
