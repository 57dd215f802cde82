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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from imageref_ray.core.records import Image

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
"""Only these decoders are tried: others start helper programs or are of no use to a model."""

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

DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, OverflowError)
"""What PIL's decoders raise on damaged files."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that make width of height."""

_WARNINGS = threading.Lock()


class Problem(NamedTuple):
    """Why a picture cannot be used: a short class of error and a sentence with the numbers.

    `retry_s` is how long to wait before another try may succeed; None where none would.
    """

    error: str
    message: str
    retry_s: float | None = None


class Seen(NamedTuple):
    """A verified picture: `image` with sha256 and size, whether it moves, and its pixels (RGB, upright)."""

    image: Image
    animated: bool
    picture: PIL.Image.Image


def verify(image: Image, max_bytes: int, max_pixels: int) -> Image | Problem:
    """`image` with sha256, width and height (pixels) filled in, or the problem. The size is checked before decoding."""
    found = see(image, max_bytes, max_pixels)
    return found if isinstance(found, Problem) else found.image


def see(image: Image, max_bytes: int, max_pixels: int) -> Seen | Problem:
    """The same with the decoded picture, for those who look at it."""
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
    except ValueError as error:
        return Problem("MissingImage", f"{image.uri!r} is no path: {error}")  # a zero byte in it
    found = _decoded(data, max_pixels)
    if isinstance(found, Problem):
        return Problem(found.error, f"{path} {found.message}")
    picture, animated = found
    width, height = picture.size
    sha256 = hashlib.sha256(data).hexdigest()
    return Seen(dataclasses.replace(image, sha256=sha256, width=width, height=height), animated, picture)


def kind(data: bytes) -> str | Problem:
    """The file extension that the content calls for (`.jpg`, …), whatever its name says; or why there is none."""
    try:
        with _quietly(), PIL.Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return EXTENSIONS[picture.format or ""]
    except (PIL.Image.DecompressionBombError, *DAMAGE) as error:
        return _problem(error, data, 2 * (PIL.Image.MAX_IMAGE_PIXELS or 0))


def _decoded(data: bytes, max_pixels: int) -> tuple[PIL.Image.Image, bool] | Problem:
    """The picture in `data` as a model would see it, and whether it has more frames than this first one."""
    try:
        with _quietly():
            picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = picture.size
        if width * height > max_pixels:
            return Problem("TooManyPixels", _pixels(width * height, max_pixels, f" ({width} x {height})"))
        animated = picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
        return _rgb(picture), animated
    except (PIL.Image.DecompressionBombError, *DAMAGE) as error:
        return _problem(error, data, max_pixels)


def _problem(error: BaseException, data: bytes, max_pixels: int) -> Problem:
    """What PIL's exception says about the picture."""
    if isinstance(error, PIL.Image.DecompressionBombError):
        number = re.search(r"(\d+) pixels", str(error))
        return Problem("TooManyPixels", _pixels(int(number[1]) if number else 0, max_pixels, ""))
    if isinstance(error, PIL.UnidentifiedImageError):
        return Problem("NotAnImage", "is not a picture" + (" but text" if _is_text(data) else " of a known format"))
    return Problem("BrokenImage", f"cannot be decoded: {error}")


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Pillow's warning of many pixels: they are counted here."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        yield


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """First frame, upright as its EXIF says, 8 bits a channel, transparency on white."""
    picture.load()
    with suppress(*DAMAGE):  # a torn EXIF block turns nothing
        picture = PIL.ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Grey levels of 16 bits by their upper half; of 32 bits, which have no fixed white, by their own range."""
    levels = np.nan_to_num(np.asarray(picture).astype(np.float64))
    if picture.mode.startswith("I;16"):
        return PIL.Image.fromarray((levels / 257).round().astype(np.uint8))
    span = float(np.ptp(levels)) or 1.0
    return PIL.Image.fromarray(((levels - levels.min()) / span * 255).round().astype(np.uint8))


def _pixels(pixels: int, allowed: int, size: str) -> str:
    return f"has {pixels} pixels{size}, more than the {allowed} allowed"


def _is_text(data: bytes) -> bool:
    try:
        return data[:512].decode("utf-8").isprintable() or "\n" in data[:512].decode("utf-8")
    except UnicodeDecodeError:
        return False


def open_rgb(uri: str) -> PIL.Image.Image:
    """The first frame in RGB, upright, transparency on white; raises OSError where the file does not decode."""
    with PIL.Image.open(uri, formats=FORMATS) as picture:
        return _rgb(picture)


def upright_size(uri: str) -> tuple[int, int]:
    """(width, height) in pixels of what `open_rgb` gives, from the file's header alone; raises what it raises."""
    with _quietly(), PIL.Image.open(uri, formats=FORMATS) as picture:
        width, height = picture.size
        if picture.format == "TIFF":  # Pillow has turned its size already
            return width, height
        if picture.format == "PNG" and "exif" not in picture.info:  # it would be decoded to look behind its pixels
            return width, height
        with suppress(*DAMAGE):
            if picture.getexif().get(PIL.ExifTags.Base.Orientation) in SIDEWAYS:
                return height, width
    return width, height
