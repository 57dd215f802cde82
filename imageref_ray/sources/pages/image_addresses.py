"""An `img` element → the addresses of its picture, best first: `srcset`, `<picture>`, lazy loading, `<noscript>`.

Pages that load pictures by script keep the true address in an attribute of their script's own (`data-src`,
`data-original`, `data-pagespeed-lazy-src`, …) and a placeholder in `src`. Any `data-` attribute counts whose value is
the address of a picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborNode as Node

from imageref_ray.sources.entries import is_data
from imageref_ray.sources.pages import srcset

NOT_DECODED = ("image/jxl", "image/heic", "image/heif")

PICTURE_FILE = re.compile(r"[^\s{}<>\"]+\.(jpe?g|png|gif|webp|bmp|tiff?|avif|svgz?)([?#&!@:]\S*)?", re.IGNORECASE)
"""A value that is the address of a picture, whatever its attribute's name."""

OTHER_NAMES = frozenset(
    ("lazy-src", "lazysrc", "original", "_src", "file", "zoomfile", "load-src", "ng-src", "real_src")
)
"""Attributes without `data-` that lazy-loading scripts read."""

LOADED = re.compile(r"src|original|lazy|echo|defer|load|hires|hi-res|retina")
"""Names of attributes whose picture a script puts in the place of `src`, which is then no more than a placeholder."""

ADDRESSES = re.compile(
    r"src|original|lazy|echo|(^|-)(url|image|img|full|large|big|zoom|hires|hi-res|file|defer|bg)($|-)"
)
"""Names of attributes that may hold an address which does not end like a picture's."""

NO_ADDRESS = re.compile(
    r"title|name|caption|desc|credit|meta|(^|-)(id|key|alt|permalink|link|href|type|class|sizes|page)($|-)"
)
PREVIEW = re.compile(r"low|thumb|tiny|small|placeholder|preview|blur|lqip|fallback|error|default|loading-src|spinner")
"""Names of attributes that hold something else, and those that hold a smaller picture."""

PLACEHOLDER = re.compile(
    r"(^|[/_.-])(spinner|loading|loader|placeholder|blank|pixel|transparent|spacer|lazy(load)?|1x1|dummy|empty|cleardot|"
    r"no-?image)([_.-][\w.-]*)?\.(gif|png|svg|jpe?g|webp)([?#].*)?$",
    re.IGNORECASE,
)
"""File names of pictures that stand in for others, in an `img` that a script has a hand in."""


def addresses(image: Node) -> tuple[str, ...]:
    """The addresses of an `img`, best first; none for a tracking pixel or a placeholder without its picture."""
    own = image.attributes
    if any(re.fullmatch(r"[01](px)?", (own.get(side) or "").strip()) for side in ("width", "height")):
        return ()
    sets = [own.get("srcset") or ""]
    parent = image.parent
    if parent is not None and parent.tag == "picture":
        for source in parent.css("source"):
            if (source.attributes.get("type") or "") not in NOT_DECODED:
                sets += [value or "" for key, value in source.attributes.items() if key.endswith("srcset")]
    late_sets, late, others = _late(own)
    found = _largest([*sets, *late_sets]) + late
    loaded = bool(late or any(late_sets))
    if not loaded and (fallback := _fallback(image)) is not None:
        found += [address for address in addresses(fallback) if address not in found]
    source_address = (own.get("src") or "").strip()
    stands_in = loaded or bool(found and is_data(source_address)) or is_placeholder(image)
    found += others + ([] if stands_in or not source_address else [source_address])
    return tuple(dict.fromkeys(filter(None, found)))


def is_placeholder(image: Node) -> bool:
    """Whether the `src` of an `img` that a script has a hand in is by its name a picture that stands in for another."""
    own = image.attributes
    scripted = "lazy" in (own.get("class") or "").lower() or any(key.startswith("data-") for key in own)
    return (scripted or _fallback(image) is not None) and PLACEHOLDER.search(own.get("src") or "") is not None


def _late(own: Mapping[str, str | None]) -> tuple[list[str], list[str], list[str]]:
    """The `srcset`s and addresses that a script loads, and other addresses (a larger copy, a smaller one), in order."""
    sets: list[str] = []
    late: list[str] = []
    larger: list[str] = []
    smaller: list[str] = []
    for key, value in own.items():
        name, text = key.removeprefix("data-"), (value or "").strip()
        if not text or is_data(text) or not (key.startswith("data-") or key in OTHER_NAMES):
            continue
        if name.endswith("srcset"):
            sets.append(text)
        elif not NO_ADDRESS.search(name) and _is_address(name, text) and not PLACEHOLDER.search(text):
            where = smaller if PREVIEW.search(name) else late if LOADED.search(name) or not own.get("src") else larger
            where.append(text)
    return sets, late, larger + smaller


def _is_address(name: str, value: str) -> bool:
    if PICTURE_FILE.fullmatch(value):
        return True
    return bool(ADDRESSES.search(name)) and re.fullmatch(r"(https?:/|/)?/?[\w.~%@:-]+/\S+", value) is not None


def _fallback(image: Node) -> Node | None:
    """The picture in the `noscript` that follows an `img` (or the element around it), for readers without scripts."""
    if any(node.tag == "noscript" for node in (image.parent, image.parent.parent if image.parent else None) if node):
        return None
    for start in (image, image.parent):
        following = start.next if start is not None else None
        while following is not None and following.is_text_node and not (following.text_content or "").strip():
            following = following.next
        if following is not None and following.tag == "noscript":
            return following.css_first("img")
    return None


def _largest(sets: list[str]) -> list[str]:
    """The addresses in `srcset` attributes, the largest picture first."""
    offers = [candidate for text in sets for candidate in srcset.parse(text)]
    ordered = sorted(offers, key=lambda offer: (offer.width is None, -offer.size))
    return [offer.address for offer in ordered if not is_data(offer.address)]
