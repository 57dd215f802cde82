"""Small PDF files for tests, made with PDFium itself: lines of text in two sizes, pictures."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Sequence
from dataclasses import dataclass

import PIL.Image
import pypdfium2
import pypdfium2.raw as raw


@dataclass(frozen=True)
class Word:
    """A text that begins at a place, in points from the page's lower left corner."""

    text: str
    x: float
    y: float
    size: float = 10
    font: str = "Helvetica"


@dataclass(frozen=True)
class Shown:
    """A picture of one colour in a box: left, bottom, width, height."""

    colour: str
    box: tuple[float, float, float, float]


def pdf(pages: Sequence[Sequence[Word | Shown]]) -> bytes:
    """A file with these pages, 400 x 600 points each."""
    document = pypdfium2.PdfDocument.new()
    for items in pages:
        page = document.new_page(400, 600)
        for item in items:
            page.insert_obj(_text(document, item) if isinstance(item, Word) else _image(document, item))
        page.gen_content()
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _text(document: pypdfium2.PdfDocument, word: Word) -> pypdfium2.PdfObject:
    text = raw.FPDFPageObj_NewTextObj(document, word.font.encode(), word.size)
    encoded = word.text.encode("utf-16-le") + b"\0\0"
    raw.FPDFText_SetText(text, ctypes.cast(ctypes.create_string_buffer(encoded), ctypes.POINTER(ctypes.c_ushort)))
    placed = pypdfium2.PdfObject(text, pdf=document)
    placed.set_matrix(pypdfium2.PdfMatrix().translate(word.x, word.y))
    return placed


def _image(document: pypdfium2.PdfDocument, shown: Shown) -> pypdfium2.PdfImage:
    left, bottom, width, height = shown.box
    image = pypdfium2.PdfImage.new(document)
    image.set_bitmap(pypdfium2.PdfBitmap.from_pil(PIL.Image.new("RGB", (20, 10), shown.colour)))
    image.set_matrix(pypdfium2.PdfMatrix().scale(width, height).translate(left, bottom))
    return image
