"""Every way to break the reference contract is found, in every format, with its line, and good files pass."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imageref_ray.commands.cli import main
from imageref_ray.core.config import ConfigError, ExportConfig, Format
from imageref_ray.core.json_files import json_list
from imageref_ray.core.records import Caption, Document, Image, Placement, Record, Sample, to_row
from imageref_ray.dataset.check import Finding, Report, check, summary_lines
from imageref_ray.dataset.check.read import values
from imageref_ray.dataset.export import Origin, export, make_target
from imageref_ray.picturenews import corpus
from imageref_ray.stages import prompts

ASKED = "Which boats?\nIMAGE_1: <image>\nIMAGE_2: <image>"
ANSWER = "# Boats\nTwo red boats.\nIMAGE_1\n### Kite\nA blue kite.\n![the kite](IMAGE_2)"


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]


def row(answer: str = ANSWER, asked: str = ASKED, **other: Any) -> dict[str, Any]:
    return {"id": "7", "image": ["n/0.jpg", "n/1.jpg"], "conversations": turns(asked, answer), **other}


def jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in rows))
    return path


def found(path: Path, root: Path | None = None) -> list[tuple[int, str]]:
    return [(finding.line, finding.kind) for finding in check(path, root).findings]


@pytest.mark.parametrize(
    ("broken", "kind", "says"),
    [
        (row("# T\nText.\nIMAGE_3"), "exists", "the sample has 2 images"),
        (row("# T\nIMAGE_1\nText."), "slot", "right after a paragraph"),
        (row("# T\nText.\nIMAGE_1\nMore.\nIMAGE_1"), "once", "(n/0.jpg) was used before"),
        (row("# T\nText.\n![x](http://a/b.png)"), "source", "not one of the sample's images"),
        (row(asked="One <image> only?"), "tags", "1 <image> tags for 2 images"),
        (row(ANSWER + "\n<image>"), "tags", "an answer has a <image> tag"),
        (row(asked="IMAGE_1: <image> IMAGE_3: <image>"), "labels", "numbers its images 1, 3; use each of 1 to 2 once"),
        (row("  "), "empty", "an answer is empty"),
        (row(conversations=turns("<image><image>")), "turns", "do not alternate from user to assistant: user"),
        (row(conversations=turns(ASKED, "A.", "And?")), "turns", "user, assistant, user"),
        (row(conversations=[{"from": "robot", "value": "x"}]), "shape", "a turn is by 'robot'; use one of human"),
        (row(conversations=[{"from": "gpt"}]), "shape", "contains NoneType, not text"),
        (row(conversations="text"), "shape", "has no turns; expected"),
        (row(image=[1, 2]), "shape", "an image is '1', not a path"),
        ([1, 2], "shape", "contains list"),
        ("{half", "json", "not valid JSON"),
    ],
)
def test_every_breach_is_found_on_its_line(broken: Any, kind: str, says: str, tmp_path: Path) -> None:
    report = check(jsonl(tmp_path, row(id="good"), broken))
    assert [(finding.line, finding.kind) for finding in report.findings] == [(2, kind)]
    assert says in report.findings[0].message


@pytest.mark.parametrize(
    "good",
    [
        row(),
        row(asked="IMAGE_2: <image> IMAGE_1: <image>"),
        row(asked="Unnumbered: <image><image>"),
        row("Only text."),
        {"image": "n/0.jpg", "conversations": turns("A single image without a tag?", "Yes.")},
        {"id": 3, "conversations": turns("Text?", "Text.", "More?", "More.")},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED},
                      {"role": "assistant", "content": ANSWER}], "images": ["a.jpg", {"path": "b.jpg"}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
                      {"role": "assistant", "content": [{"type": "text", "text": "A boat."}]}], "images": ["a.jpg"]},
    ],
)  # fmt: skip
def test_what_trainers_take_passes(good: dict[str, Any], tmp_path: Path) -> None:
    assert found(jsonl(tmp_path, good)) == []


def test_one_image_under_two_numbers_counts_as_used_twice_whatever_the_order_of_the_tags(tmp_path: Path) -> None:
    mixed = row("# T\nText.\nIMAGE_1\nMore.\nIMAGE_2", "IMAGE_2: <image> IMAGE_1: <image> IMAGE_3: <image>")
    mixed["image"] = ["n/0.jpg", "n/1.jpg", "n/0.jpg"]  # IMAGE_2 and IMAGE_3 are the same file
    assert found(jsonl(tmp_path, mixed)) == []
    mixed["conversations"][1]["value"] = "# T\nText.\nIMAGE_3\nMore.\nIMAGE_2"
    assert found(jsonl(tmp_path, mixed)) == [(1, "once")]


def test_ids_may_not_come_twice_but_may_be_absent(tmp_path: Path) -> None:
    nameless = {"conversations": turns("Q", "A")}
    report = check(jsonl(tmp_path, row(), nameless, nameless, row(id=7), row(id=7)))
    assert [(finding.line, finding.message) for finding in report.findings] == [
        (4, "line 1 has the same id"),
        (5, "line 1 has the same id"),
    ]


def test_picture_files_are_opened_under_the_root(tmp_path: Path) -> None:
    (tmp_path / "n").mkdir()
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "n/0.jpg")
    good = row(image=["n/0.jpg", str(tmp_path / "n/0.jpg")], asked="<image><image>")
    path = jsonl(tmp_path, good, row(id="8"), row(id="9", image=["n/text.jpg", "https://elsewhere/x.jpg"]))
    (tmp_path / "n/text.jpg").write_text("no picture")
    report = check(path, tmp_path)
    assert [(finding.line, finding.kind) for finding in report.findings] == [(2, "file"), (3, "file")]
    assert report.findings[0].message == f"{tmp_path}/n/1.jpg does not exist"
    assert "is not an image of a known format" in report.findings[1].message
    assert (report.images, report.unchecked) == (6, 1)
    assert check(path).unchecked == 5  # an absolute path needs no root


def records(root: Path) -> list[Record]:
    made = []
    for number in range(3):
        image = Image(f"n{number}/0.png", str(root / f"n{number}/0.png"), "aa", 4, 4)
        (root / f"n{number}").mkdir(parents=True)
        PIL.Image.new("RGB", (4, 4)).save(image.uri)
        sample = Sample(str(number), "Boats?", (Document(f"n{number}", "Title", "Boats. [Image 0]", (image,)),))
        caption = Caption(image.id, "boats", "Two boats.")
        made.append(Record(sample, "# Day\nBoats came.", (caption,), (Placement(1, image.id),)))
    return made


ALL: tuple[Format, ...] = ("plain", "caption", "messages", "sharegpt", "llava", "parquet", "records", "mixture")


def exported(folder: Path, made: list[Record], formats: tuple[Format, ...] = ALL) -> Path:
    to = make_target(folder / "root", prompts.load_pack("compact"), ExportConfig(formats=formats, embed_images=True))
    export(folder / "dataset", lambda: made, to, Origin())
    return folder / "dataset"


def test_everything_we_export_is_clean_and_its_images_are_found_without_being_told_where(tmp_path: Path) -> None:
    dataset = exported(tmp_path, records(tmp_path / "root"))
    checked = [path for path in sorted(dataset.iterdir()) if path.name not in {"README.md", "mixture.json"}]
    reports = {path.name: check(path) for path in checked if path.name != "dataset_info.json"}
    assert len(reports) == 7
    assert {name: report.kinds for name, report in reports.items() if report.kinds} == {}
    assert {(report.samples, report.images, report.unchecked) for report in reports.values()} == {(3, 3, 0)}


def test_the_embedded_corpus_keeps_the_contract(tmp_path: Path) -> None:
    corpus.write(tmp_path, 2, 5)
    report = check(tmp_path / "annotation.caption.jsonl", tmp_path)
    assert summary_lines(report) == [
        f"{tmp_path}/annotation.caption.jsonl: 2 samples, {report.images} images: the reference contract holds"
    ]


def test_our_records_must_trace_every_image_back(tmp_path: Path) -> None:
    first, second, third = records(tmp_path / "root")
    image = second.sample.images[0]
    document = Document("n1", "T", "Boats.", (Image(image.id, image.uri),))
    untraced = Record(Sample("1", "?", (document,)), second.response, (), second.placements)
    unknown = Record(third.sample, third.response, (), (Placement(1, "n9/0.png"),))
    dataset = exported(tmp_path / "ours", [first, untraced])
    lines = exported(tmp_path / "lines", [first, untraced], ("plain", "records")) / "records.jsonl"
    for file in (dataset / "records.parquet", lines):
        report = check(file)
        assert [(finding.line, finding.id, finding.kind) for finding in report.findings] == [(2, "1", "source")]
    table = pq.read_table(dataset / "records.parquet").schema
    pq.write_table(pa.Table.from_pylist([to_row(first), to_row(unknown)], schema=table), tmp_path / "r.parquet")
    assert found(tmp_path / "r.parquet") == [(2, "exists")]


@pytest.mark.parametrize("chunk", [1, 7, 100, 2**20])
def test_a_json_list_is_read_piece_by_piece_with_line_numbers(chunk: int, tmp_path: Path) -> None:
    path = tmp_path / "llava.json"
    rows = [row(id=n, asked="é<image><image> [], {}") for n in range(60)]
    whole = json.dumps(rows, indent=2, ensure_ascii=False)
    path.write_text("\n" + whole, encoding="utf-8")
    begins = [n for n, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if line == "  {"]
    assert list(values(json_list(path, chunk))) == list(zip(begins, rows, strict=True))
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    *read, (_, last) = values(json_list(path, chunk))
    assert [value for _, value in read] == rows[: len(read)] and len(read) >= 20
    assert isinstance(last, Finding) and last.message.startswith("not valid JSON from here on")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.jsonl", None, "gone.jsonl does not exist"),
        ("a.jsonl", b"", "has no sample: empty"),
        ("a.jsonl", b'{"nid": "1", "caption": {}}\n', "has no sample: line 1 has no turns"),
        ("a.json", b'[{"id": "\xff\xfe"}]', "is not UTF-8"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
        ("a.json", b'{\n "name": 1\n}', "has no sample: line 1 not valid JSON"),
    ],
)
def test_what_is_not_an_annotation_file_is_refused(
    name: str, content: bytes | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["check", str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().err


def test_a_root_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--root .* is not a folder"):
        check(jsonl(tmp_path, row()), tmp_path / "nowhere")


def test_the_command_prints_the_first_breaches_the_counts_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path, *(row("", id=n) for n in range(4)), row("# T\nIMAGE_1\nT.", id="last"))
    assert main(["check", str(path), "--first", "2"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}:1: 0: an answer is empty",
        f"{path}:2: 1: an answer is empty",
        f"{path}: 5 samples, 10 images: 5 breaches (4 empty, 1 slot), the first 2 shown "
        "(10 images not checked: give their folder with --root)",
    ]
    assert main(["check", str(jsonl(tmp_path, row(image=[], asked="?", answer="Yes.")))]) == 0
    assert capsys.readouterr().out == f"{path}: 1 samples, 0 images: the reference contract holds\n"


def test_the_report_is_a_value() -> None:
    report = Report(Path("a"), 1, 2, 0, {"slot": 3}, ())
    assert summary_lines(report) == ["a: 1 samples, 2 images: 3 breaches (3 slot), the first 0 shown"]
