"""Image files → verified `Image` values (sha256 and size known, decodable), or a `Problem` with the reason.

Nothing here raises for a bad image: a problem is a value, because one broken file must not cost its sample.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin

from imageref_ray.core.records import Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Only these decoders are tried: others start helper programs or are useless to a model."""

EXTENSIONS = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "DIB": ".bmp",
    "TIFF": ".tif",
}

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    OverflowError,
)
"""Exceptions of PIL's decoders on damaged files."""

IN_MEMORY = "data:;base64,"
"""How the uri of an image begins whose content is the rest of it, as an endpoint receives them."""

PIL.PngImagePlugin.MAX_TEXT_CHUNK = PIL.PngImagePlugin.MAX_TEXT_MEMORY
"""One text of a PNG (a prompt, a workflow, XMP) may be as long as Pillow lets all of them be together (64 MiB): beside
a long text it would refuse the picture."""

SWAPPED_SIDES = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

_WARNINGS = threading.Lock()


class Problem(NamedTuple):
    """Why an image cannot be used: an error class and a message with the numbers.

    `retry_s` is how many seconds to wait before another try may succeed; None: no retry will.
    """

    error: str
    message: str
    retry_s: float | None = None


class DecodedImage(NamedTuple):
    """A verified image: `image` with sha256 and size, whether it is animated, and its pixels (RGB, upright)."""

    image: Image
    animated: bool
    pil_image: PIL.Image.Image


def verify(image: Image, max_bytes: int, max_pixels: int) -> Image | Problem:
    """`image` with sha256, width and height (pixels) filled in, or the problem. The size is checked before decoding."""
    result = decode(image, max_bytes, max_pixels)
    return result if isinstance(result, Problem) else result.image


def decode(image: Image, max_bytes: int, max_pixels: int, thumbnail: int = 0) -> DecodedImage | Problem:
    """As `verify`, with the decoded pixels.

    With `thumbnail`, a larger JPEG is decoded, much faster, at a half, a quarter or an eighth of its size, but not
    below `thumbnail` pixels a side; width and height are those of the pixels then.
    """
    data = _read(image.uri, max_bytes)
    if isinstance(data, Problem):
        return data
    result = _decode(data, max_pixels, thumbnail)
    if isinstance(result, Problem):
        return Problem(result.error, f"{shown(image.uri)} {result.message}")
    pil_image, animated = result
    width, height = pil_image.size
    sha256 = hashlib.sha256(data).hexdigest()
    return DecodedImage(dataclasses.replace(image, sha256=sha256, width=width, height=height), animated, pil_image)


def in_memory(data: bytes) -> str:
    """The uri of an image that is no file."""
    return IN_MEMORY + base64.b64encode(data).decode("ascii")


def source(uri: str) -> Path | io.BytesIO:
    """What a uri stands for: a path, or the content itself."""
    return io.BytesIO(base64.b64decode(uri[len(IN_MEMORY) :])) if uri.startswith(IN_MEMORY) else Path(uri)


def data_url(uri: str) -> str:
    """An image that is no file as a page shows it, with its type; empty for any other."""
    if not uri.startswith(IN_MEMORY):
        return ""
    extension = file_extension(base64.b64decode(uri[len(IN_MEMORY) :]))
    kind = {".jpg": "jpeg", ".tif": "tiff"}.get(str(extension), str(extension).removeprefix("."))
    return f"data:image/{kind};base64,{uri[len(IN_MEMORY) :]}"


def shown(uri: str) -> str:
    """A uri as a message shows it: an image in memory is not written out."""
    return "the image" if uri.startswith(IN_MEMORY) else str(Path(uri))


def _read(uri: str, max_bytes: int) -> bytes | Problem:
    """The content behind a uri, within its limit."""
    place, name = source(uri), shown(uri)
    try:
        size = place.getbuffer().nbytes if isinstance(place, io.BytesIO) else place.stat().st_size
        if size == 0:
            return Problem("EmptyImage", f"{name} has 0 bytes")
        if size > max_bytes:
            return Problem("ImageTooLarge", f"{name} has {size} bytes, more than the {max_bytes} allowed")
        return place.getvalue() if isinstance(place, io.BytesIO) else place.read_bytes()
    except FileNotFoundError:
        return Problem("MissingImage", f"{name} does not exist")
    except OSError as error:
        return Problem("UnreadableImage", f"{name} cannot be read: {error.strerror}")
    except ValueError as error:
        return Problem("MissingImage", f"{uri!r} is not a path: {error}")  # a zero byte in it


