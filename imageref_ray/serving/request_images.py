"""Pictures as requests name them → verified `Image` values on this machine's disk.

A picture is a base64 data URL (written to the request's own folder) or a path under the configured folder.
Nothing is ever fetched: an endpoint that opens any URL it is told opens the network it stands in.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from imageref_ray.core.config import ServeConfig
from imageref_ray.core.images import Problem, verify
from imageref_ray.core.records import Image

DATA_URL = re.compile(r"data:image/[a-zA-Z0-9.+-]{1,40};base64,", re.ASCII)


class PictureError(ValueError):
    """A picture that cannot be used; the message says why, without paths of this machine."""


def receive(url: str, image_id: str, file: Path, settings: ServeConfig) -> Image:
    """The picture behind `url`, verified (sha256, width and height in pixels); a data URL is written to `file`."""
    start = DATA_URL.match(url)
    if start:
        path = _decoded(url[start.end() :], file, settings.max_image_bytes)
    elif url.startswith("data:"):
        raise PictureError("the data URL must read data:image/<type>;base64,<data>")
    elif re.match(r"(?!file:)[a-zA-Z][a-zA-Z0-9+.-]*:", url):
        raise PictureError("addresses are not fetched; send a data URL or a path under the configured folder")
    else:
        path = _under(settings.images, url.removeprefix("file://"))
    found = verify(Image(image_id, str(path)), settings.max_image_bytes, settings.max_image_pixels)
    if isinstance(found, Problem):
        raise PictureError(found.message.removeprefix(f"{path} "))
    return found


def public_uri(url: str, image: Image) -> str:
    """How an answer names the picture's origin: the path as it was sent, or `sha256:…` for a data URL."""
    return f"sha256:{image.sha256}" if url.startswith("data:") else url


def _decoded(data: str, path: Path, max_bytes: int) -> Path:
    if len(data) > max_bytes * 4 // 3 + 4:
        raise PictureError(f"has about {len(data) * 3 // 4} bytes, more than the {max_bytes} allowed")
    try:
        path.write_bytes(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise PictureError("the data URL is not valid base64") from None
    return path


def _under(root: Path | None, name: str) -> Path:
    if root is None:
        raise PictureError("paths are not allowed here; send a data URL (or start the endpoint with `images: FOLDER`)")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise PictureError("the path leaves the configured folder")
    return path
