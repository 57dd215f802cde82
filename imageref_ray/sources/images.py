"""Pictures on disk → verified `Image` values (sha256 and size known, certain to decode), or a reason why not.

Nothing here raises for a bad picture: a problem is a value, because one broken file must not cost its event.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import struct
import threading
import warnings
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from imageref_ray.records import Document, Failure, Image, Sample

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Only these decoders are tried: others start helper programs or are of no use to a model."""

_WARNINGS = threading.Lock()


class Problem(NamedTuple):
    """Why a picture cannot be used: a short class of error and a sentence with the numbers."""

    error: str
    message: str


def verify(image: Image, max_bytes: int, max_pixels: int) -> Image | Problem:
    """`image` with sha256, width and height (pixels) filled in, or the problem. The size is checked before decoding."""
    path = Path(image.uri)
    try:
        size = path.stat().st_size
        if size == 0:
            return Problem("EmptyImage", f"{path} has 0 bytes")
        if size > max_bytes:
            return Problem("ImageTooLarge", f"{path} has {size} bytes, more than the {max_bytes} allowed")
        data = path.read_bytes()
    except FileNotFoundError:
        return Problem("MissingImage", f"{path} does not exist")
    except OSError as error:
        return Problem("UnreadableImage", f"{path} cannot be read: {error.strerror}")
    found = _measure(data, max_pixels)
    if isinstance(found, Problem):
        return Problem(found.error, f"{path} {found.message}")
    return dataclasses.replace(image, sha256=hashlib.sha256(data).hexdigest(), width=found[0], height=found[1])


def _measure(data: bytes, max_pixels: int) -> tuple[int, int] | Problem:
    """Width and height of the picture in `data`, decoded once to be sure of it."""
    try:
        with _WARNINGS, warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            return Problem("TooManyPixels", _pixels(width * height, max_pixels, f" ({width} x {height})"))
        picture.load()
    except PIL.Image.DecompressionBombError as error:
        number = re.search(r"(\d+) pixels", str(error))
        return Problem("TooManyPixels", _pixels(int(number[1]) if number else 0, max_pixels, ""))
    except PIL.UnidentifiedImageError:
        return Problem("NotAnImage", "is not a picture" + (" but text" if _is_text(data) else " of a known format"))
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        return Problem("BrokenImage", f"cannot be decoded: {error}")  # what PIL's decoders raise on damaged files
    return width, height


def _pixels(pixels: int, allowed: int, size: str) -> str:
    return f"has {pixels} pixels{size}, more than the {allowed} allowed"


def _is_text(data: bytes) -> bool:
    try:
        return data[:512].decode("utf-8").isprintable() or "\n" in data[:512].decode("utf-8")
    except UnicodeDecodeError:
        return False


def verify_sample(sample: Sample, max_bytes: int, max_pixels: int) -> tuple[Sample, tuple[Failure, ...]]:
    """`sample` with its good pictures verified and the bad ones left out, and one failure for each of those."""
    failures: list[Failure] = []

    def kept(document: Document) -> Document:
        good = []
        for image in document.images:
            found = verify(image, max_bytes, max_pixels)
            if isinstance(found, Problem):
                failures.append(Failure(sample.id, "verify", found.error, found.message, item=image.id))
            else:
                good.append(found)
        return dataclasses.replace(document, images=tuple(good))

    documents = tuple(kept(document) for document in sample.documents)
    return dataclasses.replace(sample, documents=documents), tuple(failures)


def open_rgb(uri: str) -> PIL.Image.Image:
    """The decoded picture in RGB (transparency on white); raises OSError where the file does not decode."""
    with PIL.Image.open(uri, formats=FORMATS) as picture:
        if "A" in picture.getbands() or "transparency" in picture.info:
            rgba = picture.convert("RGBA")
            return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return picture.convert("RGB")
