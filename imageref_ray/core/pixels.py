"""Decoded images that are asked about again, by their content, in this process.

The requests of a record ask about the same images, and a chat sends its images anew with every turn.
"""

from __future__ import annotations

import threading

import PIL.Image
from cachetools import LRUCache

MOST = 64_000_000
"""Pixels in memory (200 MB)."""

_kept: LRUCache[str, PIL.Image.Image] = LRUCache(MOST, lambda pixels: pixels.width * pixels.height)
_lock = threading.Lock()


def kept(sha256: str) -> PIL.Image.Image | None:
    """The pixels (RGB, upright) of the image with this content, while they are here."""
    with _lock:
        return _kept.get(sha256)


def keep(sha256: str, pixels: PIL.Image.Image) -> None:
    """Keep them until others have been asked for more recently; nothing is done without a sum, or for a huge image."""
    if sha256 and pixels.width * pixels.height <= MOST:
        with _lock:
            _kept[sha256] = pixels
