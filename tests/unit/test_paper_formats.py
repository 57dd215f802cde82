"""The paper's evaluation files: what is written reads back, and every flaw is named with its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.config import ConfigError
from imageref_ray.core.files import read_csv
from imageref_ray.core.records import Image
from imageref_ray.dataset.paper_formats import (
    Insertion,
    insertion,
    read_answers,
    read_insertions,
    read_labels,
    read_questions,
    write_insertions,
    write_labels,
)

LABELS = """paasEventID,image_map,result
17,"{'k1': '5/0.jpg', 2: 'image/6/1.png'}",\
"{'<Position 1>': {'1': [], '2': ['k1'], '3': [2], '0': ['zz']}, '<Position 3>': {}}"
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_resolve_keys_to_image_ids_and_keep_empty_slots(tmp_path):
    assert read_labels(write(tmp_path / "label.csv", LABELS)) == {"17": {1: {"5/0.jpg": 2, "6/1.png": 3}, 3: {}}}


def test_cells_may_be_json(tmp_path):
    images, result = {"k1": "http:\\/\\/x\\/5\\/0.jpg"}, {"<Position 1>": {"3": ["k1"]}, "<Position 2>": {"1": []}}
    cells = [json.dumps(images).replace("\\\\", "\\"), json.dumps(result)]
    row = ",".join(["17", *('"' + cell.replace('"', '""') + '"' for cell in cells)])
    labels = read_labels(write(tmp_path / "label.csv", f"paasEventID,image_map,result\n{row}\n"))
    assert labels == {"17": {1: {"5/0.jpg": 3}, 2: {}}}


def test_an_image_in_several_groups_of_a_slot_counts_by_its_best(tmp_path):
    text = LABELS.replace("'2': ['k1'], '3': [2]", "'3': ['k1'], '2': ['k1']")
    assert read_labels(write(tmp_path / "label.csv", text)) == {"17": {1: {"5/0.jpg": 3}, 3: {}}}


images = st.integers(0, 9).map(lambda k: f"12/{k}.jpg")


def test_spaces_around_the_names_of_columns_are_no_part_of_them(tmp_path):
    text = LABELS.replace("paasEventID,image_map,result", " paasEventID , image_map,result ")
    assert read_labels(write(tmp_path / "label.csv", text)) == read_labels(write(tmp_path / "l.csv", LABELS))


def test_labels_may_begin_with_two_marks_and_their_texts_are_text(tmp_path):
    half = LABELS.replace("5/0.jpg", "5\\ud83d/0.jpg")  # an escape of Python's in the cell
    assert half != LABELS
    assert read_labels(write(tmp_path / "l.csv", f"\ufeff\ufeff{half}"))["17"][1] == {"5\ufffd/0.jpg": 2, "6/1.png": 3}


