"""The words on a PDF's page → lines, and lines → paragraphs, list items and code, in reading order.

Born-digital files write their text in reading order, column after column: that order is kept, and where words stand
says which of them share a line and which lines a paragraph. Sizes and places are in points.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw

LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "", "\0": ""}
)
HYPHEN = re.compile(r"(?<=[^\W\d_])(?:[\u0002\ufffe]|-)\Z")
BULLET = re.compile(r"(?:[•▪◦‣●○■–—*·\ue000-\uf8ff\u0080-\u009f\u0001-\u0008]|o)\s+(?=\S)")
NUMBERED = re.compile(r"(?P<number>\d{1,3})[.)]\s+(?=\S)")
MONOSPACED = re.compile(r"mono|courier|consol|typewriter|menlo|inconsolata|cmtt|sltt|lmtt|nimbusmon|source ?code", re.I)
LEADERS = re.compile(r"(?:\.\s?){5,}\s*[\dxivl]*\s*\Z")
"""The end of a line in a table of contents."""


@dataclass(slots=True)
class Line:
    """A line of a page: its text, its box, the height of its letters' font, and whether all have one width."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    size: float
    code: bool = False

    @property
    def height(self) -> float:
        return self.top - self.bottom


def lines(page: pypdfium2.PdfPage) -> list[Line]:
    """The lines of a page in the order of the file, without those of a table of contents."""
    words = page.get_textpage()
    found: list[Line] = []
    for number in range(words.count_rects()):
        left, bottom, right, top = words.get_rect(number)
        text = words.get_text_bounded(left, bottom, right, top).replace("\r\n", " ").translate(LIGATURES)
        if not text.strip():
            continue
        run = Line(text, left, bottom, right, top, *_font(words, left, bottom, top))
        if found and _continues(found[-1], run):
            _append(found[-1], run)
        else:
            found.append(run)
    for line in found:
        line.text = line.text.rstrip() if line.code else " ".join(line.text.split())
    return [line for line in found if line.text.strip() and not LEADERS.search(line.text)]


def _continues(line: Line, run: Line) -> bool:
    shared = min(line.top, run.top) - max(line.bottom, run.bottom)
    return shared > 0.5 * min(line.height, run.height) and run.left > line.right - 0.3 * line.height


def _append(line: Line, run: Line) -> None:
    gap = run.left - line.right > 0.15 * max(line.height, run.height)
    space = " " if gap and not line.text.endswith(" ") and not run.text.startswith(" ") else ""
    line.text += space + run.text
    line.left, line.right = min(line.left, run.left), max(line.right, run.right)
    line.bottom, line.top = min(line.bottom, run.bottom), max(line.top, run.top)
    line.size = max(line.size, run.size)
    line.code = line.code and run.code


def _font(words: pypdfium2.PdfTextPage, left: float, bottom: float, top: float) -> tuple[float, bool]:
    """The height of the font of the word that begins at a place, and whether all its letters have one width."""
    raw = pypdfium2.raw
    index = raw.FPDFText_GetCharIndexAtPos(words, left + 1, (bottom + top) / 2, 3, 3)
    if index < 0:
        return top - bottom, False
    name, flags, box = ctypes.create_string_buffer(128), ctypes.c_int(), raw.FS_RECTF()
    raw.FPDFText_GetFontInfo(words, index, name, 128, ctypes.byref(flags))
    raw.FPDFText_GetLooseCharBox(words, index, box)
    monospaced = bool(flags.value & 1) or MONOSPACED.search(name.value.decode("utf-8", "replace")) is not None
    return max(box.top - box.bottom, top - bottom), monospaced


def blocks(page: Sequence[Line | int | str]) -> Iterator[str]:
    """The lines of a page as text: paragraphs, `- item`, `1. item` and code between fences. Numbers are pictures and
    become markers, texts (headings) stay as they are."""
    paragraph: list[Line] = []
    for item in page:
        if isinstance(item, Line) and paragraph and _same_paragraph(paragraph[-1], item):
            paragraph.append(item)
            continue
        if paragraph:
            yield _text(paragraph)
        paragraph = [item] if isinstance(item, Line) else []
        if not isinstance(item, Line):
            yield f"[Image {item}]" if isinstance(item, int) else item
    if paragraph:
        yield _text(paragraph)


def _same_paragraph(before: Line, line: Line) -> bool:
    if line.code or before.code:
        return line.code and before.code and before.bottom > line.bottom
    size = min(before.size, line.size)
    gap = before.bottom - line.top
    begins = BULLET.match(line.text) or NUMBERED.match(line.text)
    return -0.5 * size < gap < 0.75 * size and not begins and max(before.size, line.size) < 1.15 * size


def _text(paragraph: Sequence[Line]) -> str:
    if paragraph[0].code:
        margin = min(line.left for line in paragraph)
        width = max(1.0, max((line.right - line.left) / max(len(line.text), 1) for line in paragraph))
        return "\n".join(["```", *(" " * round((line.left - margin) / width) + line.text for line in paragraph), "```"])
    text = ""
    for line in paragraph:
        if HYPHEN.search(text) and line.text[:1].islower():
            text = HYPHEN.sub("", text) + line.text
        else:
            text = f"{text} {line.text}" if text else line.text
    text = re.sub("[\u0002\ufffe]", "-", text)
    if numbered := NUMBERED.match(text):
        return f"{numbered['number']}. {text[numbered.end() :]}"
    return BULLET.sub("- ", text, count=1) if BULLET.match(text) else text.replace("\n", " ")
