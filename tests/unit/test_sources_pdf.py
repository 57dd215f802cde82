"""PDF: text in order, headings, code, pictures at their places; what cannot be read is said. Pictures become files."""

from pathlib import Path

import PIL.Image
import pytest

from imageref_ray import sources
from imageref_ray.core.config import SourceConfig
from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem
from imageref_ray.core.records import Failure, Sample
from imageref_ray.sources.entries import Unusable
from imageref_ray.sources.fetch import fetch
from imageref_ray.sources.pages.page import Page
from imageref_ray.sources.pages.pdf_page import parse_pdf
from tests.unit.pdf_files import Shown, Word, pdf

HEAD = Word("The boats", 150, 580)


def numbered(number: int) -> Word:
    return Word(str(number), 200, 20)


MANUAL = [
    [
        *(HEAD, numbered(1), Word("Open a file", 40, 540, 16)),
        *(Word("Press the red but-", 40, 510), Word("ton, then wait. See Figure 1.", 40, 498)),
        *(Shown("red", (40, 380, 200, 100)), Word("Figure 1: The button", 40, 360)),
        *(Word("1. Start", 40, 330), Word("• Stop", 40, 316)),
        *(Word("make all", 40, 280, 10, "Courier"), Word("make test", 40, 268, 10, "Courier")),
    ],
    [HEAD, numbered(2), Word("Figure 2: Drawn", 40, 300), Shown("blue", (40, 200, 8, 8))],
    [HEAD, numbered(3), Word("More words about boats.", 40, 300), Shown("red", (40, 100, 200, 100))],
    [Shown("green", (0, 0, 400, 600))],
]


def test_a_manual_is_read_in_order_with_its_pictures() -> None:
    page = parse_pdf(pdf(MANUAL), Path("/data/a b.pdf"))
    assert page.text.split("\n") == [
        "## Open a file",
        "Press the red button, then wait. See Figure 1.",
        "[Image 0]",
        "Figure 1: The button",
        "1. Start",
        "- Stop",
        "```",
        "make all",
        "make test",
        "```",
        "Figure 2: Drawn",
        "More words about boats.",
    ]
    assert [picture.addresses for picture in page.images] == [("pdf:/data/a%20b.pdf#page=1&picture=1",)]
    assert [problem.error for problem in page.problems] == ["NoTextLayer", "DrawnFigures"]


def test_a_picture_on_many_pages_is_left_out_and_said() -> None:
    logo = Shown("red", (300, 500, 50, 30))
    page: Page = parse_pdf(pdf([[Word(f"Words {n}", 40, 300), logo] for n in range(3)]), Path("/a.pdf"))
    assert (page.images, [problem.error for problem in page.problems]) == ((), ["RepeatedPicture"])


def test_scans_broken_and_encrypted_files_are_told_apart() -> None:
    with pytest.raises(Unusable) as scan:
        parse_pdf(pdf([[Shown("red", (0, 0, 400, 600))]]), Path("/a.pdf"))
    with pytest.raises(Unusable) as broken:
        parse_pdf(b"%PDF-1.7 nothing", Path("/a.pdf"))
    with pytest.raises(Unusable) as encrypted:
        parse_pdf(ENCRYPTED, Path("/a.pdf"))
    assert [e.value.error for e in (scan, broken, encrypted)] == ["NoTextLayer", "BrokenDocument", "EncryptedDocument"]


def test_its_pictures_become_files_with_their_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manual.pdf").write_bytes(pdf(MANUAL))
    found = list(sources.read(SourceConfig(kind="folder", root=tmp_path / "data")))
    assert [item.error for item in found if isinstance(item, Failure)] == ["NoTextLayer", "DrawnFigures"]
    sample: Sample = next(item.sample for item in found if not isinstance(item, Failure))
    (image,) = sample.images
    assert (image.caption, image.mention) == ("Figure 1: The button", "See Figure 1.")
    path = fetch(image.uri, tmp_path / "data", tmp_path / "kept", FetchConfig(), 10**6)
    assert isinstance(path, Path)
    with PIL.Image.open(path) as picture:
        assert (picture.size, picture.getpixel((5, 5))) == ((20, 10), (255, 0, 0))
    errors = []
    for uri, root in (
        (image.uri, tmp_path / "kept"),
        (image.uri.replace("picture=1", "picture=9"), tmp_path / "data"),
        ("pdf:x", tmp_path),
    ):
        problem = fetch(uri, root, tmp_path / "kept", FetchConfig(), 10**6)
        assert isinstance(problem, Problem)
        errors.append(problem.error)
    assert errors == ["ForbiddenAddress", "BrokenImage", "BrokenAddress"]


ENCRYPTED = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n"
    b"3 0 obj<</Filter/Standard/V 1/R 2/P -4/O<" + b"41" * 32 + b">/U<" + b"42" * 32 + b">>>endobj\n"
    b"trailer<</Root 1 0 R/Encrypt 3 0 R/ID[<41><41>]/Size 4>>\n%%EOF"
)
