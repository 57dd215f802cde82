"""Finished records become training data for every trainer, and nothing in a text can pass for a picture."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow.parquet as pq
import pytest
import yaml

from imageref_ray.core.config import BuildConfig, ConfigError, ExportConfig, TrainConfig
from imageref_ray.core.config import check as checked
from imageref_ray.core.records import Caption, Document, Image, Placement, Record, Sample, from_row
from imageref_ray.dataset import mixture
from imageref_ray.dataset.export import Origin, annotation, answer, export, insertion, make_target
from imageref_ray.stages import prompts

ROOT = Path("/data")
RESPONSE = "# Day\nOverview.\n### Harbour\nBoats came.\n### Market\nFish."
PACK = prompts.load_pack("compact")


def record(text: str = "Boats. [Image 0]\nFish.", id: str = "7", news: str = "n1", root: Path = ROOT) -> Record:
    images = tuple(Image(f"{news}/{k}.jpg", str(root / f"image/{news}/{k}.jpg"), "aa", 4, 4) for k in (0, 1))
    sample = Sample(id, "The day", (Document(news, "Title", text, images),))
    captions = (Caption(f"{news}/0.jpg", "boats", "Two boats."), Caption(f"{news}/1.jpg", "fish", "A [big] fish."))
    return Record(sample, RESPONSE, captions, (Placement(1), Placement(2, f"{news}/1.jpg"), Placement(3)))


def written(folder: Path, records: list[Record], root: Path = ROOT, **settings: Any) -> dict[str, str]:
    config = checked(ExportConfig, settings, "test")
    return export(
        folder / "dataset", lambda: iter(records), make_target(root, PACK, config), Origin({"fingerprint": "abc"})
    )


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def front_matter(path: str) -> dict[str, Any]:
    _, matter, _ = Path(path).read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(matter)
    return found


def test_the_answer_shows_the_placed_image_after_its_paragraph() -> None:
    assert answer(record(), "plain").splitlines()[3:6] == ["Boats came.", "IMAGE_2", "### Market"]
    assert "![A (big) fish.](IMAGE_2)" in answer(record(), "caption")


def test_image_tags_match_the_image_list_even_if_a_text_holds_one() -> None:
    tagged = Record(record("Boats. <image> [Image 0]").sample, RESPONSE + " <image>")
    row = annotation(tagged, "plain", ROOT, PACK)
    human, reply = (turn["value"] for turn in row["conversations"])
    assert row["image"] == ["image/n1/0.jpg", "image/n1/1.jpg"]
    assert human.count("<image>") == 2
    assert "IMAGE_1: <image>" in human
    assert reply.startswith("# Day") and "<image>" not in reply


def test_the_insertion_file_can_be_read_as_model_text() -> None:
    row = insertion(record())
    assert row["image_paths"] == ["n1/0.jpg", "n1/1.jpg"]
    chosen = {entry["position"]: entry["image"] for entry in json.loads(row["result"])["predictions"]}
    assert chosen == {"<Position 1>": "Not Insert", "<Position 2>": "IMAGE_2", "<Position 3>": "Not Insert"}


def test_parquet_gives_every_record_back(tmp_path: Path) -> None:
    records = [record(), Record(Sample("8", "empty"))]
    files = written(tmp_path, records)
    rows = pq.read_table(files["records"]).to_pylist()
    assert [from_row(Record, row) for row in rows] == records
    assert lines(files["captions"])[0]["caption"]["n1/0.jpg"] == "Two boats."


def test_only_what_is_configured_is_written_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    files = written(tmp_path, [record()], formats=["llava", "llava"])
    assert files.keys() == {"llava", "card"}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["README.md", "dataset", "llava.json"]
    assert len(json.loads(Path(files["llava"]).read_text(encoding="utf-8"))) == 1


def test_foreign_formats_say_the_same_in_their_own_words(tmp_path: Path) -> None:
    alone = Record(Sample("8", "No pictures", (Document("n2", "T", "Text."),)), RESPONSE)
    formats = ["caption", "messages", "sharegpt", "llava"]
    files = written(tmp_path, [record(), alone], formats=formats, variant="caption")
    ours = lines(files["caption"])
    human, reply = (turn["value"] for turn in ours[0]["conversations"])
    assert "![A (big) fish.](IMAGE_2)" in reply
    assert lines(files["messages"])[0] == {
        "id": "7",
        "messages": [{"role": "user", "content": human}, {"role": "assistant", "content": reply}],
        "images": ["image/n1/0.jpg", "image/n1/1.jpg"],
    }
    assert lines(files["sharegpt"])[0] == {
        "id": "7",
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": reply}],
        "images": ["image/n1/0.jpg", "image/n1/1.jpg"],
    }
    first, second = json.loads(Path(files["llava"]).read_text(encoding="utf-8"))
    assert first["image"] == ["image/n1/0.jpg", "image/n1/1.jpg"]
    assert "image" not in second and second["conversations"] == ours[1]["conversations"]
    register = json.loads((tmp_path / "dataset" / "dataset_info.json").read_text(encoding="utf-8"))
    assert register["messages"]["tags"]["assistant_tag"] == "assistant"
    assert register["sharegpt"]["columns"] == {"messages": "conversations", "images": "images"}


def test_a_single_llava_image_is_a_path_and_no_list(tmp_path: Path) -> None:
    whole = record()
    document = whole.sample.documents[0]
    one = Sample("7", "One", (Document("n1", "T", "Text. [Image 0]", document.images[:1]),))
    files = written(tmp_path, [Record(one, RESPONSE)], formats=["llava"])
    assert json.loads(Path(files["llava"]).read_text(encoding="utf-8"))[0]["image"] == "image/n1/0.jpg"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A root with the two pictures of `record`."""
    for k, colour in enumerate(("red", "blue")):
        path = tmp_path / "root" / f"image/n1/{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (8, 6), colour).save(path)
    return tmp_path / "root"


