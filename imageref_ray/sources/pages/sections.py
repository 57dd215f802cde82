"""A long page → its sections: cut at headings, then between paragraphs, so that each has few tokens and pictures.

    page ─fits─▶ itself
         └─────▶ its parts below the highest headings, small neighbours together, each part cut again

Never cut are code, tables and lists, and no picture leaves the text before it or the caption after it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from imageref_ray.core import sentences
from imageref_ray.core.records import MARKER
from imageref_ray.core.tokens import estimate
from imageref_ray.sources.pages.figures import is_caption

HEADING = re.compile(r"(#{1,6}) +(.*)")
ITEM = re.compile(r"[ \t]+\S|[-*+] |\d{1,9}\. ")
BETWEEN = " › "
"""Between the headings of a path."""

NAMES = 3
"""Headings that name a section of several neighbours."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most estimated tokens (`core.tokens.estimate`) of a section's text, and most pictures; None: any number."""

    tokens: int | None
    pictures: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: the headings above and at its begin, and its text. `fits`: it is within the limits."""

    path: tuple[str, ...]
    text: str
    fits: bool = True


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that stay together: a heading (with its level), a paragraph, a list, a table, code."""

    text: str
    level: int = 0


def split(title: str, text: str, limits: Limits) -> list[Section]:
    """The sections of a page in order; one with the page's own title and text if that is within the limits."""
    if _fits([_Block(text)], limits):
        return [Section((title,), text)]
    done: list[Section] = []
    open_parts: list[tuple[tuple[str, ...], Sequence[_Block]]] = [((title,), _blocks(text))]
    while open_parts:  # a stack instead of recursion: pages may nest deeply
        path, blocks = open_parts.pop()
        if _fits(blocks, limits):
            done.append(_section(path, blocks, True))
            continue
        parts = _at_headings(path, blocks, limits) or _at_paragraphs(path, blocks, limits)
        if len(parts) == 1:
            done.append(_section(path, blocks, False))
        else:
            open_parts += reversed(parts)
    return [section for section in done if section.text]


def _section(path: tuple[str, ...], blocks: Sequence[_Block], fits: bool) -> Section:
    """A section, without a first heading that is in its path."""
    heading = HEADING.match(blocks[0].text) if blocks and blocks[0].level else None
    kept = blocks[1:] if heading and heading[2] in path else blocks
    return Section(path, "\n".join(block.text for block in kept), fits)


def _at_headings(
    path: tuple[str, ...], blocks: Sequence[_Block], limits: Limits
) -> list[tuple[tuple[str, ...], Sequence[_Block]]]:
    """The parts below the highest headings (after a first one), neighbours together while they fit; [] without any."""
    inner = [block.level for block in blocks[1:] if block.level]
    if not inner:
        return []
    starts = [at for at, block in enumerate(blocks) if at and block.level == min(inner)]
    cuts = [0, *starts, len(blocks)]
    merged: list[list[Sequence[_Block]]] = []
    for begin, end in itertools.pairwise(cuts):
        own = blocks[begin:end]
        alike = bool(merged) and merged[-1][0][0].level <= own[0].level  # less: what stands before the first heading
        if alike and _fits([*_joined(merged[-1]), *own], limits):
            merged[-1].append(own)
        else:
            merged.append([own])
    return [(_path(path, group), _joined(group)) for group in merged]


def _joined(group: Sequence[Sequence[_Block]]) -> list[_Block]:
    return [block for part in group for block in part]


def _path(path: tuple[str, ...], group: Sequence[Sequence[_Block]]) -> tuple[str, ...]:
    """The path of neighbouring parts: that above them and their own headings."""
    names = [HEADING.sub(r"\2", part[0].text) for part in group if part[0].level]
    names = names[1:] if names[:1] == [path[-1]] else names
    if not names:
        return path
    return (*path, ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else ""))


def _at_paragraphs(
    path: tuple[str, ...], blocks: Sequence[_Block], limits: Limits
) -> list[tuple[tuple[str, ...], Sequence[_Block]]]:
    """As many blocks together as fit; a heading stays with the block below it. One paragraph is cut at sentences."""
    if len(blocks) == 1 and "\n" not in blocks[0].text and _kind(blocks[0].text) == "paragraph":
        blocks = [_Block(sentence.strip()) for sentence in sentences.split(blocks[0].text)]
    parts: list[list[_Block]] = []
    for block in blocks:
        after_heading = bool(parts) and all(before.level for before in parts[-1])
        if parts and (after_heading or _fits([*parts[-1], block], limits)):
            parts[-1].append(block)
        else:
            parts.append([block])
    return [(path, part) for part in parts]


def _fits(blocks: Sequence[_Block], limits: Limits) -> bool:
    text = "\n".join(block.text for block in blocks)
    short = limits.tokens is None or estimate(text) <= limits.tokens
    return short and (limits.pictures is None or len(set(MARKER.findall(text))) <= limits.pictures)


def _blocks(text: str) -> list[_Block]:
    """The blocks of a page's text (see page_text.py)."""
    blocks: list[_Block] = []
    lines: list[str] = []
    kind = fence = ""
    for line in text.split("\n"):
        own = "code" if fence else _kind(line)
        captioned = bool(lines) and _kind(lines[-1]) == "picture" and is_caption(line)
        if not lines or not (captioned or _stays(kind, own)):
            if lines:
                blocks.append(_block(lines))
            lines = []
        lines.append(line)
        if own == "code":
            marks = re.match(r"\s*(`{3,})", line)
            if not fence:
                fence = marks[1] if marks else ""
            elif marks and len(marks[1]) >= len(fence) and line.strip() == marks[1]:
                fence, own = "", "list" if line.startswith(" ") else "end of code"
        kind = own if own != "picture" or kind not in ("list", "table") else kind
    return [*blocks, _block(lines)] if lines else blocks


def _kind(line: str) -> str:
    if line.lstrip().startswith("```"):
        return "code"
    if not MARKER.sub("", line).strip():
        return "picture"
    if HEADING.match(line):
        return "heading"
    return "list" if ITEM.match(line) else "table" if " | " in line else "paragraph"


def _stays(before: str, own: str) -> bool:
    """Whether a line stays in the block before it."""
    if own == "picture" or before == "picture":
        return own == "picture" and before != "heading"
    return (before == own != "paragraph" and own != "heading") or {before, own} == {"list", "code"}


def _block(lines: Sequence[str]) -> _Block:
    heading = HEADING.match(lines[0])
    return _Block("\n".join(lines), len(heading[1]) if heading and len(lines) == 1 else 0)
