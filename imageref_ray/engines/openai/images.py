"""A picture on disk → the data URL that an endpoint is sent: the file as it is, or a small JPEG of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Literal

import PIL.Image
import PIL.ImageOps

from imageref_ray.core.images import FORMATS, open_rgb
from imageref_ray.core.records import Image
from imageref_ray.engines.base import RequestError

Size = Literal["original", "thumbnail"]

LONGEST, SHORTEST = 1024, 50
"""Sides of a thumbnail in pixels (the method's end-to-end baseline)."""

QUALITIES = (85, 75, 65, 50, 35, 20)
LARGEST = 2**20
"""Bytes of a thumbnail: the first quality that keeps to them is taken."""


def data_url(image: Image, size: Size = "original") -> str:
    """The picture as a base64 data URL. Raises RequestError where it cannot be read as one."""
    try:
        if size == "thumbnail":
            kind, data = "image/jpeg", thumbnail(image.uri)
        else:
            kind, data = _kind(image.uri), Path(image.uri).read_bytes()
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise RequestError(f"{image.uri} cannot be sent: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def thumbnail(uri: str) -> bytes:
    """A JPEG of at most 1,024 x 1,024 pixels and 1 MiB, upright; a side under 50 pixels is filled up with white."""
    picture = PIL.ImageOps.exif_transpose(open_rgb(uri))
    picture.thumbnail((LONGEST, LONGEST))
    whole = (max(picture.width, SHORTEST), max(picture.height, SHORTEST))
    if whole != picture.size:
        ground = PIL.Image.new("RGB", whole, "white")
        ground.paste(picture, ((whole[0] - picture.width) // 2, (whole[1] - picture.height) // 2))
        picture = ground
    data = b""
    for quality in QUALITIES:
        data = _jpeg(picture, quality)
        if len(data) <= LARGEST:
            break
    assert len(data) <= LARGEST  # even noise of 1,024 x 1,024 pixels is half of that at the last quality
    return data


def _jpeg(picture: PIL.Image.Image, quality: int) -> bytes:
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality)
    return held.getvalue()


def _kind(uri: str) -> str:
    with PIL.Image.open(uri, formats=FORMATS) as picture:
        return PIL.Image.MIME.get(picture.format or "", "image/jpeg")
