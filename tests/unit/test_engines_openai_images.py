"""Pictures are sent as they are, or as small upright JPEGs."""

import base64
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

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


@pytest.mark.parametrize("size", ["original", "thumbnail"])
def test_what_is_not_an_image_cannot_be_sent(tmp_path: Path, size: object) -> None:
    path = tmp_path / "0.png"
    path.write_text("not an image")
    for wrong in (path, tmp_path / "gone.png"):
        with pytest.raises(RequestError, match="cannot be sent"):
            data_url(Image("d/0", str(wrong)), size)
