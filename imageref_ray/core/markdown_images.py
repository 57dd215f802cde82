"""Images in an answer: where they are referred to, and the answer without them.

What stands in code is text and refers to nothing, but for a reference that is a whole line of a code block: that is an
image which its writer put there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from imageref_ray.core.markdown_blocks import REFERENCE, Block, blocks, lines

FOREIGN = re.compile(r"!\[(?:(?!!\[)[^\]\n]){0,2000}\]\((?!IMAGE_[0-9]+\))[^)\n]{0,2000}\)")
"""A Markdown image on one line whose target is not one of the sample's images."""

_TICKS = re.compile(r"`+")
_BARE = re.compile(r"[\s>]*(?:[-+*]|[0-9]{1,9}[.)])?\s*")
"""What is left of a list item or quote that held nothing but an image."""
_ESCAPES = re.compile(r"\\(?=[!-/:-@\[-`{-~]|$)")
_SWALLOWS = ("table", "quote", "html", "definition")
"""Blocks that a line right after them becomes part of."""
PASSES = 8
"""How often a text is read again after what was cut out of it made something else of the rest."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`IMAGE_k` in an answer: the index of its block in `lines(answer)` (from 0), its caption, and its after-content
    slot in the answer without images (0: not at a legal slot).

    `row` is its line in the answer as written, from 1. `inside` is the kind of the block (a table, code, …) in which it
    stands, and `near` the slot after that block, 0 where it has none.
    """

    line: int
    k: int
    caption: str
    slot: int
    row: int = field(default=0, compare=False)
    inside: str = field(default="", compare=False)
    near: int = field(default=0, compare=False)


def references(answer: str) -> list[Reference]:
    """Every reference in reading order. A legal one is an image line between two blocks, the first after one with
    content."""
    if "IMAGE_" not in answer:
        return []
    refs: list[Reference] = []
    slot, free = 0, False
    before: Block | None = None
    for i, block in enumerate(blocks(answer)):
        if block.kind == "image":
            swallowed = before.kind if free and before and not block.apart and before.kind in _SWALLOWS else ""
            legal, near = slot if free and not swallowed else 0, slot if swallowed else 0
            refs += [replace(ref, slot=legal, inside=swallowed, near=near) for ref in _found(i, block)]
            free = False
            continue
        text = cut(block)
        content = bool(text) and block.kind != "header"
        slot += content
        inside = "" if block.plain else block.kind
        refs += [replace(ref, inside=inside, near=slot if inside and content else 0) for ref in _found(i, block)]
        free, before = content, block
    return refs


def strip_images(answer: str) -> str:
    """The answer without its images: image lines are removed, references inside a line are cut out."""
    for _ in range(PASSES):
        parts = [replace(block, text=cut(block)) for block in blocks(answer) if block.kind != "image"]
        rest = "\n".join(lines(part for part in parts if part.text))
        if rest == answer:
            break
        answer = rest
    return answer


def cut(block: Block) -> str:
    """The block's text without the images in it; empty where it held nothing else."""
    if "IMAGE_" not in block.text and "![" not in block.text:  # the patterns are slow, and few blocks have references
        return block.text
    kept = (_cut_row(row, code, block.plain) for row, code in block.rows)
    return "\n".join(row for row in kept if row is not None)


def image_line(k: int, caption: str | None = None) -> str:
    """`IMAGE_k`, or `![caption](IMAGE_k)`; in a caption square brackets become round and line breaks spaces, and what
    would end it early for a Markdown reader (a backslash, a code span, a tag) is written so that it does not."""
    if caption is None:
        return f"IMAGE_{k}"
    plain = " ".join(caption.replace("[", "(").replace("]", ")").split())
    plain = _ESCAPES.sub("", plain.replace("`", "'").replace("<", "&lt;"))
    return f"![{plain}](IMAGE_{k})"


def masked(text: str) -> str:
    """The text with every code span in it blotted out; all other characters stay where they are."""
    runs = [match.span() for match in _TICKS.finditer(text)] if "`" in text else []
    ends: dict[int, list[int]] = {}
    for i in range(len(runs) - 1, -1, -1):
        ends.setdefault(runs[i][1] - runs[i][0], []).append(i)
    pieces, at, i = [], 0, 0
    while i < len(runs):
        begin, end = runs[i]
        begin += _escaped(text, begin)
        closers = ends.get(end - begin, [])
        while closers and closers[-1] <= i:
            closers.pop()
        if closers and begin < end:
            i = closers.pop()
            pieces += [text[at:begin], "\0" * (runs[i][1] - begin)]
            at = runs[i][1]
        i += 1
    return "".join([*pieces, text[at:]])


def _escaped(text: str, at: int) -> bool:
    begin = at
    while begin and text[begin - 1] == "\\":
        begin -= 1
    return (at - begin) % 2 == 1


def _found(line: int, block: Block) -> Iterator[Reference]:
    """The references of a block, slots still open."""
    for i, (row, code) in enumerate(block.rows):
        if "IMAGE_" in row:
            whole = [REFERENCE.fullmatch(row.strip())]
            for match in whole if code else REFERENCE.finditer(masked(row)):
                if match:
                    text = row.strip() if code else row
                    shown = text[match.start("caption") : match.end("caption")] if match["shown"] else ""
                    yield Reference(line, int(match["shown"] or match["bare"]), shown, 0, block.begin + i + 1)


def _cut_row(row: str, code: bool, plain: bool) -> str | None:
    """One line of a block without its images; None where nothing else is in it."""
    if code:
        return None if "IMAGE_" in row and REFERENCE.fullmatch(row.strip()) else row
    seen = _cut_out(REFERENCE, row)
    rest = _cut_out(FOREIGN, seen)
    if rest == row:
        return row
    indent = "" if plain else row[: len(row) - len(row.lstrip())]
    short = " ".join(rest.split())
    return None if not short or (not plain and _BARE.fullmatch(short)) else indent + short


def _cut_out(pattern: re.Pattern[str], row: str) -> str:
    """The line with a space for every match outside of code spans."""
    pieces, at = [], 0
    for match in pattern.finditer(masked(row)):
        pieces += [row[at : match.start()], " "]
        at = match.end()
    return "".join([*pieces, row[at:]])
