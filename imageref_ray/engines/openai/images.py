"""An image on disk → the data URL that an endpoint is sent: the file, the image within its limits, or a small JPEG."""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Literal

import PIL.ExifTags
import PIL.Image

from imageref_ray.core.config.engine import PictureLimitsConfig
from imageref_ray.core.images import FORMATS, open_rgb, shown, source
from imageref_ray.core.records import Image
from imageref_ray.engines.base import RefusedError

Size = Literal["auto", "original", "thumbnail"]

LONGEST, SHORTEST = 1024, 50
"""Sides of a thumbnail in pixels (the method's end-to-end baseline)."""

QUALITIES = (85, 75, 65, 50, 35, 20)
LARGEST = 2**20
"""Most bytes of a thumbnail: the first quality that keeps to this is taken."""

TAKEN = ("JPEG", "PNG", "WEBP", "GIF")
"""Formats that every endpoint reads."""

LIMITS = PictureLimitsConfig()
KEPT = 64
"""Images that are kept as they were last sent: an image is described and captioned within moments."""


def data_url(image: Image, size: Size = "original", limits: PictureLimitsConfig = LIMITS) -> str:
    """The image as a base64 data URL. Raises RefusedError where it cannot be read as one."""
    try:
        if size == "thumbnail":
            kind, data = "image/jpeg", thumbnail(image.uri)
        elif size == "auto" and not _fits(image.uri, limits):
            kind, data = _adapted(image.uri, image.sha256, limits)
        else:
            kind, data = _kind(image.uri), _content(image.uri)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise RefusedError(f"{shown(image.uri)} cannot be sent: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(uri: str) -> bytes:
    """A JPEG of at most 1,024 x 1,024 pixels and 1 MiB, upright; a side under 50 pixels is padded with white."""
    data = _smallest_loss(_within(open_rgb(uri), SHORTEST, LONGEST), LARGEST)
    assert len(data) <= LARGEST  # even noise of 1,024 x 1,024 pixels is half of that at the last quality
    return data


def _fits(uri: str, limits: PictureLimitsConfig) -> bool:
    """Whether an endpoint takes the file as it is, by its header and its size."""
    place = source(uri)
    size = place.getbuffer().nbytes if isinstance(place, io.BytesIO) else place.stat().st_size
    with PIL.Image.open(place, formats=FORMATS) as file:
        sides = limits.min_side <= min(file.size) and max(file.size) <= limits.max_side
        still = file.format in TAKEN and not (file.format == "GIF" and getattr(file, "is_animated", False))
        if not (size <= limits.max_bytes and sides and still):
            return False
        # Looking for a PNG's orientation would decode its pixels where none is in front of them.
        turned = file.format != "PNG" and file.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
        return not turned


@lru_cache(KEPT)
def _adapted(uri: str, sha256: str, limits: PictureLimitsConfig) -> tuple[str, bytes]:
    """The kind and content of an image within the limits, upright: PNG where that is small enough, else JPEG."""
    pixels = _within(open_rgb(uri), limits.min_side, limits.max_side)
    if (lossless := _encoded(pixels, "PNG")) and len(lossless) <= min(limits.max_bytes, LARGEST):
        return "image/png", lossless
    data = _smallest_loss(pixels, limits.max_bytes)
    while len(data) > limits.max_bytes:  # noise: fewer pixels of it
        pixels = _within(pixels, limits.min_side, max(limits.min_side, 3 * max(pixels.size) // 4))
        data = _smallest_loss(pixels, limits.max_bytes)
    return "image/jpeg", data


def _within(pixels: PIL.Image.Image, least: int, most: int) -> PIL.Image.Image:
    """The image with sides of `least` to `most` pixels, in its proportions: made smaller, then filled up with white."""
    pixels = pixels.copy()
    pixels.thumbnail((most, most))
    size = (max(pixels.width, least), max(pixels.height, least))
    if size == pixels.size:
        return pixels
    padded = PIL.Image.new("RGB", size, "white")
    padded.paste(pixels, ((size[0] - pixels.width) // 2, (size[1] - pixels.height) // 2))
    return padded


def _smallest_loss(pixels: PIL.Image.Image, most: int) -> bytes:
    """A JPEG of at most so many bytes, in the best quality that keeps to it, else in the last."""
    data = b""
    for quality in QUALITIES:
        data = _encoded(pixels, "JPEG", quality=quality)
        if len(data) <= most:
            break
    return data


def _encoded(pixels: PIL.Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
    return buffer.getvalue()


def _content(uri: str) -> bytes:
    place = source(uri)
    return place.getvalue() if isinstance(place, io.BytesIO) else place.read_bytes()


def _kind(uri: str) -> str:
    with PIL.Image.open(source(uri), formats=FORMATS) as file:
        return PIL.Image.MIME.get(file.format or "", "image/jpeg")
