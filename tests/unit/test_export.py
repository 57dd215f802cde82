"""Finished records become training data in both variants, and nothing in a text can pass for a picture."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from imageref_ray import prompts
from imageref_ray.export import annotation, answer, export, insertion
from imageref_ray.records import Caption, Document, Image, Placement, Record, Sample, from_row

ROOT = Path("/data")
RESPONSE = "# Day\nOverview.\n### Harbour\nBoats came.\n### Market\nFish."


def record(text: str = "Boats. [Image 0]\nFish.") -> Record:
    images = (
        Image("n1/0.jpg", "/data/image/n1/0.jpg", "aa", 4, 4),
        Image("n1/1.jpg", "/data/image/n1/1.jpg", "bb", 4, 4),
    )
    sample = Sample("7", "The day", (Document("n1", "Title", text, images),))
    captions = (Caption("n1/0.jpg", "boats", "Two boats."), Caption("n1/1.jpg", "fish", "A [big] fish."))
    return Record(sample, RESPONSE, captions, (Placement(1), Placement(2, "n1/1.jpg"), Placement(3)))


def test_the_answer_shows_the_placed_picture_after_its_paragraph() -> None:
    assert answer(record(), "plain").splitlines()[3:6] == ["Boats came.", "IMAGE_2", "### Market"]
    assert "![A (big) fish.](IMAGE_2)" in answer(record(), "caption")


def test_image_tags_match_the_image_list_even_if_a_text_holds_one() -> None:
    row = annotation(record("Boats. <image> [Image 0]"), "plain", ROOT, prompts.load_pack("compact"))
    human, reply = (turn["value"] for turn in row["conversations"])
    assert row["image"] == ["image/n1/0.jpg", "image/n1/1.jpg"]
    assert human.count("<image>") == 2
    assert "IMAGE_1: <image>" in human
    assert reply.startswith("# Day")


def test_the_insertion_file_can_be_read_as_model_text() -> None:
    row = insertion(record())
    assert row["image_paths"] == ["n1/0.jpg", "n1/1.jpg"]
    chosen = {entry["position"]: entry["image"] for entry in json.loads(row["result"])["predictions"]}
    assert chosen == {"<Position 1>": "Not Insert", "<Position 2>": "IMAGE_2", "<Position 3>": "Not Insert"}


def test_parquet_gives_every_record_back(tmp_path: Path) -> None:
    records = [record(), Record(Sample("8", "empty"))]
    files = export(tmp_path / "dataset", records, ROOT, prompts.load_pack("compact"), {"fingerprint": "abc"})
    rows = pq.read_table(files["parquet"]).to_pylist()
    assert [from_row(Record, row) for row in rows] == records
    card = Path(files["card"]).read_text()
    assert "| samples | 2 |" in card
    assert "| fingerprint | abc |" in card
    assert json.loads(Path(files["captions"]).read_text().splitlines()[0])["caption"]["n1/0.jpg"] == "Two boats."
