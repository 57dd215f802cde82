"""Formats of pictures that models and endpoints do not read, SVG and AVIF → PNG."""

from __future__ import annotations

import io

import PIL.features
import PIL.Image

from imageref_ray.core.images import DECODE_ERRORS, Problem

HEAD = 4096
"""Bytes at the beginning of a file that tell its format."""


def to_png(data: bytes) -> bytes | Problem:
    """A picture of another format as PNG, any other data as it is; or why it cannot be one."""
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return _avif(data)
    from imageref_ray.sources import svg

    return svg.draw(data) if svg.is_svg(data) else data


def is_other(head: bytes) -> bool:
    """Whether a file that begins so is one that `to_png` turns into another."""
    from imageref_ray.sources import svg

    return head[4:12] in (b"ftypavif", b"ftypavis") or svg.is_svg(head)


def _avif(data: bytes) -> bytes | Problem:
    if not PIL.features.check("avif"):
        return Problem("NotAnImage", "is an AVIF picture, which this installation of Pillow does not read")
    buffer = io.BytesIO()
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("AVIF",)) as picture:
            picture.save(buffer, "PNG")
    except (PIL.Image.DecompressionBombError, *DECODE_ERRORS) as error:
        return Problem("BrokenImage", f"cannot be decoded: {error}")
    return buffer.getvalue()