@given(
    st.dictionaries(
        st.integers(1, 10**6).map(str),
        st.dictionaries(st.integers(1, 6), st.dictionaries(images, st.integers(1, 3))),
    )
)
def test_labels_survive_writing(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("labels") / "label.csv"
    write_labels(path, labels)
    assert read_labels(path) == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paasEventID,result\n", "column image_map is missing"),
        (
            LABELS.replace("'5/0.jpg'", "__import__('os')"),
            "line 2: column image_map is not a Python literal (it has names or calls)",
        ),
        (LABELS.replace("['k1']", "['k9']"), "line 2: <Position 1> names 'k9', which is not in image_map"),
        (LABELS.replace("<Position 3>", "<Position x>"), "line 2: result contains '<Position x>'"),
        (LABELS + LABELS.split("\n")[1], "line 3: event 17 is repeated"),
        (LABELS.replace("17,", ","), "line 2: paasEventID is empty"),
        (LABELS.replace("['k1']", "'k1'"), "grade 2 contains 'k1', not a list"),
        (
            LABELS.replace("<Position 3>", "<Position 0>"),
            "line 2: result contains '<Position 0>'; positions count from 1",
        ),
        (LABELS.replace("<Position 3>", f"<Position {'9' * 5000}>"), "line 2: result contains '<Position 999"),
        (
            LABELS.replace("'1': []", f"{'9' * 5000}: []"),
            "line 2: column result is not a Python literal (Exceeds the limit",
        ),
        (
            LABELS.replace("'1': []", f"0x{'f' * 5000}: []"),
            "line 2: column result is not a Python literal (Exceeds the limit",
        ),
        (LABELS.replace(",", ";"), "separated by commas"),
        (LABELS.replace("<Position 3>", "<Position 1>"), "line 2: column result gives the key '<Position 1>' twice"),
        (LABELS.replace("'3': [2]", "'2': [2]"), "line 2: column result gives the key '2' twice"),
        (LABELS.replace("'3': [2]", "2: [2]"), "line 2: column result gives the key '2' twice"),
        (LABELS.replace("'k1':", "'2':"), "line 2: column image_map gives the key '2' twice"),
        (LABELS.replace("'5/0.jpg'", "None"), "line 2: image_map names no image for 'k1'"),
        ("", "column paasEventID, image_map, result is missing"),
    ],
)
def test_a_flawed_label_file_is_named_by_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read_labels(write(tmp_path / "label.csv", text))
    assert message in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_in_the_encoding_that_its_byte_order_mark_names(tmp_path, encoding, newline):
    path = tmp_path / "label.csv"
    path.write_bytes(LABELS.replace("6/1.png", "café/1.png").replace("\n", newline).encode(encoding))
    assert read_labels(path) == {"17": {1: {"5/0.jpg": 2, "café/1.png": 3}, 3: {}}}
    path.write_bytes(f"{annotation()}{newline}{annotation(id=5)}".encode(encoding))
    assert list(read_questions(path, tmp_path)) == ["4", "5"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", "line 2: byte 0xe9 is not UTF-8, perhaps Windows-1252 or GBK; save the file as UTF-8"),
        ("gbk", "line 2: byte 0xa8 is not UTF-8, perhaps Windows-1252 or GBK; save the file as UTF-8"),
        ("utf-16-le", "has NUL bytes, as UTF-16 without a byte order mark has"),
    ],
)
def test_any_other_encoding_is_named_with_the_line(tmp_path, encoding, message):
    path = tmp_path / "label.csv"
    path.write_bytes(LABELS.replace("6/1", "caf\u00e9/1").encode(encoding))
    with pytest.raises(ConfigError) as error:
        read_labels(path)
    assert message in str(error.value)


def test_a_cell_may_be_as_large_as_it_is(tmp_path):
    images = {f"k{k}": f"https://cdn.example.org/{'x' * 200}/9/{k}.jpg" for k in range(1000)}
    text = f"paasEventID,image_map,result\n1,\"{images!r}\",\"{{'<Position 1>': {{'3': ['k7']}}}}\"\n"
    assert read_labels(write(tmp_path / "label.csv", text)) == {"1": {1: {"9/7.jpg": 3}}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,rating\n1,2,3\n", "line 2: more cells than the 2 columns; write cells with commas between quotes"),
        ("id,rating,id\n1,2,3\n", "line 1: two columns are named id; rename one of them"),
        ('id,rating\n1,"2\n', "line 2: not a row of a CSV file (unexpected end of data)"),
        ('id,rating\n1,"2"3\n', "line 2: not a row of a CSV file"),
        ("id,rating\n1,2\n2,\0\n", "line 3: has NUL bytes"),
    ],
)
def test_a_csv_file_loses_no_cell_without_a_word(tmp_path, text, says):
    with pytest.raises(ConfigError) as error:
        read_csv(write(tmp_path / "a.csv", text))
    assert says in str(error.value)


def test_empty_cells_beyond_the_columns_are_none(tmp_path):
    names, rows = read_csv(write(tmp_path / "a.csv", "id,rating,,\n1,2,,,,\n\n2\n"))
    assert [(line, row["id"], row["rating"]) for line, row in rows] == [(2, "1", "2"), (4, "2", "")]
    assert list(names)[:2] == ["id", "rating"]


damage = st.sampled_from(['"', "'", "}", "\n", "\0", "\\d", "9" * 5000, "0x" + "f" * 5000, "[" * 300, "é", "\u2028"])


@given(st.floats(0, 1), damage, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "gbk"]))
def test_any_damage_to_a_file_is_read_or_told_in_one_line(tmp_path_factory, place, damage, encoding):
    path = tmp_path_factory.mktemp("damaged") / "file"
    for read, text in (
        (read_labels, LABELS),
        (read_answers, '{"id": 1, "result": "# A"}'),
        (lambda path: [item.images for item in read_questions(path, path.parent).values()], annotation()),
    ):
        at = round(place * len(text))
        path.write_bytes((text[:at] + damage + text[at:]).encode(encoding, "replace"))
        try:
            read(path)
        except ConfigError as error:
            assert "\n" not in str(error)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; give the path of the label CSV"):
        read_labels(tmp_path)
    for read in (read_labels, read_insertions):
        with pytest.raises(ConfigError, match=r"nowhere does not exist; give the path"):
            read(tmp_path / "nowhere")


