"""Images of a request → verified `Image` values.

An image is a base64 data URL (which stays in memory) or a path in the configured folder. URLs are never
fetched: an endpoint that fetches any URL gives its clients access to its network. Clients are told what is wrong in our
words only: a decoder's and the system's say what runs here, and where.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import urllib.parse
from pathlib import Path

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.images import FORMATS, Problem, decode, in_memory, shown
from imageref_ray.core.pixels import keep, kept
from imageref_ray.core.records import Image
from imageref_ray.sources.entries import is_data

_PARAMETER = r";[^;,\"]{1,200}+(?:\"[^\"]{0,200}+\")?[^;,\"]{0,200}+"
DATA_URL = re.compile(
    rf"\s*data:image/[a-z0-9.+-]{{1,40}}[ \t]*(?:{_PARAMETER}){{0,8}};[ \t]*base64[ \t]*,", re.ASCII | re.IGNORECASE
)
"""RFC 2397, with parameters (`;charset=utf-8`, `;name="a, b.png"`), which say nothing here."""

PLAIN = str.maketrans("-_", "+/", " \t\r\n\f")
"""Line breaks of MIME's base64, what else may stand in a wrapped URL, and the letters that are safe in URLs."""

REASONS = {
    "BrokenImage": f"cannot be decoded; send a whole, undamaged {', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
    "MissingImage": "does not exist",
    "UnreadableImage": "cannot be read",
}
"""Problem → what a client is told of it; the others' own messages have only numbers."""


class ImageError(ValueError):
    """An image that cannot be used; the message continues "the image" and names no path of this machine."""


def receive_image(url: str, image_id: str, settings: ServeConfig) -> Image:
    """The image behind `url`, verified (sha256, width and height in pixels). Raises ImageError."""
    if data_url := DATA_URL.match(url):
        data = _decoded(url[data_url.end() :], settings.max_image_bytes)
        uri, sha256 = in_memory(data), hashlib.sha256(data).hexdigest()
        if (pixels := kept(sha256)) and pixels.width * pixels.height <= settings.max_image_pixels:
            return Image(image_id, uri, sha256, pixels.width, pixels.height)
    elif is_data(url.lstrip()):
        raise ImageError("has an invalid data URL; it must be data:image/<type>;base64,<data>")
    elif re.match(r"(?!file:)[a-zA-Z][a-zA-Z0-9+.-]*:", url):
        raise ImageError("is a URL, and URLs are not fetched; send a data URL or a path in the configured folder")
    else:
        uri = str(_path_in(settings.images, url.removeprefix("file://")))
    decoded = decode(Image(image_id, uri), settings.max_image_bytes, settings.max_image_pixels)
    if isinstance(decoded, Problem):
        raise ImageError(REASONS.get(decoded.error) or decoded.message.removeprefix(f"{shown(uri)} "))
    keep(decoded.image.sha256, decoded.pil_image)
    return decoded.image


def public_uri(url: str, image: Image) -> str:
    """The image's uri in an answer: the path as it was sent, or `sha256:…` for a data URL."""
    return f"sha256:{image.sha256}" if is_data(url.lstrip()) else url


def _decoded(data: str, max_bytes: int) -> bytes:
    """The content of a data URL; line breaks, percent-encoding and missing padding are accepted, as in browsers,
    and base64's other alphabet."""
    data = urllib.parse.unquote(data).translate(PLAIN)
    if len(data) > max_bytes * 4 // 3 + 4:
        raise ImageError(f"has about {len(data) * 3 // 4} bytes, more than the {max_bytes} allowed")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("has a data URL that is not valid base64") from None


def _path_in(root: Path | None, name: str) -> Path:
    if root is None:
        raise ImageError("is a path, and no folder is configured; send a data URL (or set `images: FOLDER`)")
    try:
        path = (root / name).resolve()
    except (OSError, ValueError):  # a zero byte, half a surrogate pair
        raise ImageError(REASONS["MissingImage"]) from None
    if not path.is_relative_to(root.resolve()):
        raise ImageError("is outside the configured folder")
    return path