def test_embedded_images_are_the_files_and_the_schema_calls_them_images(tmp_path: Path, pictures: Path) -> None:
    gone = record(id="9", news="n9", root=pictures)
    files = written(tmp_path, [record(root=pictures), gone], pictures, formats=["parquet"], embed_images=True)
    table = pq.read_table(files["parquet"])
    (row,) = table.to_pylist()
    assert row["images"][0] == {"bytes": (pictures / "image/n1/0.jpg").read_bytes(), "path": "image/n1/0.jpg"}
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == {"feature": {"_type": "Image"}, "_type": "Sequence"}
    assert "1 samples are not in the Parquet file because an image file is missing (9)." in Path(
        files["card"]
    ).read_text(encoding="utf-8")


def test_hugging_face_datasets_reads_the_parquet_file_with_and_without_images(tmp_path: Path, pictures: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for embedded in (True, False):
        folder = tmp_path / f"out-{embedded}"
        folder.mkdir()
        files = written(folder, [record(root=pictures)], pictures, formats=["parquet"], embed_images=embedded)
        cache = str(folder / "cache")
        (row,) = datasets.load_dataset("parquet", data_files=files["parquet"], cache_dir=cache)["train"]
        assert row["conversations"][1]["from"] == "gpt"
        if embedded:
            assert [picture.size for picture in row["images"]] == [(8, 6), (8, 6)]
            assert row["images"][1].convert("RGB").getpixel((1, 1))[2] > 200
        else:
            assert row["images"] == ["image/n1/0.jpg", "image/n1/1.jpg"]


def test_the_mixture_file_is_a_mixture_for_training(tmp_path: Path) -> None:
    files = written(tmp_path, [record(), record(id="8", news="n2")])
    config = TrainConfig(model="m", output=tmp_path, mixture=Path(files["mixture"]))
    sets = mixture.entries(config)
    assert list(sets) == ["imageref", "imageref_captions"]
    assert (sets["imageref"].length, sets["imageref"].max_dynamic_patch) == (2, 1)
    drawn, skipped = mixture.draw(sets, config.max_tiles, seed=0)
    assert (len(drawn), skipped.total()) == (4, 0)
    assert drawn[0].images[0] == ROOT / "image/n1/0.jpg"


def test_a_mixture_of_nothing_is_refused() -> None:
    for settings in ({"formats": ["mixture", "llava"]}, {"split": {"test": 1}}):
        with pytest.raises(ConfigError, match="mixture lists training annotations; add plain or caption"):
            checked(ExportConfig, settings, "test")


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    alive: list[int] = []

    def read() -> Iterator[Record]:
        for number in range(600):
            alive.append(number)
            yield record(id=str(number), news=f"n{number}")

    config = ExportConfig(formats=("plain", "records"))
    files = export(tmp_path / "dataset", read, make_target(ROOT, PACK, config), Origin())
    assert len(alive) == 600  # one walk: without a split one is enough
    assert pq.ParquetFile(files["records"]).num_row_groups == 3
    assert [row["id"] for row in lines(files["plain"])] == [str(number) for number in range(600)]


def test_a_split_gives_every_format_a_file_a_split_and_the_mixture_trains_on_one(tmp_path: Path) -> None:
    records = [record(id=str(n), news=f"n{n}") for n in range(40)]
    split = {"train": 0.5, "test": 0.5}
    files = written(tmp_path, records, formats=["plain", "captions", "mixture", "records"], split=split)
    ids = {part: {row["id"] for row in lines(files[f"plain.{part}"])} for part in ("train", "test")}
    assert ids["train"] and ids["test"] and not ids["train"] & ids["test"]
    assert ids["train"] | ids["test"] == {str(n) for n in range(40)}
    assert {row["nid"][1:] for row in lines(files["captions.test"])} == ids["test"]
    assert files["plain.train"].endswith("annotation.plain.train.jsonl")
    (entry,) = json.loads(Path(files["mixture"]).read_text(encoding="utf-8")).values()
    assert (entry["annotation"], entry["length"]) == ("annotation.plain.train.jsonl", len(ids["train"]))
    configs = front_matter(files["card"])["configs"]
    assert configs[0]["data_files"] == [
        {"split": "train", "path": "annotation.plain.train.jsonl"},
        {"split": "test", "path": "annotation.plain.test.jsonl"},
    ]
    assert f"| samples | {len(ids['train'])} | {len(ids['test'])} | 40 |" in Path(files["card"]).read_text(
        encoding="utf-8"
    )


def test_a_split_without_any_event_is_reported_and_not_offered_to_readers(tmp_path: Path) -> None:
    files = written(tmp_path, [record()], formats=["plain", "mixture"], split={"train": 0.5, "test": 0.5})
    (empty,) = (part for part in ("train", "test") if not lines(files[f"plain.{part}"]))
    (filled,) = front_matter(files["card"])["configs"][0]["data_files"]
    assert filled["split"] != empty
    assert f"* The {empty} split is empty" in Path(files["card"]).read_text(encoding="utf-8")


def test_the_card_measures_its_limits(tmp_path: Path) -> None:
    bare = Record(record(id="8", news="n2").sample, RESPONSE)
    config = ExportConfig(license="cc-by-4.0")
    origin = Origin({"model": "a|b", "fingerprint": "abc"}, 2, {"MissingImage": 3})
    files = export(tmp_path / "dataset", lambda: [record(), bare], make_target(ROOT, PACK, config), origin)
    text = Path(files["card"]).read_text(encoding="utf-8")
    for line in (
        "| samples | 2 |",
        "| fingerprint | abc |",
        "| model | a\\|b |",
        "* 1 of 2 answers have no image.",
        "* 3 of 4 images are not placed in any answer.",
        "* 2 samples were left out because a stage failed (quarantine).",
        "* 3 × MissingImage while reading or building.",
    ):
        assert line in text.splitlines()
    matter = front_matter(files["card"])
    assert (matter["license"], matter["size_categories"]) == ("cc-by-4.0", ["n<1K"])
    assert matter["configs"][0] == {
        "config_name": "plain",
        "data_files": [{"split": "train", "path": "annotation.plain.jsonl"}],
        "default": True,
    }
    assert all((tmp_path / "dataset" / found["data_files"][0]["path"]).is_file() for found in matter["configs"])


@pytest.mark.parametrize(
    ("given", "matter", "says"),
    [
        ("", {"license": "unknown"}, "unknown: none was given"),
        ("No re-use", {"license": "other", "license_name": "no-re-use"}, "No re-use. Texts and images keep"),
    ],
)
def test_a_licence_is_stated_or_plainly_unknown(given: str, matter: dict[str, str], says: str, tmp_path: Path) -> None:
    files = written(tmp_path, [record()], license=given)
    found = front_matter(files["card"])
    assert {key: found[key] for key in found if key.startswith("license")} == matter
    assert says in Path(files["card"]).read_text(encoding="utf-8")


def test_the_build_config_takes_export_settings_and_refuses_unknown_formats(tmp_path: Path) -> None:
    values = {"source": {"root": str(tmp_path)}, "output": "o", "engine": {"model": "m"}}
    made = checked(BuildConfig, {**values, "export": {"formats": ["messages"], "split": {"train": 1}}}, "test")
    assert made.export.split is not None and made.export.formats == ("messages",)
    with pytest.raises(ConfigError, match=r"export\.formats\.0"):
        checked(BuildConfig, {**values, "export": {"formats": ["coco"]}}, "test")
