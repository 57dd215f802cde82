"""A page → the same with its pictures' captions and mentions: "Figure 3: …" beside a picture, and who refers to it."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict

from imageref_ray.core.records import MARKER
from imageref_ray.core.sentences import split
from imageref_ray.sources.pages.page import Page

LABEL = (
    r"(?:figures?|figs?\.|fig|abbildung|abb\.|figura|rysunek|rys\.|рисунок|рис\.|图|圖|図|그림)\s*"
    r"(?P<number>[A-Z]?\d+(?:[.\-–]\d+)*|[A-Z]\.\d+)(?![\w])"
)
CAPTION = re.compile(rf"[\s*_>]*{LABEL}[\s.:：。)|—–-]*(?P<text>.*)", re.IGNORECASE)
MENTION = re.compile(rf"(?<![A-Za-zÀ-ɏЀ-ӿ]){LABEL}", re.IGNORECASE)

LONGEST_CAPTION = 600
"""Characters; a longer line is text that begins with a reference."""

MOST_MENTIONS, LONGEST_MENTION = 3, 400
"""Sentences that are kept of those that refer to one picture, and characters of one."""


def number_of(text: str) -> str:
    """The number at the beginning of a figure's caption, "" if it has none."""
    found = CAPTION.match(text) if len(text) <= LONGEST_CAPTION else None
    return found["number"].replace("–", "-") if found else ""


def with_words(page: Page) -> Page:
    """The page with the caption of every picture that has a numbered one beside it, and the sentences about it."""
    lines = page.text.split("\n")
    captions = _captions(lines)
    pictures = [
        dataclasses.replace(picture, caption=picture.caption or captions.get(k, ""))
        for k, picture in enumerate(page.images)
    ]
    numbers = [number_of(picture.caption) or number_of(picture.title) or number_of(picture.alt) for picture in pictures]
    mentions = _mentions(lines) if any(numbers) else {}
    told = [
        dataclasses.replace(picture, mention=" ".join(mentions.get(number, ())))
        for picture, number in zip(pictures, numbers, strict=True)
    ]
    return dataclasses.replace(page, images=tuple(told))


def is_caption(line: str) -> bool:
    """Whether a line is the numbered caption of a figure and not a sentence that refers to one."""
    found = CAPTION.match(line) if len(line) <= LONGEST_CAPTION and not line.startswith("#") else None
    # "Figure 3 shows the menu." refers to a figure; "Figure 3. Menu", "Figure 3: menu" and "Figure 3 The menu" do not
    return found is not None and (line[found.end("number") :][:1] not in (" ", "\t") or not found["text"][:1].islower())


def _captions(lines: list[str]) -> dict[int, str]:
    """Number of a picture → the caption in the line below it (and the pictures beside it), else above it."""
    captions: dict[int, str] = {}
    used: set[int] = set()
    for step in (1, -1):
        for at, line in enumerate(lines):
            pictures = [int(k) for k in MARKER.findall(line)]
            near = at + step
            while 0 <= near < len(lines) and not MARKER.sub("", lines[near]).strip():
                near += step  # pictures that share a caption
            if not pictures or not 0 <= near < len(lines) or (near in used and step < 0):
                continue
            if is_caption(lines[near]):
                used |= {near}
                for k in pictures:
                    captions.setdefault(k, " ".join(MARKER.sub("", lines[near]).split()))
    return captions


def _mentions(lines: list[str]) -> dict[str, list[str]]:
    """Number of a figure → the first sentences that refer to it, outside captions, headings and code."""
    found: dict[str, list[str]] = defaultdict(list)
    code = False
    for line in lines:
        code ^= line.lstrip().startswith("```")
        if code or line.startswith("#") or is_caption(line) or not MENTION.search(line):
            continue
        for sentence in split(MARKER.sub("", line)):
            for number in dict.fromkeys(match["number"].replace("–", "-") for match in MENTION.finditer(sentence)):
                if len(found[number]) < MOST_MENTIONS and len(sentence) <= LONGEST_MENTION:
                    found[number].append(" ".join(sentence.split()))
    return found
