"""Images of a request: every spelling of a data URL, and only our own words on what cannot be used."""

import base64
import hashlib
import io
import re
from pathlib import Path
from urllib.parse import quote

import PIL.Image
import PIL.PngImagePlugin
import pytest
from cachetools import LRUCache
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core import pixels
from imageref_ray.core.config import ScriptedConfig, ServeConfig
from imageref_ray.core.images import Problem, in_memory, open_rgb, upright_size, verify
from imageref_ray.core.records import Image
from imageref_ray.engines.base import Reply, Request
from imageref_ray.engines.openai.images import data_url
from imageref_ray.serving import request_images
from imageref_ray.serving.request_images import REASONS, ImageError, public_uri, receive_image
from imageref_ray.serving.routes import create_app

ENGINE = ScriptedConfig(script="tests.scripted:annotator")


def png(size: tuple[int, int] = (33, 7)) -> bytes:
    data = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(data, "PNG")
    return data.getvalue()


PNG = png()
ENCODED = base64.b64encode(PNG).decode()
WRAPPED = "\r\n".join(ENCODED[at : at + 20] for at in range(0, len(ENCODED), 20))


def reason(url: str, folder: Path) -> str:
    """Why the image cannot be used; "" if it can."""
    try:
        receive_image(url, "a/0", ServeConfig(engine=ENGINE, images=folder))
    except ImageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;charset=utf-8;base64,{ENCODED}",
        f"data:image/png;name=a%20b.png;x=1;base64,{ENCODED}",
        f"DATA:image/PNG;Base64,{ENCODED}",
        f"data:image/png;base64,\r\n{WRAPPED}\n",
        f"  data:image/png;base64, {ENCODED[:8]}\t{ENCODED[8:]} ",
        f"data:image/png;base64,{quote(ENCODED, safe='')}",
        f"data:image/png;base64,{ENCODED.replace('A', '%41')}%0D%0A",
        f"data:image/png;base64,{ENCODED.rstrip('=')}",
        f'data:image/png;name="a, b; c.png";x=1;base64,{ENCODED}',
        f"data:image/png ; charset=utf-8 ; base64 ,{ENCODED}",
        f"data:image/png;base64,{ENCODED.replace('+', '-').replace('/', '_')}",
    ],
)
def test_a_data_url_may_have_parameters_line_breaks_and_percent_encoding(url: str) -> None:
    image = receive_image(url, "a/0", ServeConfig(engine=ENGINE))
    assert (image.sha256, image.width) == (hashlib.sha256(PNG).hexdigest(), 33)
    assert public_uri(url, image) == f"sha256:{image.sha256}"


def test_an_image_of_a_request_is_read_as_a_file_is_and_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    sent = receive_image(f"data:image/png;base64,{ENCODED}", "a/0", ServeConfig(engine=ENGINE))
    for read in (lambda uri: open_rgb(uri).tobytes(), upright_size, lambda uri: data_url(Image("a/0", uri))):
        assert read(sent.uri) == read(str(file))
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_message_about_an_image_in_memory_does_not_write_it_out() -> None:
    problem = verify(Image("a/0", in_memory(PNG[:40])), 10**6, 10**6)
    assert isinstance(problem, Problem)
    assert problem.message.startswith("the image ") and len(problem.message) < 200


@pytest.mark.parametrize(
    "url",
    ["data:,", "data:image/png,abc", "data:text/plain;base64,AAAA", f"data:image/png;base64{';a' * 9},{ENCODED}"],
)
def test_what_is_no_base64_image_url_is_told_the_form(url: str, tmp_path: Path) -> None:
    assert "data:image/<type>;base64,<data>" in reason(url, tmp_path)


