"""Pictures that are embedded in a PDF: their places on a page, and one of them by its address, as PNG.

    pdf:/data/manual.pdf#page=12&picture=2     page and picture count from 1, in the order of the file

PDFium is not thread-safe: whoever uses it holds `LOCK`.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import PIL.Image
import pypdfium2
import pypdfium2.raw

from imageref_ray.core.images import Problem

LOCK = threading.Lock()
SCHEME = "pdf"
ADDRESS = re.compile(r"pdf:(?P<path>[^#]+)#page=(?P<page>\d{1,6})&picture=(?P<number>\d{1,6})")
MOST_PIXELS = 200_000_000
"""Larger pictures are not decoded (`source.max_image_pixels` is applied to every picture afterwards)."""

DEPTH = 4
"""Nested forms that are searched for pictures."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture on a page: its number there (from 1), left, bottom, right and top in points, size in pixels, and a
    hash of its data."""

    number: int
    box: tuple[float, float, float, float]
    pixels: tuple[int, int]
    digest: str


def address(path: Path, page: int, number: int) -> str:
    """The address of a picture; page and number count from 1."""
    return f"{SCHEME}:{quote(str(path.absolute()))}#page={page}&picture={number}"


def file_of(uri: str) -> Path | None:
    """The PDF file that an address names, None if it is not an address of a picture."""
    found = ADDRESS.fullmatch(uri)
    return Path(unquote(found["path"])) if found else None


def placed(page: pypdfium2.PdfPage) -> list[Placed]:
    """The pictures on a page, in the order of the file. The caller holds `LOCK`."""
    found = []
    for number, image in enumerate(_images(page), 1):
        try:
            digest = hashlib.sha256(bytes(image.get_data(decode_simple=False))).hexdigest()
            found.append(Placed(number, image.get_bounds(), image.get_px_size(), digest))
        except (pypdfium2.PdfiumError, ValueError):
            continue  # an object without data
    return found


def extract(uri: str) -> bytes | Problem:
    """A picture as PNG, as the page shows it (turned, masked, on white)."""
    named = ADDRESS.fullmatch(uri)
    assert named
    path, page, number = Path(unquote(named["path"])), int(named["page"]), int(named["number"])
    with LOCK:
        try:
            with pypdfium2.PdfDocument(path) as document:
                image = list(_images(document[page - 1]))[number - 1]
                width, height = image.get_px_size()
                if width * height > MOST_PIXELS:
                    return Problem("TooManyPixels", f"has {width} x {height} px, more than {MOST_PIXELS} pixels")
                bitmap = image.get_bitmap(render=True, scale_to_original=True)
                return _png(bitmap.to_pil())
        except (pypdfium2.PdfiumError, OSError, ValueError, IndexError) as error:
            return Problem("BrokenImage", f"cannot be read from its PDF file: {error}")


def _images(page: pypdfium2.PdfPage) -> list[pypdfium2.PdfImage]:
    return list(page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=DEPTH))


def _png(pixels: PIL.Image.Image) -> bytes:
    opaque = PIL.Image.new("RGB", pixels.size, "white")
    opaque.paste(pixels, mask=pixels.getchannel("A") if pixels.mode in ("RGBA", "LA") else None)
    file = io.BytesIO()
    opaque.save(file, "PNG")
    return file.getvalue()
