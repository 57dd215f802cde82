"""A parsed web page → the node with its main content, and the nodes below it that are boilerplate (navigation, ads).

Signs, from sure to weak: the element itself (`nav`, `aside`, …), its role, that it is hidden, words in its class or
id, a list of links only. A node with the page's heading or most of its text is never boilerplate.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from selectolax.lexbor import LexborNode as Node

JUNK = (
    "script, style, template, nav, aside, footer, form, button, select, textarea, dialog, iframe, object, embed, svg, "
    "canvas, video, audio, map, [hidden], [aria-hidden=true], [role=navigation], [role=contentinfo], [role=search], "
    "[role=complementary], [role=dialog], [role=alertdialog], [role=menu], [role=menubar], [style*='display:none'], "
    "[style*='display: none']"
)

WORDS = frozenset((
    "ad", "ads", "advert", "advertisement", "advertising", "breadcrumb", "breadcrumbs", "comment", "comments",
    "consent", "cookie", "cookies", "disqus", "masthead", "menu", "nav", "navbar", "navigation", "newsletter",
    "outbrain", "pager", "pagination", "promo", "recommended", "recommendations", "related", "share", "sharing",
    "sidebar", "skip", "social", "sponsored", "subscribe", "taboola", "toc", "toolbar",
))  # fmt: skip
"""Words in a class or id that mark boilerplate."""

MOST, HALF = 0.9, 0.5
LINKS, LINKED = 5, 0.8
"""A list with at least this many links that make up more than this fraction of its text is navigation."""


class Weight(NamedTuple):
    """Characters of text below a node, those of them inside links, and the number of images."""

    text: int = 0
    links: int = 0
    images: int = 0


def find_content(body: Node) -> tuple[Node, frozenset[int]]:
    """The node with the main content, and the `mem_id`s of the nodes below it to skip."""
    certain = _certain_junk(body)
    weights = _weights(body, certain)
    junk = certain | _likely_junk(body, weights)
    return _content_node(body, _weights(body, junk)), frozenset(junk)


def traverse(root: Node, junk: Collection[int] = ()) -> Iterator[tuple[Node, bool]]:
    """`root` and every node below it in reading order, twice: (node, True) on entering, (node, False) on leaving.

    Nodes in `junk` are skipped. Not recursive, because pages may nest deeply.
    """
    node = root
    while True:
        skipped = node.mem_id in junk
        if not skipped:
            yield node, True
            if node.child is not None:
                node = node.child
                continue
            yield node, False
        while node.mem_id != root.mem_id and node.next is None:
            parent = node.parent
            assert parent is not None
            node = parent
            yield node, False
        if node.mem_id == root.mem_id:
            return
        following = node.next
        assert following is not None
        node = following


def _certain_junk(body: Node) -> set[int]:
    junk = {node.mem_id for node in body.css(JUNK) if not node.css_first("h1")}
    for header in body.css("header, [role=banner]"):
        inside = any(parent.tag in ("article", "main") for parent in _above(header))
        if not inside and not header.css_first("h1"):
            junk.add(header.mem_id)
    for fallback in body.css("noscript"):  # lazy-loading pages repeat their images here
        if not fallback.css_first("img"):
            junk.add(fallback.mem_id)
    return junk


def _likely_junk(body: Node, weights: Mapping[int, Weight]) -> set[int]:
    junk = set()
    total = weights[body.mem_id].text
    for node in body.css("[class], [id]"):
        named = WORDS & set(re.findall(r"[a-z]+", _spaced(f"{node.attributes.get('class')} {node.id}").lower()))
        small = _of(node, weights).text < HALF * total
        if named and small and node.tag not in ("main", "article", "img") and not node.css_first("h1"):
            junk.add(node.mem_id)
    for links in body.css("ul, ol"):
        weight = _of(links, weights)
        if len(links.css("a[href]")) >= LINKS and weight.links > LINKED * weight.text and weight.text < HALF * total:
            junk.add(links.mem_id)
    return junk


def _weights(root: Node, junk: Collection[int]) -> dict[int, Weight]:
    """`mem_id` → weight of every element that is not junk."""
    done: dict[int, Weight] = {}
    open_nodes: list[list[int]] = []
    links = 0
    for node, entering in traverse(root, junk):
        if node.is_text_node:
            length = len("".join((node.text_content or "").split())) if entering else 0
            open_nodes[-1][0] += length
            open_nodes[-1][1] += length if links else 0
        elif entering:
            open_nodes.append([0, 0, int(node.tag == "img")])
            links += node.tag == "a"
        else:
            links -= node.tag == "a"
            own = open_nodes.pop()
            done[node.mem_id] = Weight(*own)
            if open_nodes:
                open_nodes[-1] = [above + below for above, below in zip(open_nodes[-1], own, strict=True)]
    return done


def _content_node(body: Node, weights: Mapping[int, Weight]) -> Node:
    """The page's `main` or else `article`, if it has half of the text; otherwise the smallest node with nearly all
    text, the heading and every image."""
    whole = weights[body.mem_id]
    for selector in ("main, [role=main]", "article"):
        named = max(body.css(selector), key=lambda node: _of(node, weights).text, default=None)
        if named is not None and _of(named, weights).text >= HALF * whole.text > 0:
            return named
    node = body
    while (inner := _inner(node, whole, weights)) is not None:
        node = inner
    return node


def _inner(node: Node, whole: Weight, weights: Mapping[int, Weight]) -> Node | None:
    """The child with nearly all text, the heading and every image, if there is one."""
    heading = node.css_first("h1")
    child = node.child
    while child is not None:
        own = _of(child, weights)
        if own.text >= MOST * whole.text > 0 and own.images == whole.images and child.is_element_node:
            return child if heading is None or child.css_first("h1") else None
        child = child.next
    return None


def _of(node: Node, weights: Mapping[int, Weight]) -> Weight:
    """A node's weight; zero for junk."""
    return weights.get(node.mem_id, Weight())


def _above(node: Node) -> Iterator[Node]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def _spaced(name: str) -> str:
    """`relatedLinks` as `related Links`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