def file_extension(data: bytes) -> str | Problem:
    """The file extension of the content's format (`.jpg`, …), whatever the file's name says; or why there is none."""
    try:
        with _no_size_warning(), PIL.Image.open(io.BytesIO(data), formats=FORMATS) as pil_image:
            return EXTENSIONS[pil_image.format or ""]
    except (PIL.Image.DecompressionBombError, *DECODE_ERRORS) as error:
        return _problem(error, data, 2 * (PIL.Image.MAX_IMAGE_PIXELS or 0))


def _decode(data: bytes, max_pixels: int, thumbnail: int = 0) -> tuple[PIL.Image.Image, bool] | Problem:
    """The first frame of the image in `data` (RGB, upright), and whether it has more frames."""
    try:
        with _no_size_warning():
            pil_image = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = pil_image.size
        if width * height > max_pixels:
            return Problem("TooManyPixels", _too_many_pixels(width * height, max_pixels, f" ({width} x {height})"))
        if thumbnail:
            pil_image.draft("RGB", (thumbnail, thumbnail))
        animated = pil_image.format != "MPO" and bool(getattr(pil_image, "is_animated", False))
        return _rgb(pil_image), animated
    except (PIL.Image.DecompressionBombError, *DECODE_ERRORS) as error:
        return _problem(error, data, max_pixels)


def _problem(error: BaseException, data: bytes, max_pixels: int) -> Problem:
    """A PIL exception as a Problem."""
    if isinstance(error, PIL.Image.DecompressionBombError):
        number = re.search(r"(\d+) pixels", str(error))
        return Problem("TooManyPixels", _too_many_pixels(int(number[1]) if number else 0, max_pixels, ""))
    if isinstance(error, PIL.UnidentifiedImageError):
        return Problem("NotAnImage", "is text, not an image" if _is_text(data) else "is not an image of a known format")
    return Problem("BrokenImage", f"cannot be decoded: {error}")


@contextmanager
def _no_size_warning() -> Iterator[None]:
    """Silence Pillow's warning about large images: pixels are limited here."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        yield


def _rgb(pil_image: PIL.Image.Image) -> PIL.Image.Image:
    """First frame, rotated as its EXIF says, 8 bits per channel, transparency on white."""
    pil_image.load()
    with suppress(*DECODE_ERRORS):  # a broken EXIF block rotates nothing
        pil_image = PIL.ImageOps.exif_transpose(pil_image)
    if pil_image.mode.startswith(("I", "F")):
        pil_image = _eight_bits(pil_image)
    if "A" in pil_image.getbands() or "transparency" in pil_image.info:
        rgba = pil_image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return pil_image.convert("RGB")


def _eight_bits(pil_image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey levels in 8 bits: 16-bit ones scaled from their full range, 32-bit ones (no fixed white) from their own."""
    levels = np.nan_to_num(np.asarray(pil_image).astype(np.float64))
    if pil_image.mode.startswith("I;16"):
        return PIL.Image.fromarray((levels / 257).round().astype(np.uint8))
    span = float(np.ptp(levels)) or 1.0
    return PIL.Image.fromarray(((levels - levels.min()) / span * 255).round().astype(np.uint8))


def _too_many_pixels(pixels: int, allowed: int, size: str) -> str:
    return f"has {pixels} pixels{size}, more than the {allowed} allowed"


def _is_text(data: bytes) -> bool:
    try:
        return data[:512].decode("utf-8").isprintable() or "\n" in data[:512].decode("utf-8")
    except UnicodeDecodeError:
        return False


def open_rgb(uri: str) -> PIL.Image.Image:
    """The first frame in RGB, upright, transparency on white; raises OSError if the file cannot be decoded."""
    with PIL.Image.open(source(uri), formats=FORMATS) as pil_image:
        return _rgb(pil_image)


def upright_size(uri: str) -> tuple[int, int]:
    """(width, height) in pixels of what `open_rgb` returns, from the file's header alone; raises the same errors."""
    with _no_size_warning(), PIL.Image.open(source(uri), formats=FORMATS) as pil_image:
        width, height = pil_image.size
        if pil_image.format == "TIFF":  # Pillow has swapped its size already
            return width, height
        if (
            pil_image.format == "PNG" and "exif" not in pil_image.info
        ):  # getexif would decode the pixels to look behind them
            return width, height
        with suppress(*DECODE_ERRORS):
            if pil_image.getexif().get(PIL.ExifTags.Base.Orientation) in SWAPPED_SIDES:
                return height, width
    return width, height
