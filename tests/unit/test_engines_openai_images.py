"""Pictures are sent as they are, or as small upright JPEGs."""

import base64
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from imageref_ray.core.config.engine import PictureLimitsConfig
from imageref_ray.core.records import Image
from imageref_ray.engines.base import RequestError
from imageref_ray.engines.openai.images import LARGEST, data_url


def sent(path: Path) -> PIL.Image.Image:
    url = data_url(Image("d/0", str(path)), "thumbnail")
    assert url.startswith("data:image/jpeg;base64,")
    data = base64.b64decode(url.partition(",")[2])
    assert len(data) <= LARGEST
    return PIL.Image.open(io.BytesIO(data))


def test_the_original_is_sent_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    PIL.Image.new("RGB", (4, 4), "red").save(path, "PNG")  # the content counts, not the name
    assert data_url(Image("d/0", str(path))) == f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


@pytest.mark.parametrize(
    ("size", "expected"), [((2048, 1000), (1024, 500)), ((300, 200), (300, 200)), ((4000, 40), (1024, 50))]
)
def test_a_thumbnail_keeps_its_bounds_and_its_shape(tmp_path: Path, size: tuple[int, int], expected: object) -> None:
    path = tmp_path / "0.png"
    PIL.Image.new("RGB", size, "red").save(path)
    found = sent(path)
    assert found.size == expected
    red, green, _ = np.asarray(found)[found.height // 2, found.width // 2]
    assert red > 250
    assert green < 5
    assert (np.asarray(found)[0, 0, 1] > 250) == (size == (4000, 40)), "filled up with white"


def adapted(path: Path, **limits: int) -> tuple[str, PIL.Image.Image, bytes]:
    """The kind, the image and the bytes that are sent by default."""
    kind, _, data = data_url(Image("d/0", str(path)), "auto", PictureLimitsConfig(**limits)).partition(";base64,")
    content = base64.b64decode(data)
    return kind.removeprefix("data:"), PIL.Image.open(io.BytesIO(content)), content


@pytest.mark.parametrize(("name", "size"), [("0.png", (28, 28)), ("0.jpg", (2048, 30)), ("0.webp", (40, 40))])
def test_what_an_endpoint_takes_is_sent_byte_for_byte(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    PIL.Image.new("RGB", size, "red").save(tmp_path / name)
    kind, _, content = adapted(tmp_path / name)
    assert content == (tmp_path / name).read_bytes() and kind.startswith("image/")


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2, 2), (28, 28)), ((27, 400), (28, 400)), ((4096, 1024), (2048, 512)), ((6000, 6), (2048, 28))],
)
def test_sides_that_an_endpoint_refuses_are_adapted(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    PIL.Image.new("RGB", size, "red").save(tmp_path / "0.png")
    kind, found, _ = adapted(tmp_path / "0.png")
    assert (kind, found.size) == ("image/png", expected)
    middle = found.convert("RGB").getpixel((found.width // 2, found.height // 2))
    assert middle == (255, 0, 0)


def test_a_large_file_is_sent_as_one_that_is_not(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "0.png")
    kind, found, content = adapted(tmp_path / "0.png", max_bytes=400_000)
    assert (kind, found.size) == ("image/jpeg", (900, 700)) and len(content) <= 400_000
    _, found, content = adapted(tmp_path / "0.png", max_bytes=65_536)
    assert len(content) <= 65_536 and 0.7 < found.height / found.width < 0.85


def test_formats_and_orientations_that_an_endpoint_may_not_know_are_adapted(tmp_path: Path) -> None:
    red, blue = (PIL.Image.new("RGB", (40, 60), color) for color in ("red", "blue"))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    red.save(tmp_path / "turned.jpg", exif=exif)
    red.save(tmp_path / "moving.gif", save_all=True, append_images=[blue])
    red.save(tmp_path / "plain.bmp")
    for name, size in (("turned.jpg", (60, 40)), ("moving.gif", (40, 60)), ("plain.bmp", (40, 60))):
        kind, found, _ = adapted(tmp_path / name)
        assert (kind, found.size, getattr(found, "is_animated", False)) == ("image/png", size, False), name


def test_an_image_that_is_asked_about_twice_is_adapted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (9, 9), "red").save(tmp_path / "0.png")
    first = adapted(tmp_path / "0.png")[2]
    monkeypatch.setattr("imageref_ray.engines.openai.images.open_rgb", None)
    assert adapted(tmp_path / "0.png")[2] == first


def test_noise_is_pressed_below_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "0.bmp"
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    PIL.Image.fromarray(noise).save(path)
    assert sent(path).size == (1024, 1024)


def test_a_thumbnail_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    PIL.Image.new("RGB", (80, 60)).save(path, exif=exif)
    assert sent(path).size == (60, 80)


@pytest.mark.parametrize("size", ["auto", "original", "thumbnail"])
def test_what_is_not_an_image_cannot_be_sent(tmp_path: Path, size: object) -> None:
    path = tmp_path / "0.png"
    path.write_text("not an image")
    for wrong in (path, tmp_path / "gone.png"):
        with pytest.raises(RequestError, match="cannot be sent"):
            data_url(Image("d/0", str(wrong)), size)
