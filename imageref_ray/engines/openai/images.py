"""An image on disk → the data URL that an endpoint is sent: the file as it is, or a small JPEG of it."""

from __future__ import annotations

import base64
import io
from typing import Literal

import PIL.Image
import PIL.ImageOps

from imageref_ray.core.images import FORMATS, open_rgb, shown, source
from imageref_ray.core.records import Image
from imageref_ray.engines.base import RequestError

Size = Literal["original", "thumbnail"]

LONGEST, SHORTEST = 1024, 50
"""Sides of a thumbnail in pixels (the method's end-to-end baseline)."""

QUALITIES = (85, 75, 65, 50, 35, 20)
LARGEST = 2**20
"""Most bytes of a thumbnail: the first quality that keeps to this is taken."""


def data_url(image: Image, size: Size = "original") -> str:
    """The image as a base64 data URL. Raises RequestError where it cannot be read as one."""
    try:
        if size == "thumbnail":
            kind, data = "image/jpeg", thumbnail(image.uri)
        else:
            kind, data = _kind(image.uri), _content(image.uri)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise RequestError(f"{shown(image.uri)} cannot be sent: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(uri: str) -> bytes:
    """A JPEG of at most 1,024 x 1,024 pixels and 1 MiB, upright; a side under 50 pixels is padded with white."""
    pixels = PIL.ImageOps.exif_transpose(open_rgb(uri))
    pixels.thumbnail((LONGEST, LONGEST))
    size = (max(pixels.width, SHORTEST), max(pixels.height, SHORTEST))
    if size != pixels.size:
        padded = PIL.Image.new("RGB", size, "white")
        padded.paste(pixels, ((size[0] - pixels.width) // 2, (size[1] - pixels.height) // 2))
        pixels = padded
    data = b""
    for quality in QUALITIES:
        data = _jpeg(pixels, quality)
        if len(data) <= LARGEST:
            break
    assert len(data) <= LARGEST  # even noise of 1,024 x 1,024 pixels is half of that at the last quality
    return data


def _jpeg(pixels: PIL.Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _content(uri: str) -> bytes:
    place = source(uri)
    return place.getvalue() if isinstance(place, io.BytesIO) else place.read_bytes()


def _kind(uri: str) -> str:
    with PIL.Image.open(source(uri), formats=FORMATS) as file:
        return PIL.Image.MIME.get(file.format or "", "image/jpeg")
