"""SVG and AVIF become PNG, within bounds and without reading anything else."""

import gzip
import io
from pathlib import Path

import PIL.features
import PIL.Image
import pytest

from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import DecodedImage, Problem
from imageref_ray.core.records import Image
from imageref_ray.sources import svg
from imageref_ray.sources.prepare_images import Rejected, prepare_image

OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '


def prepare(root: Path, name: str) -> DecodedImage | Rejected:
    return prepare_image(Image("d/0", str(root / name)), root, root / "images", FetchConfig(), 10**7, 10**7)


def test_a_drawing_becomes_a_picture_that_remembers_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    PIL.Image.new("RGB", (40, 40), "red").save(secret)
    drawing = f"""<?xml version="1.0"?><!-- made by hand -->
    <!DOCTYPE svg [<!ENTITY w "40"><!ENTITY f SYSTEM "file:///etc/passwd">]>{OPEN}width="100" height="50">
    <image xlink:href="{secret}" width="&w;" height="&w;"/><image href="file://{secret}" width="9"/>
    <rect x="50" width="50" height="50" fill="blue"/><script>1</script></svg>"""
    (tmp_path / "d.svg").write_text(drawing)
    (tmp_path / "d.svgz").write_bytes(gzip.compress(drawing.encode()))
    for name in ("d.svg", "d.svgz"):
        found = prepare(tmp_path, name)
        assert isinstance(found, DecodedImage)
        assert (found.image.width, found.image.height, found.image.origin) == (100, 50, str(tmp_path / name))
        assert [found.pil_image.getpixel((x, 25)) for x in (10, 75)] == [(255, 255, 255), (0, 0, 255)]
        assert found.image.uri.endswith(".png")


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="500000" height="50"', (2048, 1)),
        ('viewBox="0 0 50 20"', (1024, 410)),
        ('width="3in" height="72pt"', (288, 96)),
        ('width="100%" viewBox="0 0 4 2"', (1024, 512)),
        ('width="60" viewBox="0 0 4 2"', (60, 30)),
        ('width="NaN" height="-3" viewBox="1 e 2"', (1024, 1024)),
    ],
)
def test_a_drawing_has_its_own_size_within_bounds(attributes: str, size: tuple[int, int]) -> None:
    drawn = svg.draw(f"{OPEN}{attributes}><rect width='9' height='9'/></svg>".encode())
    assert isinstance(drawn, bytes)
    with PIL.Image.open(io.BytesIO(drawn)) as picture:
        assert picture.size == size


def test_a_drawing_that_cannot_be_drawn_is_a_problem(tmp_path: Path) -> None:
    bomb = "".join(f'<g id="g{n}">{f"""<use href="#g{n - 1}"/>""" * 10}</g>' for n in range(1, 12))
    for text in (f'{OPEN}width="9" height="9"><rect id="g0" width="1" height="1"/>{bomb}</svg>',):
        found = svg.draw(text.encode())
        assert isinstance(found, Problem) and found.error == "BrokenSvg" and "cannot be drawn" in found.message
    assert not svg.is_svg(b"<html><svg></svg></html>") and not svg.is_svg(b"\x1f\x8bx") and not svg.is_svg(b"")


@pytest.mark.parametrize("side", ["9" * 400, "0." + "0" * 320 + "1", "1e400", "-5", "0"])
def test_a_drawing_of_an_impossible_size_has_the_usual_one(side: str) -> None:
    found = svg.readable(f'{OPEN}viewBox="0 0 {side} {side}"></svg>'.encode())
    assert isinstance(found, bytes) and b"nan" not in found


@pytest.mark.skipif(not PIL.features.check("avif"), reason="Pillow without AVIF")
def test_avif_is_read_and_broken_avif_is_a_row(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (80, 60), "blue").save(tmp_path / "a.avif")
    found = prepare(tmp_path, "a.avif")
    assert isinstance(found, DecodedImage) and found.image.uri.endswith(".png")
    (tmp_path / "b.avif").write_bytes((tmp_path / "a.avif").read_bytes()[:60])
    broken = prepare(tmp_path, "b.avif")
    assert isinstance(broken, Rejected) and broken.problem.error in ("BrokenImage", "NotAnImage")