def test_insertions_survive_writing(tmp_path):
    items = [Insertion("1", ("5/0.jpg",), '{"predictions": []}\u2028é'), Insertion("2", (), "")]
    write_insertions(tmp_path / "insertion.jsonl", items)
    assert list(read_insertions(tmp_path / "insertion.jsonl").values()) == items


def test_a_placement_is_written_with_every_slot():
    written = insertion("1", ("5/0.jpg", "5/1.jpg"), {2: "5/1.jpg"}, slots=2)
    assert json.loads(written.result) == {
        "predictions": [
            {"position": "<Position 1>", "image": "Not Insert"},
            {"position": "<Position 2>", "image": "IMAGE_2"},
        ]
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2: contains list"),
        ('{"image_paths": [], "result": ""}', "line 2: event_id is None"),
        ('{"event_id": "2", "image_paths": [3], "result": ""}', "line 2: image_paths is not a list of strings"),
        ('{"event_id": 1, "image_paths": [], "result": ""}', "line 2: id 1 is repeated"),
    ],
)
def test_a_flawed_insertion_file_is_named_by_line(tmp_path, line, message):
    good = '{"event_id": "1", "image_paths": ["5/0.jpg"], "result": ""}'
    with pytest.raises(ConfigError) as error:
        read_insertions(write(tmp_path / "insertion.jsonl", f"{good}\n{line}\n"))
    assert message in str(error.value)


def annotation(**changes):
    human = "Tell it.\n# A\nIMAGE_1: <image>\ntext"
    row = {
        "id": 4,
        "image": ["image/5/0.jpg"],
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": "# A\nIMAGE_1"}],
    }
    return json.dumps({**row, **changes})


def test_a_question_holds_its_images_where_the_tags_stood(tmp_path):
    question = read_questions(write(tmp_path / "test.jsonl", annotation()), tmp_path)["4"]
    picture = Image("5/0.jpg", str(tmp_path / "image/5/0.jpg"))
    assert question.prompt == ("Tell it.\n# A\nIMAGE_1: ", picture, "\ntext")
    assert question.reference == "# A\nIMAGE_1"
    assert question.images == (picture,)
    assert question.text == "Tell it.\n# A\ntext"


def test_answers_are_read_by_id_and_null_is_an_empty_one(tmp_path):
    lines = '{"id": 4, "result": "# A\\n\\nB"}\n\n{"id": "x", "result": null, "more": 1}\n'
    assert read_answers(write(tmp_path / "answers.jsonl", lines)) == {"4": "# A\n\nB", "x": ""}


def test_urls_and_absolute_paths_are_kept(tmp_path):
    paths = ["https://example.org/image/5/0.jpg"]
    question = read_questions(write(tmp_path / "test.jsonl", annotation(image=paths)), tmp_path)["4"]
    assert question.images == (Image("5/0.jpg", paths[0]),)


TURNS = [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "# A"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": []}, "line 1: 1 <image> tags for 0 images"),
        ({"image": [1]}, "line 1: an image is not a path"),
        ({"conversations": []}, "line 1: not an annotation line; expected an id and two conversation turns"),
        ({"id": None}, "line 1: expected an id and two conversation turns"),
        ({"conversations": TURNS[::-1]}, "line 1: the first turn is the model's; expected an id and two conversation"),
        ({"conversations": [*TURNS, TURNS[0]]}, "line 1: expected an id and two conversation turns"),
        ({"conversations": [*TURNS, "x"]}, "line 1: not an annotation line; expected an id and two"),
        ({"video": "v.mp4"}, "line 1: video is not read"),
    ],
)
def test_a_flawed_annotation_file_is_named_by_line(tmp_path, changes, message):
    with pytest.raises(ConfigError) as error:
        read_questions(write(tmp_path / "test.jsonl", annotation(**changes)), tmp_path)
    assert message in str(error.value)


def test_images_are_numbered_by_their_labels(tmp_path):
    def ids(human):
        turns = [{"from": "human", "value": human}, {"from": "gpt", "value": "# T\nB"}]
        row = {"id": "7", "image": ["n/1.png", "n/0.png"], "conversations": turns}
        found = read_questions(write(tmp_path / "data.jsonl", json.dumps(row)), tmp_path)["7"]
        return [image.id for image in found.images]

    assert ids("Tell.\nIMAGE_2: <image>\ntext IMAGE_1: <image>") == ["n/0.png", "n/1.png"]
    assert ids("Tell.\n<image>\nIMAGE_1: <image>") == ["n/1.png", "n/0.png"]
