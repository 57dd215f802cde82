"""The tree of a page: its nodes in reading order, how much text stands below each, and its blocks of text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from selectolax.lexbor import LexborNode as Node

BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend",
    "li", "main", "nav", "noscript", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "ul",
))  # fmt: skip
"""Elements that begin and end a block of text."""


class Weight(NamedTuple):
    """Characters of text below a node (without spaces), those of them inside links, and the number of images."""

    text: int = 0
    links: int = 0
    images: int = 0

    @property
    def prose(self) -> int:
        return self.text - self.links


class Block(NamedTuple):
    """A run of text without a block inside: the block around it, its text nodes, its text, and the `mem_id`s of all
    elements around it."""

    tag: str
    nodes: tuple[int, ...]
    text: str
    weight: Weight
    path: tuple[int, ...]


def traverse(root: Node, junk: Collection[int] = ()) -> Iterator[tuple[Node, bool]]:
    """`root` and every node below it in reading order, twice: (node, True) on entering, (node, False) on leaving.

    Nodes in `junk` (`mem_id`s) are skipped. Not recursive, because pages may nest deeply.
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


def weigh(root: Node) -> dict[int, Weight]:
    """`mem_id` → weight of `root` and of every element below it."""
    done: dict[int, Weight] = {}
    open_nodes: list[list[int]] = []
    links = 0
    for node, entering in traverse(root):
        if node.is_text_node:
            text = node.text_content if entering else ""
            if text and not text.isspace():
                length = characters(text)
                own = open_nodes[-1]
                own[0] += length
                own[1] += length if links else 0
        elif entering:
            tag = node.tag
            open_nodes.append([0, 0, int(tag == "img")])
            links += tag == "a"
        else:
            links -= node.tag == "a"
            text_, linked, images = open_nodes.pop()
            done[node.mem_id] = Weight(text_, linked, images)
            if open_nodes:
                outer = open_nodes[-1]
                outer[0] += text_
                outer[1] += linked
                outer[2] += images
    return done


def without(weights: Mapping[int, Weight], junk: Iterable[Node]) -> dict[int, Weight]:
    """The weights after some nodes, none inside another, are left out."""
    left = dict(weights)
    for node in junk:
        own = left.pop(node.mem_id, Weight())
        for parent in above(node):
            if parent.mem_id in left:
                left[parent.mem_id] = Weight(*(a - b for a, b in zip(left[parent.mem_id], own, strict=True)))
    return left


def blocks(root: Node, junk: Collection[int]) -> tuple[list[Block], list[tuple[Node, tuple[int, ...]]]]:
    """The blocks of text below a node in reading order, and its `img` elements, each with the elements around it."""
    found: list[Block] = []
    images: list[tuple[Node, tuple[int, ...]]] = []
    path: list[int] = []
    tags: list[str] = []
    texts: list[tuple[int, str, bool]] = []
    around: tuple[int, ...] = ()
    links = 0

    def end() -> None:
        text = "".join(part for _, part, _ in texts)
        if text.strip():
            linked = sum(characters(part) for _, part, is_link in texts if is_link)
            found.append(
                Block(
                    tags[-1] if tags else "",
                    tuple(node for node, _, _ in texts),
                    text,
                    Weight(characters(text), linked),
                    around,
                )
            )
        texts.clear()

    for node, entering in traverse(root, junk):
        if node.is_text_node:
            if entering:
                around = tuple(path) if not texts else around
                texts.append((node.mem_id, node.text_content or "", links > 0))
            continue
        tag = node.tag or ""
        if tag in BLOCKS:
            end()
            if entering:
                tags.append(tag)
            else:
                tags.pop()
        links += (tag == "a") * (1 if entering else -1)
        if entering:
            path.append(node.mem_id)
            if tag in ("img", "amp-img"):
                images.append((node, tuple(path)))
        else:
            path.pop()
    end()
    return found, images


def characters(text: str) -> int:
    """The number of characters that are no spaces."""
    return len("".join(text.split()))


def tokens(node: Node) -> list[str]:
    """The class names of an element, in lower case."""
    return (node.attributes.get("class") or "").lower().split()


def above(node: Node) -> Iterator[Node]:
    """The elements around a node, the nearest first."""
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent
