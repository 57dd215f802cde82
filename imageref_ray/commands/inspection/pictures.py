"""Image files → pictures that a page embeds once each, as CSS classes, however often they are shown.

The same picture is in many events and in many systems' answers. All pictures together stay below a limit.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from imageref_ray.core.images import Problem, decode
from imageref_ray.core.records import Image
from imageref_ray.dataset.cards.thumbnails import MAX_BYTES, MAX_PIXELS, data_uri, find_file

SIDES = ((400, 320), (1000, 240), (2500, 160))
"""Up to so many pictures, so many pixels for their longest side; `SMALLEST` for more."""

SMALLEST = 112


class Pictures:
    """The pictures of one page: `find` adds one, `css` has them all. `full`: at least one did not fit."""

    def __init__(self, expected: int, max_bytes: int) -> None:
        self.full = False
        self._side = next((side for count, side in SIDES if expected <= count), SMALLEST)
        self._left = max_bytes
        self._rules: list[str] = []
        self._found: dict[str, tuple[str, str]] = {}

    def find(self, image: Image, run: Path) -> tuple[str, str]:
        """The picture's CSS class ("" if it is not shown), and why it is not."""
        path = str(find_file(image.uri, run))
        if path not in self._found:
            self._found[path] = self._add(Image(image.id, path))
        return self._found[path]

    def css(self) -> Markup:
        """One rule per picture; nothing in it comes from a text."""
        return Markup("\n".join(self._rules))

    def _add(self, image: Image) -> tuple[str, str]:
        if self.full:
            return "", "the page is full"
        decoded = decode(image, MAX_BYTES, MAX_PIXELS, self._side)
        if isinstance(decoded, Problem):
            return "", decoded.message
        if same := self._found.get(decoded.image.sha256):
            return same
        name = f"p{len(self._rules)}"
        width, height = decoded.pil_image.size
        uri = data_uri(decoded.pil_image, self._side)
        rule = f".{name}{{aspect-ratio:{min(max(width / height, 0.5), 2.5):.3f};background-image:url({uri})}}"
        if len(rule) > self._left:
            self.full = True
            return "", "the page is full"
        self._left -= len(rule)
        self._rules.append(rule)
        self._found[decoded.image.sha256] = name, ""
        return name, ""
