"""A born-digital PDF → its title, text and embedded pictures; what a light reader cannot see is said.

    page ─pdf_layout.py─▶ lines ─┐ running heads out
         ─pdf_pictures.py─▶ pictures, each after the text above it ─▶ paragraphs, with the outline's headings

Headings are those of the outline; where a file has none, short lines in larger letters. Pages that are scans have no
text and figures that are drawn (not embedded) no picture: converters such as Docling and MinerU read both.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pypdfium2

from imageref_ray.core.images import Problem
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.pages import pdf_layout, pdf_pictures
from imageref_ray.sources.pages.figures import is_caption, number_of
from imageref_ray.sources.pages.page import Page, Picture, one_line
from imageref_ray.sources.pages.pdf_layout import Line
from imageref_ray.sources.pages.pdf_pictures import LOCK, Placed

BAND = 0.1
"""Share of a page's height, at its top and bottom, where running heads and page numbers stand."""

REPEATED = 3
"""Pages with the same line in the band, or the same picture, that make it furniture."""

SMALLEST = 12.0
"""Points; a picture with a shorter side is a bullet or a rule."""

WHOLE_PAGE = 0.8
"""Share of a page that a picture of the page itself (a scan) covers."""

LARGER = 1.2
"""Times the usual size of letters: a heading, where there is no outline."""

POOR_TITLE = re.compile(r"(?:microsoft word|untitled|\S+\.(?:docx?|tex|dvi|indd|fm|pdf|odt)\b)", re.IGNORECASE)
NUMBERING = re.compile(r"^(?:chapter|appendix|section|part)?\s*(?:[A-Z]|\d+)?(?:\.\d+)*\.?\s+", re.IGNORECASE)


class _PdfPage(NamedTuple):
    """What stands on a page."""

    lines: list[Line]
    pictures: list[Placed]
    width: float
    height: float


def parse_pdf(data: bytes, path: Path) -> Page:
    """The text and pictures of a PDF file; pictures are named by address. Raises Unusable."""
    with LOCK:
        try:
            with pypdfium2.PdfDocument(data) as document:
                pages = [_read(document[number]) for number in range(len(document))]
                outline, title = _outline(document), document.get_metadata_value("Title")
        except (pypdfium2.PdfiumError, ValueError, OSError) as error:
            if "password" in str(error).lower():
                raise Unusable("EncryptedDocument", "is encrypted; save it without a password") from None
            raise Unusable("BrokenDocument", f"is not a readable PDF file: {error}") from None
    if not any(page.lines for page in pages):
        raise Unusable("NoTextLayer", "has no text, as scans have none; add a text layer (e.g. ocrmypdf) or convert it")
    return _page(pages, outline, title, path)


def _read(page: pypdfium2.PdfPage) -> _PdfPage:
    width, height = page.get_size()
    return _PdfPage(pdf_layout.lines(page), pdf_pictures.placed(page), width, height)


def _outline(document: pypdfium2.PdfDocument) -> dict[int, dict[str, int]]:
    """Page → title of a section that begins there → its level (2 is a chapter's: the file's title is 1)."""
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for entry in document.get_toc():
        target = entry.get_dest()
        if target is not None and (index := target.get_index()) is not None:
            found[index].setdefault(_plain(entry.get_title()), min(entry.level + 2, 6))
    return found


def _page(pages: list[_PdfPage], outline: Mapping[int, Mapping[str, int]], title: str, path: Path) -> Page:
    heads = _running_heads(pages)
    usual = Counter(picture.digest for page in pages for picture in {one.digest: one for one in page.pictures}.values())
    repeated = {digest for digest, count in usual.items() if count >= max(REPEATED, 0.1 * len(pages))}
    size = median(line.size for page in pages for line in page.lines)
    numbers: dict[str, int] = {}
    addresses: list[str] = []
    text: list[str] = []
    drawn: list[str] = []
    for index, page in enumerate(pages):
        kept = [line for line in page.lines if not _in_band(line, page) or _key(line) not in heads]
        pictures = [one for one in page.pictures if one.digest not in repeated and _is_figure(one, page)]
        if not pictures:
            drawn += [f"Figure {number_of(line.text)}" for line in kept if is_caption(line.text)]
        placed: list[tuple[int, int]] = []
        for picture in pictures:
            if picture.digest in numbers:
                continue
            numbers[picture.digest] = len(addresses)
            placed.append((_after(picture, kept), len(addresses)))
            addresses.append(pdf_pictures.address(path, index + 1, picture.number))
        headed = _with_headings(kept, outline.get(index, {}), 0 if outline else size)
        text += pdf_layout.blocks(_merged(headed, placed))
    problems = _problems(pages, len(repeated), drawn)
    name = one_line(title) if title.strip() and not POOR_TITLE.match(title.strip()) else _first_title(pages)
    return Page(name, "\n".join(text), tuple(Picture((one,)) for one in addresses), problems=problems)


