"""The paper's layout and the pictures in it: what is good is read, what is bad is named and costs nothing else."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from imageref_ray import sources
from imageref_ray.core.config import ConfigError, SourceConfig
from imageref_ray.core.images import open_rgb, verify
from imageref_ray.core.records import Document, Failure, Image, Record, Sample
from imageref_ray.sources import paper
from imageref_ray.sources.prepare_images import prepare_images

LIMITS = {"max_bytes": 1_000_000, "max_pixels": 1_000_000}


def write_event(root: Path, name: str, news: dict[str, Any], **more: Any) -> None:
    """An event whose articles are `news`: newsID → article JSON, or text written as it is."""
    with (root / "events.jsonl").open("a") as file:
        sources = [{"newsID": news_id} for news_id in news]
        file.write(json.dumps({"paasEventID": name, "title": f"Topic {name}", "sources": sources, **more}) + "\n")
    for news_id, article in news.items():
        if article is not None:
            path = root / "news" / f"{news_id}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(article if isinstance(article, str) else json.dumps(article))


def article(pictures: int = 1, text: str = "Words. [Image 0]") -> dict[str, Any]:
    return {"title": "Title", "article_text": text, "image_info": [[f"http://x/{k}"] for k in range(pictures)]}


def draw(root: Path, name: str, size: tuple[int, int] = (8, 6)) -> Path:
    path = root / "image" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, "red").save(path, format="PNG")
    return path


def bomb(side: int) -> bytes:
    """A PNG that says it has side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def read(root: Path) -> tuple[list[Sample], list[tuple[str, str, str]]]:
    found = list(paper.read(root))
    samples = [item for item in found if isinstance(item, Sample)]
    return samples, [(f.record_id, f.error, f.item) for f in found if isinstance(f, Failure)]


def test_images_come_in_index_order_and_mpo_is_left_out(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "0.png", "1.mpo", "thumbs.png"):
        draw(tmp_path, f"n1/{name}")
    write_event(tmp_path, "7", {"n1": article(3)}, attrs='{"category": "sport"}')
    (sample,), problems = read(tmp_path)
    assert [image.id for image in sample.images] == ["n1/0.png", "n1/2.png", "n1/10.png"]
    assert (sample.id, sample.instruction, sample.category) == ("7", "Topic 7", "sport")
    assert problems == []


def test_of_two_images_with_one_index_the_first_by_name_is_taken(tmp_path: Path) -> None:
    for k in range(6):
        for ending in ("png", "gif"):
            draw(tmp_path, f"n1/{k}.{ending}")
    write_event(tmp_path, "7", {"n1": article(6)})
    (sample,), _ = read(tmp_path)
    assert [image.id for image in sample.images] == [f"n1/{k}.gif" for k in range(6)]


def test_an_event_is_built_from_the_documents_that_remain(tmp_path: Path) -> None:
    draw(tmp_path, "good/0.png")
    news = {"good": article(2), "gone": None, "torn": '{"title": ', "mute": article(1, "  ")}
    write_event(tmp_path, "7", news)
    (sample,), problems = read(tmp_path)
    assert [document.id for document in sample.documents] == ["good"]
    assert sorted(problems) == [
        ("7", "BrokenDocument", "torn"),
        ("7", "EmptyDocument", "mute"),
        ("7", "MissingDocument", "gone"),
        ("7", "MissingImage", "good/1"),
    ]


def test_events_with_nothing_to_show_fail_as_a_whole(tmp_path: Path) -> None:
    write_event(tmp_path, "1", {"n1": article(0)})
    write_event(tmp_path, "2", {})
    write_event(tmp_path, "2", {"n1": article(0)})
    write_event(tmp_path, "3", {"../secret": None})
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write("not json\n[]\n")
    samples, problems = read(tmp_path)
    assert samples == []
    assert problems == [
        ("1", "NoImages", ""),
        ("2", "NoDocuments", ""),
        ("events.jsonl:3", "RepeatedEvent", ""),
        ("3", "BrokenEvent", "../secret"),
        ("3", "NoDocuments", ""),
        ("events.jsonl:5", "BrokenEvent", ""),
        ("events.jsonl:6", "BrokenEvent", ""),
    ]


