"""A sample's pictures: every kind is shown to a model as people see it, filters name what they take, copies point."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from imageref_ray.core.config import SourceConfig, check
from imageref_ray.core.images import Problem, decode, file_extension, open_rgb, upright_size, verify
from imageref_ray.core.markdown import image_numbers, render
from imageref_ray.core.records import Document, Failure, Image, Sample, from_row, to_row
from imageref_ray.sources.prepare_images import prepare_images

LIMITS = {"max_bytes": 2_000_000, "max_pixels": 1_000_000}


def scene(colour: str = "red", size: tuple[int, int] = (160, 120), at: float = 0.2) -> PIL.Image.Image:
    picture = PIL.Image.new("RGB", size, "white")
    left, top = int(size[0] * at), int(size[1] * 0.3)
    PIL.ImageDraw.Draw(picture).rectangle((left, top, left + size[0] // 3, top + size[1] // 2), colour)
    return picture


def saved(path: Path, picture: PIL.Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def shown(path: Path) -> PIL.Image.Image:
    """The picture as a model gets it; it must have been verified with the same size."""
    found = verify(Image("d/0", str(path)), **LIMITS)
    assert isinstance(found, Image)
    picture = open_rgb(str(path))
    assert picture.size == (found.width, found.height)
    assert picture.mode == "RGB"
    return picture


def test_an_exif_rotated_photo_stands_upright(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    picture = shown(saved(tmp_path / "a.jpg", scene().transpose(PIL.Image.Transpose.ROTATE_90), exif=exif))
    assert picture.size == (160, 120)
    red, green, _ = picture.getpixel((50, 60))  # type: ignore[misc]
    assert red > 200 and green < 60


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_tells_the_upright_size(name: str, orientation: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, scene(), exif=exif)
    assert upright_size(str(path)) == open_rgb(str(path)).size == ((120, 160) if orientation > 4 else (160, 120))


def test_a_torn_exif_block_does_not_cost_the_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", scene(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert shown(path).size == upright_size(str(path)) == (160, 120)


def test_cmyk_and_palette_images_keep_their_colours(tmp_path: Path) -> None:
    for path in (
        saved(tmp_path / "cmyk.jpg", scene().convert("CMYK")),
        saved(tmp_path / "palette.png", scene().quantize(8)),
    ):
        red, green, blue = shown(path).getpixel((50, 60))  # type: ignore[misc]
        assert red > 200 and green < 60 and blue < 60


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.gif", scene("blue").quantize(8), transparency=0)
    assert shown(path).size == (160, 120)
    clear = PIL.Image.new("P", (4, 4), 0)
    assert shown(saved(tmp_path / "b.png", clear, transparency=0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_is_scaled_and_not_cut_off(tmp_path: Path, name: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    grey = np.asarray(shown(saved(tmp_path / name, PIL.Image.fromarray(ramp))))[:, :, 0]
    assert grey.ravel().tolist() == list(range(256))


def test_floats_are_shown_by_their_own_range(tmp_path: Path) -> None:
    levels = np.array([[-1.0, 0.0], [np.nan, 1.0]], np.float32)
    grey = np.asarray(shown(saved(tmp_path / "a.tif", PIL.Image.fromarray(levels))))[:, :, 0]
    assert grey.tolist() == [[0, 128], [128, 255]]


@pytest.mark.parametrize(
    ("name", "frames", "animated"), [("a.gif", 2, True), ("a.webp", 2, True), ("a.png", 2, True), ("a.gif", 1, False)]
)
def test_of_an_animation_the_first_frame_is_shown(tmp_path: Path, name: str, frames: int, animated: bool) -> None:
    more = [scene("blue")] * (frames - 1)
    path = saved(tmp_path / name, scene(), save_all=True, append_images=more)
    seen = decode(Image("d/0", str(path)), **LIMITS)
    assert not isinstance(seen, Problem)
    assert seen.animated is animated
    assert shown(path).getpixel((50, 60))[0] > 200  # type: ignore[index]


def test_a_photo_with_a_second_view_is_not_animated(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", scene(), format="MPO", save_all=True, append_images=[scene()])
    seen = decode(Image("d/0", str(path)), **LIMITS)
    assert not isinstance(seen, Problem) and not seen.animated


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tif"])
def test_the_kind_is_read_from_the_content_and_a_cut_is_found(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, scene())
    data = path.read_bytes()
    assert file_extension(data) == path.suffix
    path.write_bytes(data[: len(data) // 2])
    found = verify(Image("d/0", str(path)), **LIMITS)
    assert isinstance(found, Problem) and found.error in ("BrokenImage", "NotAnImage")
    assert file_extension(b"<html>") == Problem("NotAnImage", "is text, not an image")


def test_a_mode_that_no_model_reads_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    found = verify(Image("d/0", str(saved(tmp_path / "a.tif", PIL.Image.new("LAB", (8, 8))))), **LIMITS)
    assert isinstance(found, Image) or found.error == "BrokenImage"


def gathered(root: Path, names: list[str], **settings: Any) -> tuple[Sample, list[tuple[str, str, str]]]:
    source = check(SourceConfig, {"root": str(root), **settings}, "test")
    images = tuple(Image(f"d/{k}", str(root / name)) for k, name in enumerate(names))
    text = " ".join(f"[Image {k}]" for k in range(len(names)))
    sample, failures = prepare_images(
        Sample("7", "?", (Document("d", "T", text, images),)), source, root / "run" / "images"
    )
    assert from_row(Sample, to_row(sample)) == sample
    return sample, [(f.stage, f.error, f.item) for f in failures]


def test_filters_are_off_unless_set_and_name_what_they_leave_out(tmp_path: Path) -> None:
    saved(tmp_path / "good.png", scene())
    saved(tmp_path / "small.png", scene(size=(99, 110)))
    saved(tmp_path / "wide.png", scene(size=(401, 200)))
    saved(tmp_path / "tall.png", scene(size=(100, 201)))
    saved(tmp_path / "moves.gif", scene(), save_all=True, append_images=[scene("blue")])
    names = ["good.png", "small.png", "wide.png", "tall.png", "moves.gif"]
    assert gathered(tmp_path, names)[1] == []
    sample, failures = gathered(tmp_path, names, filters={"min_side": 100, "aspect": [0.5, 2.0], "animated": False})
    assert [image.id for image in sample.images] == ["d/0"]
    assert failures == [
        ("filter", "SmallImage", "d/1"),
        ("filter", "OddShape", "d/2"),
        ("filter", "OddShape", "d/3"),
        ("filter", "AnimatedImage", "d/4"),
    ]


def test_of_near_copies_the_largest_is_kept_and_the_others_point_to_it(tmp_path: Path) -> None:
    saved(tmp_path / "small.jpg", scene(size=(80, 60)), quality=60)
    saved(tmp_path / "large.png", scene())
    saved(tmp_path / "blue.png", scene("blue"))
    saved(tmp_path / "right.png", scene(at=0.55))
    names = ["small.jpg", "large.png", "blue.png", "right.png"]
    assert gathered(tmp_path, names)[1] == []
    sample, failures = gathered(tmp_path, names, filters={"near_duplicates": 6})
    (document,) = sample.documents
    assert [image.id for image in sample.images] == ["d/1", "d/2", "d/3"]
    assert [(copy.image.id, copy.of, len(copy.image.sha256)) for copy in document.duplicates] == [("d/0", "d/1", 64)]
    assert failures == [("filter", "NearDuplicate", "d/0")]
    numbers = image_numbers(sample)
    assert render(document, lambda image: f"IMAGE_{numbers[image.id]}") == "# T\nIMAGE_1 IMAGE_2 IMAGE_3"


def test_every_image_that_falls_out_says_where(tmp_path: Path) -> None:
    saved(tmp_path / "good.png", scene())
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:99])
    sample, failures = gathered(tmp_path, ["good.png", "torn.png", "gone.png", "../outside.png"])
    assert [image.id for image in sample.images] == ["d/0"]
    assert sample.images[0].origin == ""
    assert failures == [
        ("verify", "BrokenImage", "d/1"),
        ("verify", "MissingImage", "d/2"),
        ("fetch", "ForbiddenAddress", "d/3"),
    ]


def test_a_failure_stands_for_each_bad_address_among_many(tmp_path: Path) -> None:
    source = SourceConfig(root=tmp_path)
    images = tuple(Image(f"d/{k}", f"ftp://x.example/{k}") for k in range(20))
    sample, failures = prepare_images(Sample("7", "?", (Document("d", "T", "t", images),)), source, tmp_path / "images")
    assert sample.images == ()
    assert [f.item for f in failures] == [image.id for image in images]
    assert {type(f) for f in failures} == {Failure}