@pytest.mark.parametrize("flood", [";", " ", ";a", '"', ';"', "; ", ",", "%", ";base64"])
def test_a_long_data_url_is_told_at_once(flood: str, tmp_path: Path) -> None:
    assert reason("data:image/png" + flood * (2**18 // len(flood)) + "!", tmp_path)


@pytest.mark.parametrize("data", ["@@@", "A", "%FF%FE", "AAAA=AAA", "ＡＡＡＡ"])
def test_what_is_no_base64_is_said(data: str, tmp_path: Path) -> None:
    assert reason(f"data:image/png;base64,{data}", tmp_path) == "has a data URL that is not valid base64"


KNOWN = re.compile(
    "|".join(
        [
            "",
            *map(re.escape, REASONS.values()),
            "has 0 bytes",
            "is text, not an image",
            "is not an image of a known format",
        ]
    )
    + r"|has \d+ (pixels|bytes)( \(\d+ x \d+\))?, more than the \d+ allowed"
)


@given(st.data())
def test_a_broken_image_is_told_in_our_words(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Pictures of every format, cut and with changed bytes: never a decoder's word, never a folder of this machine."""
    kind = data.draw(st.sampled_from(("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")))
    file = io.BytesIO()
    PIL.Image.new("RGB", (9, 9), "red").save(file, kind)
    content = bytearray(file.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[at] ^= data.draw(st.integers(1, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    url = f"data:image/png;base64,{base64.b64encode(cut).decode()}"
    told = reason(url, tmp_path_factory.getbasetemp())
    assert KNOWN.fullmatch(told), told


@pytest.mark.parametrize("name", ["gone.png", "a\0b.png", "x" * 5000, "\ud800.png", "cut.png", "folder", "empty.png"])
def test_a_path_that_cannot_be_read_names_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(PNG[:50])
    told = reason(name, tmp_path)
    assert told and KNOWN.fullmatch(told), told


class Engine:
    async def generate(self, request: Request) -> Reply:
        return Reply(("# Day\nA boat.",), ("stop",))


def test_the_client_of_both_routes_reads_the_same_sentence() -> None:
    client = TestClient(create_app(Engine(), ServeConfig(engine=ENGINE)))
    url = f"data:image/png;base64,{base64.b64encode(PNG[:50]).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    refused = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        f"messages[0].content[0]: the image {REASONS['BrokenImage']}",
    )
    documents = [{"text": "Boats.", "images": [url]}]
    answered = client.post("/v1/reference", json={"question": "?", "documents": documents}).json()
    assert [left["reason"] for left in answered["left_out"]] == [REASONS["BrokenImage"]]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt compressed"])
def test_a_png_with_a_long_text_is_a_picture(kind: str, after: bool, tmp_path: Path) -> None:
    text = "seed: 7, steps: 30. " * 250_000  # 5 MB: a prompt and a workflow
    info = PIL.PngImagePlugin.PngInfo()
    if kind.startswith("iTXt"):
        info.add_itxt("workflow", text, zip=kind.endswith("compressed"))
    else:
        info.add_text("workflow", text, zip=kind == "zTXt")
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (33, 7), "red").save(path, pnginfo=info)
    if after:  # the text behind the pixels
        data = path.read_bytes()
        at, end = data.index(kind[:4].encode()) - 4, data.index(b"IDAT") - 4
        last = data.index(b"IEND") - 4
        path.write_bytes(data[:at] + data[end:last] + data[at:end] + data[last:])
    image = verify(Image("a/0", str(path)), 10**8, 10**6)
    assert not isinstance(image, Problem) and (image.width, image.height) == (33, 7)
    assert upright_size(str(path)) == (33, 7)
    assert open_rgb(str(path)).getpixel((3, 3)) == (255, 0, 0)


def test_an_image_that_is_sent_again_is_decoded_once_and_held_to_the_limits_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"data:image/png;base64,{base64.b64encode(png((31, 5))).decode()}"
    settings = ServeConfig(engine=ENGINE)
    first = receive_image(url, "a/0", settings)
    with monkeypatch.context() as patch:
        patch.setattr(request_images, "decode", None)
        assert receive_image(url, "a/0", settings) == first and (first.width, first.height) == (31, 5)
    with pytest.raises(ImageError, match="155 pixels"):
        receive_image(url, "a/0", settings.model_copy(update={"max_image_pixels": 154}))


def test_as_many_pixels_are_kept_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_kept", LRUCache(100, lambda one: one.width * one.height))
    monkeypatch.setattr(pixels, "MOST", 100)
    for name, size in {"a": (8, 8), "": (1, 1), "huge": (11, 10), "b": (6, 6), "c": (6, 6)}.items():
        pixels.keep(name, PIL.Image.new("RGB", size))
    assert [name for name in ("a", "", "huge", "b", "c") if pixels.kept(name)] == ["b", "c"]
