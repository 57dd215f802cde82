"""A parsed web page → the node with its main content, and the nodes below it to leave out.

    tree ─page_furniture.py─▶ without navigation ─┬─ documentation.py: a page of documentation keeps all the rest
                                                  └─ article.py: of any other, what trafilatura takes for the article

Where that would be next to nothing of the page's prose, the page is kept whole.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser
from selectolax.lexbor import LexborNode as Node

from imageref_ray.sources.pages.article import judge
from imageref_ray.sources.pages.documentation import PROSE, find_root, is_documentation, is_published
from imageref_ray.sources.pages.page_furniture import NO_TEXT, find_furniture
from imageref_ray.sources.pages.tree import Block, blocks, weigh, without

LEAST = 0.1
"""Where less than this fraction of a page's prose would be its article, all of it is kept."""

SHORT = 1000
"""Characters; a page with less text is not judged unless a publishing system made it."""

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")

LINKED = 0.95
"""A block at the beginning or end of a page with more than this fraction of its text in links is navigation."""

COLOPHON = re.compile(
    r"\W*(©|\(c\)\s*\d{4}|copyright\b|last (updated|modified|changed)|"
    r"(this )?(page|document) (was )?(last )?(generated|updated)|"
    r"(generated|built|created) (by|with|using|on)\b)",
    re.IGNORECASE,
)
"""The beginning of a line below a page about the page itself."""


class Content(NamedTuple):
    """`root` holds the content, apart from the nodes in `parts` (reason → `mem_id`s); `lost` is the fraction of the
    page's prose (text outside links, navigation included) that is left out; `left_out` are the images outside, each
    with the reason."""

    root: Node
    parts: dict[str, frozenset[int]]
    lost: float
    left_out: tuple[tuple[Node, str], ...]

    @property
    def junk(self) -> frozenset[int]:
        """All nodes below `root` that are no content."""
        return frozenset().union(*self.parts.values())


def find_content(tree: LexborHTMLParser, html: str) -> Content:
    """The main content of a page; `html` is its source. Elements without text are taken out of the tree."""
    manual, published = is_documentation(tree, html), is_published(tree)
    tree.strip_tags(NO_TEXT, recursive=True)
    body = tree.body
    assert body is not None
    everything = weigh(body)
    furniture = find_furniture(body, everything)
    weights = without(everything, furniture)
    junk = frozenset(node.mem_id for node in furniture)
    prose = everything[body.mem_id].prose
    left_out = [(image, "navigation") for part in furniture if part.tag != "img" for image in part.css("img")]
    left_out += [(part, "the icon of a note") for part in furniture if part.tag == "img"]
    left = weights[body.mem_id]
    plain = not published and (left.text < SHORT or left.prose >= PROSE * len(body.html or ""))
    if not manual and not plain:
        found = judge(body, junk, html)
        if found.kept >= LEAST * found.prose:
            left_out += [(image, "outside the article") for image in found.images]
            parts = {"navigation": junk, "outside the article": found.outside}
            return Content(body, parts, _lost(found.kept, prose), tuple(left_out))
    root = find_root(tree, weights)
    inside = {image.mem_id for image in root.css("img")}
    left_out += [(image, "outside the text") for image in body.css("img") if image.mem_id not in inside]
    edges = _edges(root, junk, manual)
    kept = weights[root.mem_id].prose - sum(block.weight.prose for block in edges)
    parts = {"navigation": junk, "links and lines about the page": frozenset[int]().union(*(b.nodes for b in edges))}
    return Content(root, parts, _lost(kept, prose), tuple(left_out))


def _edges(root: Node, junk: Collection[int], manual: bool) -> list[Block]:
    """Navigation without a name: links at the beginning and the end of a page, and lines about the page itself.

    Links at the end stay where a generator of documentation, whose navigation is known, wrote the page, and below a
    heading.
    """
    found, _ = blocks(root, junk)
    first = next((k for k, block in enumerate(found) if not _is_links(block)), 0)
    last = next((k for k in range(len(found), 0, -1) if not (_is_links(found[k - 1]) or _is_colophon(found[k - 1]))), 0)
    tail = found[last:]
    before = found[last - 1] if last else None
    if before and (manual or before.tag in HEADINGS or before.text.rstrip().endswith(":")):  # a list of references
        tail = [block for block in tail if _is_colophon(block)]
    return [*found[:first], *tail] if last else []


def _is_links(block: Block) -> bool:
    return block.tag not in HEADINGS and block.weight.links >= LINKED * max(1, len(re.sub(r"[\W_]", "", block.text)))


def _is_colophon(block: Block) -> bool:
    return COLOPHON.match(block.text) is not None


def _lost(kept: int, everything: int) -> float:
    return 1 - kept / everything if everything else 0.0
