"""An article → the blocks of its page that are none of it, as trafilatura judges, and the pictures that stand with
them.

trafilatura gives text; which of our blocks that is, is found by their words. Pictures follow the text around them: it
keeps few of them itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from selectolax.lexbor import LexborNode as Node

from imageref_ray.sources.pages.tree import Block, blocks, characters, tokens

RUN = 4
"""Words in a run: a block is content where at least half of its runs are in trafilatura's text."""

CAPTIONED = 400
"""Characters; a longer text beside a picture is not its caption."""


class Judgement(NamedTuple):
    """`mem_id`s of the text nodes and images outside the article, these images; characters of prose (text outside
    links) kept, and of all."""

    outside: frozenset[int]
    images: tuple[Node, ...]
    kept: int
    prose: int


def judge(body: Node, junk: Collection[int], html: str) -> Judgement:
    """What of a page, apart from `junk`, is not its article."""
    found, images = blocks(body, junk)
    captions = {node.mem_id for node in body.css("figcaption, [class*=caption]") if _is_caption(node)}
    is_caption = [not captions.isdisjoint(block.path) for block in found]
    judged = _judged(found, extract_text(html))
    kept = [keep and not caption for keep, caption in zip(judged, is_caption, strict=True)]
    pictures = _pictures(found, kept, is_caption, images)
    with_pictures = {node for path in pictures.values() for node in path[-4:]}
    for k, block in enumerate(found):
        if is_caption[k]:
            kept[k] = not with_pictures.isdisjoint(block.path[-4:])
    outside = {node for block, keep in zip(found, kept, strict=True) if not keep for node in block.nodes}
    others = tuple(node for node, _ in images if node.mem_id not in pictures)
    outside |= {node.mem_id for node in others}
    prose = [block.weight.prose for block in found]
    return Judgement(
        frozenset(outside), others, sum(p for p, keep in zip(prose, kept, strict=True) if keep), sum(prose)
    )


def extract_text(html: str) -> str:
    """The text of a page's article, by trafilatura; empty where it finds none."""
    import trafilatura

    found = trafilatura.bare_extraction(html, fast=True, include_comments=False, with_metadata=False)
    return (found.text or "") if found is not None and not isinstance(found, dict) else ""


def _is_caption(node: Node) -> bool:
    named = node.tag == "figcaption" or any(re.search(r"(^|[-_])caption($|[-_])", token) for token in tokens(node))
    return named and characters(node.text()) <= CAPTIONED


def _judged(found: Sequence[Block], text: str) -> list[bool]:
    words = re.findall(r"\w+", text)
    runs = Counter(_runs(words))
    lines = Counter(tuple(re.findall(r"\w+", part)) for part in re.split(r"[\n|]", text))
    kept = []
    for block in found:
        own = re.findall(r"\w+", block.text)
        wanted = Counter(_runs(own) or [tuple(own)])
        given = runs if len(own) >= RUN else lines
        common = wanted & given
        kept.append(bool(own) and 2 * common.total() >= wanted.total())
        if kept[-1]:
            given.subtract(common)
    return kept


def _pictures(
    found: Sequence[Block],
    kept: Sequence[bool],
    is_caption: Sequence[bool],
    images: Sequence[tuple[Node, tuple[int, ...]]],
) -> dict[int, tuple[int, ...]]:
    """`mem_id` → path of the pictures of the article: the nearest element around each with text has text of the
    article, or no more than a caption and is inside the article."""
    inside: Counter[int] = Counter()
    outside: Counter[int] = Counter()
    for block, keep, caption in zip(found, kept, is_caption, strict=True):
        if not caption:
            for node in block.path:
                (inside if keep else outside)[node] += block.weight.text
    article = _common([block.path for block, keep in zip(found, kept, strict=True) if keep])
    pictures = {}
    for image, path in images:
        for node in reversed(path):
            if inside[node]:
                pictures[image.mem_id] = path
                break
            if outside[node]:
                break
    return {k: path for k, path in pictures.items() if article in path}


def _common(paths: Sequence[tuple[int, ...]]) -> int:
    """The innermost element around all of some paths."""
    if not paths:
        return 0
    low, high = min(paths), max(paths)
    shared = [a for a, b in zip(low, high, strict=False) if a == b]
    return shared[-1] if shared else 0


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)]
