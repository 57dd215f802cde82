"""Images of a request → verified `Image` values on this machine's disk.

An image is a base64 data URL (written to the request's own folder) or a path in the configured folder. URLs are never
fetched: an endpoint that fetches any URL gives its clients access to its network.
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


class ImageError(ValueError):
    """An image that cannot be used; the message continues "the image" and names no path of this machine."""


def receive_image(url: str, image_id: str, file: Path, settings: ServeConfig) -> Image:
    """The image behind `url`, verified (sha256, width and height in pixels); a data URL is written to `file`.

    Raises ImageError.
    """
    data_url = DATA_URL.match(url)
    if data_url:
        path = _write_image(url[data_url.end() :], file, settings.max_image_bytes)
    elif url.startswith("data:"):
        raise ImageError("has an invalid data URL; it must be data:image/<type>;base64,<data>")
    elif re.match(r"(?!file:)[a-zA-Z][a-zA-Z0-9+.-]*:", url):
        raise ImageError("is a URL, and URLs are not fetched; send a data URL or a path in the configured folder")
    else:
        path = _path_in(settings.images, url.removeprefix("file://"))
    image = verify(Image(image_id, str(path)), settings.max_image_bytes, settings.max_image_pixels)
    if isinstance(image, Problem):
        raise ImageError(image.message.removeprefix(f"{path} "))
    return image


def public_uri(url: str, image: Image) -> str:
    """The image's uri in an answer: the path as it was sent, or `sha256:…` for a data URL."""
    return f"sha256:{image.sha256}" if url.startswith("data:") else url


def _write_image(data: str, path: Path, max_bytes: int) -> Path:
    if len(data) > max_bytes * 4 // 3 + 4:
        raise ImageError(f"has about {len(data) * 3 // 4} bytes, more than the {max_bytes} allowed")
    try:
        path.write_bytes(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        raise ImageError("has a data URL that is not valid base64") from None
    return path


def _path_in(root: Path | None, name: str) -> Path:
    if root is None:
        raise ImageError("is a path, and no folder is configured; send a data URL (or set `images: FOLDER`)")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ImageError("is outside the configured folder")
    return path
