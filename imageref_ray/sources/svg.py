"""An SVG drawing → a PNG of it, drawn by resvg, which runs no scripts and loads nothing.

The drawing comes from outside, so: parts that name other files are taken out, the size is bounded, and a process of
its own with bounds on time and memory draws it; what goes wrong there is a `Problem`.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import zlib

from lxml import etree

from imageref_ray.core.images import Problem

LARGEST_SIDE, DEFAULT_SIDE = 2048, 1024
"""Pixels of the longer side: larger drawings are drawn smaller; drawings without a size of their own get the second."""

LARGEST = 20_000_000
"""Bytes of the drawing, unpacked."""

SECONDS, MEMORY = 20, 2 << 30
"""Bounds of the process that draws: seconds of processor time, bytes."""

DRAW = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
import resvg_py
svg = sys.stdin.buffer.read().decode()
sys.stdout.buffer.write(bytes(resvg_py.svg_to_bytes(svg_string=svg, dpi=96, background="white")))
"""

UNITS = {
    "": 1.0,
    "px": 1.0,
    "pt": 4 / 3,
    "pc": 16.0,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "in": 96.0,
    "em": 16.0,
    "ex": 8.0,
}
"""CSS pixels of a unit."""


def is_svg(data: bytes) -> bool:
    """Whether the beginning of a file is that of a drawing, plain or packed."""
    if data.startswith(b"\x1f\x8b"):
        data = _unpack(data, 4096)
    head = data[:4096].decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    head = re.sub(r"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^\[>]*(\[.*?\])?\s*>", "", head, flags=re.DOTALL | re.IGNORECASE)
    return re.match(r"\s*<(\w+:)?svg[\s>]", head) is not None


def readable(data: bytes) -> bytes | Problem:
    """The drawing as it may be drawn: its size within bounds, without what names anything outside it."""
    plain = _unpack(data, LARGEST + 1) if data.startswith(b"\x1f\x8b") else data
    if len(plain) > LARGEST:
        return Problem("ImageTooLarge", f"has more than {LARGEST} bytes unpacked")
    parser = etree.XMLParser(
        resolve_entities="internal", no_network=True, load_dtd=False, recover=True, huge_tree=False
    )
    try:
        root = etree.parse(io.BytesIO(plain), parser).getroot()
    except (etree.XMLSyntaxError, ValueError) as error:
        return Problem("BrokenSvg", f"is not a readable SVG drawing: {error}")
    if root is None or etree.QName(root).localname != "svg":
        return Problem("BrokenSvg", "is not a readable SVG drawing")
    _without_references(root)
    _bound_size(root)
    drawing: bytes = etree.tostring(root)
    return drawing


def draw(data: bytes) -> bytes | Problem:
    """The PNG of a drawing on white; transparency is lost."""
    drawing = readable(data)
    if isinstance(drawing, Problem):
        return drawing
    script = DRAW.format(seconds=SECONDS, memory=MEMORY)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=drawing,
            capture_output=True,
            timeout=3 * SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Problem("BrokenSvg", f"cannot be drawn in {3 * SECONDS} seconds")
    if done.returncode or not done.stdout:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Problem("BrokenSvg", f"cannot be drawn: {why[-1][:200] if why else 'it takes too much time or memory'}")
    drawn: bytes = done.stdout
    return drawn


def _without_references(root: etree._Element) -> None:
    """Take out what names anything outside the drawing: resvg would read pictures from this machine's files."""
    for element in list(root.iter()):
        parent = element.getparent()
        if not isinstance(element.tag, str):
            continue
        hrefs = [value.strip() for key, value in element.attrib.items() if etree.QName(key).localname == "href"]
        outside = any(not re.match(r"#|data:image/(png|jpe?g|gif|webp)\b", href, re.IGNORECASE) for href in hrefs)
        name = etree.QName(element).localname
        if parent is not None and (name in ("script", "foreignObject") or (outside and name != "a")):
            parent.remove(element)


def _bound_size(root: etree._Element) -> None:
    """Give a drawing a size in pixels: its own, its longer side within bounds."""
    box = [float(number) for number in re.findall(r"-?\d+\.?\d*", root.get("viewBox") or "")[:4]]
    boxed = (box[2], box[3]) if len(box) == 4 and all(1e-6 < side < 1e9 for side in box[2:]) else (0.0, 0.0)
    width, height = (_pixels(root.get(side) or "") for side in ("width", "height"))
    if not (width and height) and all(boxed):
        scale = max(width / boxed[0], height / boxed[1]) or DEFAULT_SIDE / max(boxed)
        width, height = boxed[0] * scale, boxed[1] * scale
    width, height = width or height or DEFAULT_SIDE, height or width or DEFAULT_SIDE
    if not all(boxed):
        root.set("viewBox", f"0 0 {width} {height}")
    scale = min(1.0, LARGEST_SIDE / max(width, height))
    for side, length in (("width", width), ("height", height)):
        root.set(side, str(max(1, round(length * scale))))


def _pixels(length: str) -> float:
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", length, re.IGNORECASE)
    return float(found[1]) * UNITS.get(found[2].lower(), 0.0) if found else 0.0


def _unpack(data: bytes, most: int) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            return file.read(most)
    except (OSError, EOFError, zlib.error):
        return b""