def chosen(root: Path, **settings: Any) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The documents read and the failures, of a source with these settings."""
    found = list(sources.read(SourceConfig(root=root, **settings)))
    documents = [doc.id for item in found if isinstance(item, Record) for doc in item.sample.documents]
    return documents, [(f.record_id, f.error, f.item) for f in found if isinstance(f, Failure)]


@pytest.fixture
def three_events(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        draw(tmp_path, f"n{number}/0.png")
        write_event(tmp_path, str(number), {f"n{number}": article(number)})
    return tmp_path


def test_only_labelled_events_are_read_and_the_others_are_reported(three_events: Path) -> None:
    labels = three_events / "label.csv"
    labels.write_text("paasEventID,image_map,result\n3,{},{}\n2,{},{}\n9,{},{}\n")
    read, problems = chosen(three_events, labels=labels)
    assert read == ["n2", "n3"]
    assert [problem for problem in problems if problem[1] != "MissingImage"] == [
        ("1", "NotLabelled", "1"),
        ("9", "UnknownEvent", "9"),
    ]
    assert chosen(three_events, labels=labels, limit=1)[0] == ["n2"]
    labels.write_text("paasEventID,image_map,result\n")
    with pytest.raises(ConfigError, match=r"label\.csv holds no event"):
        chosen(three_events, labels=labels)


def test_incomplete_and_excluded_documents_are_left_out_each_with_its_reason(three_events: Path) -> None:
    read, problems = chosen(three_events, complete=True)
    assert (read, [(error, item) for _, error, item in problems]) == (
        ["n1"],
        [("IncompleteDocument", "n2"), ("NoDocuments", ""), ("IncompleteDocument", "n3"), ("NoDocuments", "")],
    )
    exclude = three_events / "exclude.txt"
    texts = (
        "n1\n\n n3 \n",
        '["n1", "n3", 12]',
        '{"newsIDs": ["n1", "n3"]}',
        '{"newsID": "n1"}\n{"newsID": "n3"}',
        '"n1"\r"n3"',
    )
    for text in texts:
        exclude.write_text(text)
        read, problems = chosen(three_events, exclude=exclude)
        assert read == ["n2"] and [problem for problem in problems if problem[1] == "ExcludedDocument"] == [
            ("1", "ExcludedDocument", "n1"),
            ("3", "ExcludedDocument", "n3"),
        ]
    exclude.write_text("n1.json\nn3.json")
    told = f"none of the 2 documents in {exclude} is one of events.jsonl"
    items = [
        item for item in sources.read(SourceConfig(root=three_events, exclude=exclude)) if isinstance(item, Failure)
    ]
    assert [item.message for item in items if item.error == "NothingExcluded"] == [told]
    for text, words in (
        ('["n1"', "is not valid JSON"),
        ("[true]", "entry 0 is True, not the id of a document"),
        ("n1,n3", "line 1: n1,n3 is not one id"),
        ('{"ids": ["n1"]}', "has none of the lists newsIDs"),
    ):
        exclude.write_text(text)
        with pytest.raises(ConfigError, match=words):
            chosen(three_events, exclude=exclude)


def test_the_identity_of_a_source_follows_the_lists_that_choose_from_it(three_events: Path) -> None:
    exclude = three_events / "exclude.txt"
    exclude.write_text("n1\n")
    source = SourceConfig(root=three_events, exclude=exclude)
    first = sources.identity(source)
    assert first != sources.identity(SourceConfig(root=three_events))
    exclude.write_text("n2\n")
    assert sources.identity(source) != first
    with pytest.raises(ConfigError, match=r"none\.csv does not exist; give the path of source\.labels, or remove it"):
        sources.identity(SourceConfig(root=three_events, labels=three_events / "none.csv"))
    with pytest.raises(ValueError, match="complete belongs to kind paper, not samples"):
        SourceConfig(root=three_events, kind="samples", complete=True)


def test_a_missing_event_file_says_how_to_fix_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"events\.jsonl does not exist; set source\.root"):
        list(paper.read(tmp_path))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, "MissingImage", "does not exist"),
        (b"", "EmptyImage", "0 bytes"),
        (b"<html>not found</html>", "NotAnImage", "text"),
        (bytes(range(256)), "NotAnImage", "known format"),
        (bomb(30_000), "TooManyPixels", "900000000 pixels"),
        (bomb(1_100), "TooManyPixels", "1100 x 1100"),
        (bomb(900), "BrokenImage", "cannot be decoded"),
        (bytes(1_000_001), "ImageTooLarge", "1000001 bytes"),
    ],
)
def test_a_bad_image_is_a_value_with_a_true_reason(
    tmp_path: Path, content: bytes | None, error: str, words: str
) -> None:
    path = tmp_path / "0.jpg"
    if content is not None:
        path.write_bytes(content)
    found = verify(Image("d/0.jpg", str(path)), **LIMITS)
    assert not isinstance(found, Image)
    assert found.error == error
    assert words in found.message


def test_every_cut_of_a_jpeg_is_an_image_or_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    PIL.Image.effect_noise((64, 64), 50).save(path)
    whole = path.read_bytes()
    for length in range(1, len(whole), 37):
        path.write_bytes(whole[:length])
        assert not isinstance(verify(Image("d/0.jpg", str(path)), **LIMITS), Image)


def test_a_good_image_gets_its_hash_and_size(tmp_path: Path) -> None:
    path = draw(tmp_path, "n/0.png", (8, 6))
    found = verify(Image("n/0.png", str(path)), **LIMITS)
    assert isinstance(found, Image)
    assert (found.width, found.height, len(found.sha256)) == (8, 6, 64)


def test_bad_images_leave_their_sample_and_are_named(tmp_path: Path) -> None:
    good = Image("n/0.png", str(draw(tmp_path, "n/0.png")))
    sample = Sample("7", "?", (Document("n", "T", "text", (good, Image("n/1.png", str(tmp_path / "nowhere")))),))
    source = SourceConfig(root=tmp_path, max_image_bytes=1_000_000, max_image_pixels=1_000_000)
    kept, failures = prepare_images(sample, source, tmp_path / "fetched")
    assert [image.id for image in kept.images] == ["n/0.png"]
    assert [(f.record_id, f.stage, f.error, f.item) for f in failures] == [("7", "verify", "MissingImage", "n/1.png")]


def test_transparency_is_shown_on_white(tmp_path: Path) -> None:
    PIL.Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_rgb(str(tmp_path / "clear.png")).getpixel((0, 0)) == (255, 255, 255)