def _problems(pages: Sequence[_PdfPage], repeated: int, drawn: Sequence[str]) -> tuple[Problem, ...]:
    scans = [number for number, page in enumerate(pages, 1) if not page.lines and page.pictures]
    found = []
    if scans:
        listed = ", ".join(map(str, scans[:10])) + (", …" if len(scans) > 10 else "")
        found.append(Problem("NoTextLayer", f"{len(scans)} pages are scans without text ({listed})"))
    if repeated:
        found.append(Problem("RepeatedPicture", f"{repeated} pictures stand on many pages and are left out"))
    if drawn:
        listed = ", ".join(drawn[:5]) + (", …" if len(drawn) > 5 else "")
        message = (
            f"{len(drawn)} figures are drawn, not embedded as pictures, and are not read ({listed}); convert the file"
        )
        found.append(Problem("DrawnFigures", message))
    return tuple(found)


def _is_figure(picture: Placed, page: _PdfPage) -> bool:
    """Whether a picture is neither a bullet or rule nor the scan of the page itself."""
    left, bottom, right, top = picture.box
    area = (min(right, page.width) - max(left, 0)) * (min(top, page.height) - max(bottom, 0))
    return min(right - left, top - bottom) >= SMALLEST and area < WHOLE_PAGE * page.width * page.height


def _running_heads(pages: Sequence[_PdfPage]) -> set[str]:
    counts = Counter(key for page in pages for key in {_key(line) for line in page.lines if _in_band(line, page)})
    return {key for key, count in counts.items() if count >= REPEATED or re.fullmatch("[#ivxl –-]+", key)}


def _in_band(line: Line, page: _PdfPage) -> bool:
    return line.bottom > (1 - BAND) * page.height or line.top < BAND * page.height


def _key(line: Line) -> str:
    """A running head without what changes from page to page."""
    return re.sub(r"\d+", "#", line.text.casefold())


def _after(picture: Placed, lines: Sequence[Line]) -> int:
    """Before which line of the page a picture belongs: after the last one above it, in its column."""
    left, bottom, right, top = picture.box
    column = [(at, line) for at, line in enumerate(lines) if line.left < right and line.right > left]
    above = [at for at, line in column if (line.bottom + line.top) / 2 > top]
    below = [at for at, line in column if (line.bottom + line.top) / 2 < bottom]
    return max(above) + 1 if above else min(below) if below else len(lines)


def _merged(lines: Sequence[Line | str], placed: Sequence[tuple[int, int]]) -> list[Line | int | str]:
    merged: list[Line | int | str] = []
    for at in range(len(lines) + 1):
        merged += [number for place, number in placed if place == at]
        merged += lines[at : at + 1]
    return merged


def _with_headings(lines: Sequence[Line], outline: Mapping[str, int], usual: float) -> list[Line | str]:
    """The lines, with `## heading` for those that the outline names (or, with a usual height, that are larger)."""
    done: list[Line | str] = []
    joined = False
    for at, line in enumerate(lines):
        if joined:
            done.append("")  # the second line of a heading; places of pictures count lines
            joined = False
            continue
        following = lines[at + 1].text if at + 1 < len(lines) else ""
        level = outline.get(_plain(line.text), 0)
        if not level and following and (level := outline.get(_plain(f"{line.text} {following}"), 0)):
            joined = True
        larger = usual and LARGER * usual < line.size and len(line.text) < 100 and not line.code
        if not level and larger and not line.text.endswith((".", ",")) and re.search(r"[^\W\d]{2}", line.text):
            level = 2 if line.size > 1.5 * usual else 3
        text = f"{line.text} {following}" if joined else line.text
        done.append(f"{'#' * level} {text}" if level else line)
    return done


def _plain(title: str) -> str:
    """A heading as headings are compared: without its number, spaces and letter case."""
    return "".join(NUMBERING.sub("", f"{title} ").casefold().split()) or "".join(title.casefold().split())


def _first_title(pages: Sequence[_PdfPage]) -> str:
    """The largest line of the first page with text."""
    first = next((page.lines for page in pages if page.lines), [])
    return one_line(max(first, key=lambda line: line.size).text) if first else ""
