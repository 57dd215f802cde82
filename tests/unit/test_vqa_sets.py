"""Pictures to ask about and annotated questions: every shape is read, every lack has one clear line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from imageref_ray.core.config import ConfigError
from imageref_ray.core.records import Answer, Failure, Image, VisualQuestion
from imageref_ray.sources import image_sets, vqa_sets

ROOT = Path("/coco")
TEN = ["cat"] * 7 + ["dog", "dog", "cow"]


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        write(root / name, "")
    return root


def parted(found: Iterable[Any]) -> tuple[list[Any], list[Failure]]:
    items = list(found)
    return [i for i in items if not isinstance(i, Failure)], [i for i in items if isinstance(i, Failure)]


def test_coco_ids_are_twelve_digits_and_other_names_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "train2017/000000000009.jpg", "val/COCO_val2014_000000000042.jpg", "cover.png", "list.json")
    images, failures = parted(image_sets.read("coco", tmp_path))
    assert [image.id for image in images] == ["000000000009", "000000000042"]
    assert images[0].uri == str(tmp_path / "train2017/000000000009.jpg")
    assert [(f.record_id, f.error) for f in failures] == [("cover.png", "UnknownName")]
    assert "not named like 000000000139.jpg" in failures[0].message


def test_objects365_ids_keep_their_version(tmp_path: Path) -> None:
    touch(tmp_path, "patch1/objects365_v1_00000007.jpg", "patch2/objects365_v2_00000007.jpg")
    images, failures = parted(image_sets.read("objects365", tmp_path))
    assert [image.id for image in images] == ["objects365_v1_00000007", "objects365_v2_00000007"] and not failures


def test_an_image_id_met_twice_is_reported_and_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "train2017/000000000009.jpg", "val2017/000000000009.jpg")
    images, failures = parted(image_sets.read("coco", tmp_path))
    assert len(images) == 1
    assert [(f.record_id, f.error) for f in failures] == [("000000000009", "RepeatedImage")]
    assert "val2017" in failures[0].message and "train2017" in failures[0].message


def test_a_folder_is_read_by_path_whatever_the_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.PNG", "a.webp", "notes.txt", "b/000000000009.jpg")
    images, failures = parted(image_sets.read("folder", tmp_path))
    assert [image.id for image in images] == ["a.webp", "b/000000000009.jpg", "b/1.PNG"] and not failures


def test_a_published_tree_is_read_with_all_that_lies_beside_the_images(tmp_path: Path) -> None:
    touch(tmp_path, "coco/annotations/instances_train2017.json", "coco/annotations/a.jpg.txt", "coco/.DS_Store")
    touch(tmp_path, "coco/train2017/000000000139.JPG", "coco/train2017/._000000000139.JPG", "coco/.cache/1.jpg")
    touch(tmp_path, "elsewhere/000000000285.jpg", "coco/train2017/Thumbs.db")
    (tmp_path / "coco/val2017").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "coco/again").symlink_to(tmp_path / "coco")
    (tmp_path / "coco/train2017/000000000632.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "coco")
    for root in (tmp_path / "coco", tmp_path / "link"):
        images, failures = parted(image_sets.read("coco", root))
        names = [(image.id, str(Path(image.uri).relative_to(root))) for image in images]
        assert names == [
            ("000000000139", "train2017/000000000139.JPG"),
            ("000000000632", "train2017/000000000632.jpg"),  # it will be reported when it is opened
            ("000000000285", "val2017/000000000285.jpg"),
        ]
        assert not failures


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def denied(place: Any) -> Any:
        if Path(place).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", denied)
    images, failures = parted(image_sets.read("folder", tmp_path))
    assert [image.id for image in images] == ["b/2.png"]
    assert [(f.record_id, f.error) for f in failures] == [("a", "UnreadableFolder")]
    assert failures[0].message == f"{tmp_path / 'a'} cannot be listed: Permission denied"


def test_a_file_whose_name_is_no_text_is_reported(tmp_path: Path) -> None:
    for name in (b"a.png", b"caf\xe9.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    images, failures = parted(image_sets.read("folder", tmp_path))
    assert [image.id for image in images] == ["a.png"]
    assert [(f.record_id, f.error) for f in failures] == [("caf\ufffd.png", "UnreadableName")]


def test_a_manifest_may_name_addresses(tmp_path: Path) -> None:
    names = ["https://a.example/1.jpg?b=c", "s3://b/train2017/000000000009.jpg", "gs://b/2.png", "file:///x/3.png"]
    path = write(tmp_path / "m.jsonl", "\n".join(json.dumps({"image": name}) for name in names))
    images, failures = parted(image_sets.read("manifest", path, frozenset({"000000000009"})))
    assert [(image.id, image.uri) for image in images] == [(name, name) for name in names if "009" not in name]
    assert not failures


def test_a_manifest_names_images_and_its_bad_lines_are_reported(tmp_path: Path) -> None:
    lines = ['{"image": "x/1.png"}', "", '{"image": "2.png", "id": "two"}', "{", '{"path": "3.png"}', "[1]"]
    images, failures = parted(image_sets.read("manifest", write(tmp_path / "m.jsonl", "\n".join(lines))))
    assert images == [Image("x/1.png", str(tmp_path / "x/1.png")), Image("two", str(tmp_path / "2.png"))]
    assert [(f.record_id, f.error) for f in failures] == [
        ("m.jsonl:4", "BrokenLine"),
        ("m.jsonl:5", "MissingKey"),
        ("m.jsonl:6", "MissingKey"),
    ]
    assert 'key image is missing; write {"image": "path"' in failures[1].message


@pytest.mark.parametrize(
    ("kind", "says"),
    [("coco", "has no image 000000000139.jpg"), ("folder", "has no image of a known format")],
)
def test_an_empty_folder_is_refused(kind: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        list(image_sets.read(kind, tmp_path))
    with pytest.raises(ConfigError, match="does not exist"):
        list(image_sets.read(kind, tmp_path / "gone"))


def test_excluded_images_are_left_out_however_their_ids_are_written(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{k:012d}.jpg" for k in range(1, 7)))
    listed = write(
        tmp_path / "a.json",
        [1, "2", "COCO_train2014_000000000003.jpg", {"image_id": 4}, {"image": "x/000000000005.jpg"}],
    )
    images, _ = parted(image_sets.read("coco", tmp_path, image_sets.read_exclusions(listed)))
    assert [image.id for image in images] == ["000000000006"]
    coco = {"info": {}, "images": [{"id": 2, "file_name": "000000000002.jpg"}], "annotations": [{"image_id": 3}]}
    assert image_sets.read_exclusions(write(tmp_path / "c.json", coco)) == {"000000000002"}
    objects = {"images": [{"id": 900001, "file_name": "images/v2/patch16/objects365_v2_00900001.jpg"}]}
    assert image_sets.read_exclusions(write(tmp_path / "d.json", objects)) == {"objects365_v2_00900001"}
    asked = {"annotations": [{"image_id": 3, "question_id": 31}]}
    assert image_sets.read_exclusions(write(tmp_path / "e.json", asked)) == {"000000000003"}
    lines = write(tmp_path / "b.txt", "1\n\nobjects365_v2_00000007.jpg\nmy/own.png\n")
    assert image_sets.read_exclusions(lines) == {"000000000001", "objects365_v2_00000007", "my/own.png"}


@pytest.mark.parametrize(
    "content",
    [
        "\"9\"\r\n'8'",
        "9\r8\r",
        '{"image_id": 9}\n\n{"image": "x/000000000008.jpg"}\n',
        [{"image_id": None, "image": "000000000009.jpg"}, {"id": 5, "file_name": "000000000008.jpg"}],
        {"images": [], "annotations": [{"image_id": 9}, {"image_id": 8.0}]},
        {"images": [{"file_name": None, "id": 9}, {"file_name": "", "id": 8}]},
        {"images": None, "questions": [{"image_id": 9}, {"image_id": "8"}]},
    ],
)
def test_a_list_of_any_shape_leaves_out_the_same_images(content: Any, tmp_path: Path) -> None:
    assert image_sets.read_exclusions(write(tmp_path / "x", content)) == {"000000000008", "000000000009"}


def test_a_list_that_leaves_out_nothing_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "000000000001.jpg")
    images, (failure,) = parted(image_sets.read("coco", tmp_path, frozenset({"000000000001 x", "000000000002"})))
    assert [image.id for image in images] == ["000000000001"]
    told = f"none of the 2 ids to leave out (e.g. 000000000001 x) is an image of {tmp_path}"
    assert (failure.error, failure.message, failure.item) == ("NothingExcluded", told, "exclude")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1,", "not valid JSON"),
        ("[1, [2]]", r"entry 1 is \[2\], not the id of an image"),
        ("139,a.jpg\n140,b.jpg\n", r"line 1: 139,a\.jpg is not one id; write one id per line, or a JSON list"),
        ("139\na.jpg\t0\n", r"line 2: a\.jpg 0 is not one id"),
        ('{"image_id": 9}\n{"image_id": 1', r"line 2: not valid JSON .*perhaps it was cut off"),
        ('{"image_id": 9}\n{"id": 1}', "entry 1 is"),
        ("{}", "none of the lists images"),
        ('[{"a": 1}]', "entry 0 is"),
    ],
)
def test_a_broken_exclusion_list_is_refused(content: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        image_sets.read_exclusions(write(tmp_path / "x.json", content))
    with pytest.raises(ConfigError, match=r"exclusion list .* does not exist"):
        image_sets.read_exclusions(tmp_path / "gone")


def test_a_llava_conversation_is_one_question_a_pair_of_turns(tmp_path: Path) -> None:
    turns = [("human", "<image>\nWhat is it?"), ("gpt", "A cat."), ("human", "Why?"), ("gpt", "It purrs.")]
    entry = {"id": "9", "image": "000000000009.jpg", "conversations": [{"from": f, "value": v} for f, v in turns]}
    found, failures = parted(vqa_sets.read_llava(write(tmp_path / "c.json", [entry]), ROOT, "conversation"))
    image = Image("000000000009", "/coco/000000000009.jpg")
    assert found == [
        VisualQuestion("9:0", image, "conversation", "What is it?", (Answer("A cat."),)),
        VisualQuestion("9:1", image, "conversation", "Why?", (Answer("It purrs."),)),
    ]
    assert not failures


def test_broken_conversations_cost_only_themselves(tmp_path: Path) -> None:
    def entry(*turns: tuple[str, str], **more: Any) -> dict[str, Any]:
        return {"id": "1", "image": "1.jpg", "conversations": [{"from": f, "value": v} for f, v in turns], **more}

    good = entry(("human", "Q"), ("gpt", "A"), id="good")
    bad = [
        entry(("human", "Q")),
        entry(("gpt", "A"), ("human", "Q")),
        entry(("human", "<image>"), ("gpt", "A")),
        entry(("human", "Q"), ("gpt", "A"), image=None),
        {"id": "1", "image": "1.jpg"},
        7,
        good,
    ]
    found, failures = parted(vqa_sets.read_llava(write(tmp_path / "c.json", [good, *bad]), ROOT, "detail"))
    assert [question.id for question in found] == ["good:0", "good#7:0"]
    assert [f.error for f in failures] == [
        *("BrokenEntry", "BrokenEntry", "BrokenEntry", "MissingKey", "MissingKey", "BrokenEntry")
    ]
    assert failures[0].message == "c.json[1]: turns are from ['human']; expected human and gpt alternating"


def test_repeated_ids_of_llava_are_all_kept_under_ids_that_say_which_entry_they_are(tmp_path: Path) -> None:
    def entry(id: str, answer: str) -> dict[str, Any]:
        turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": answer}]
        return {"id": id, "image": "9.jpg", "conversations": turns}

    entries = [entry("9", "a"), entry("9", "b"), entry("9#3", "c"), entry("9", "d"), entry("9#3", "e")]
    found, failures = parted(vqa_sets.read_llava(write(tmp_path / "c.json", entries), ROOT, "conversation"))
    assert [(q.id, q.answers[0].text) for q in found] == [
        *(("9:0", "a"), ("9#1:0", "b"), ("9#3:0", "c"), ("9#3#3:0", "d"), ("9#3#4:0", "e"))
    ]
    assert not failures


def test_the_releases_lists_of_llava_are_read_too(tmp_path: Path) -> None:
    entries = [{"image": "9.jpg", "question": "What?", "answer": ["A cat."]}, {"image": "9.jpg", "question": "Why?"}]
    found, failures = parted(vqa_sets.read_llava(write(tmp_path / "c.json", entries), ROOT, "detail"))
    assert found == [VisualQuestion("0:0", Image("9.jpg", "/coco/9.jpg"), "detail", "What?", (Answer("A cat."),))]
    assert [(f.record_id, f.message) for f in failures] == [
        ("1", "c.json[1]: key answer is missing; give the list of answers, here or in the published annotations file")
    ]


def test_flat_lists_hold_label_lists_and_choices(tmp_path: Path) -> None:
    entries = [
        {"image": "val2014/COCO_val2014_000000000042.jpg", "question": "What?", "answer": TEN},
        {"image_id": 9, "question_id": "q9", "question": "Why?", "direct_answers": TEN, "choices": ["a", "b"],
         "correct_choice_idx": 1},
        {"image_path": "x.jpg", "question": "How?", "answer": TEN},
    ]  # fmt: skip
    found, failures = parted(vqa_sets.read_flat(write(tmp_path / "okvqa.json", entries), ROOT, "okvqa"))
    assert not failures
    answers = (Answer("cat", 7), Answer("dog", 2), Answer("cow", 1))
    image = Image("000000000042", "/coco/val2014/COCO_val2014_000000000042.jpg")
    assert found[0] == VisualQuestion("okvqa:0", image, "okvqa", "What?", answers)
    nine = Image("000000000009", "/coco/000000000009.jpg")
    assert found[1] == VisualQuestion("q9", nine, "okvqa", "Why?", answers, ("a", "b"), 1)
    assert found[2].image == Image("x.jpg", "/coco/x.jpg")


def test_lists_that_a_table_holds_as_text_are_lists_and_what_is_null_hides_nothing(tmp_path: Path) -> None:
    asked = {"image": "9.jpg", "question": "What?"}
    entries = [
        {**asked, "direct_answers": "['mail', \"post's\"]", "choices": "['a', 'b']", "correct_choice_idx": 1},
        {**asked, "direct_answers": None, "answers": ["x"], "question_id": 7.0},
        {**asked, "answer": "[12, 13]", "question_id": None},
        {**asked, "answer": "[see the sign] or [b]", "question_id": None},
        {**asked, "answer": "x", "choices": "[1]"},
        {**asked, "answer": "['mail' 'post']"},
    ]
    found, failures = parted(vqa_sets.read_flat(write(tmp_path / "f.json", entries), ROOT, "t", annotators=1))
    assert [[answer.text for answer in question.answers] for question in found] == [
        ["mail", "post's"],
        ["x"],
        ["[12, 13]"],
        ["[see the sign] or [b]"],
    ]
    assert (found[0].choices, [question.id for question in found]) == (("a", "b"), ["f:0", "7", "f:2", "f:3"])
    assert [failure.error for failure in failures] == ["BrokenEntry", "BrokenEntry"]


def test_entries_without_an_id_are_no_pair_and_of_two_with_one_id_the_first_counts(tmp_path: Path) -> None:
    questions = write(tmp_path / "q.json", {"questions": [{"image_id": 1, "question": "What?"}]})
    answers = write(tmp_path / "a.json", {"annotations": [{"answers": [{"answer": "no"}]}]})
    found, failures = parted(vqa_sets.read_official(questions, answers, ROOT, "t", "{:012d}.jpg", annotators=1))
    assert found == [] and [failure.error for failure in failures] == ["MissingKey", "MissingKey"]
    questions = write(tmp_path / "q.json", {"questions": [{"image_id": 1, "question": "What?", "question_id": 1}]})
    pairs = [{"question_id": 1, "answers": [{"answer": text}]} for text in ("no", "yes")]
    answers = write(tmp_path / "a.json", {"annotations": pairs})
    found, failures = parted(vqa_sets.read_official(questions, answers, ROOT, "t", "{:012d}.jpg", annotators=1))
    assert [found[0].answers, [failure.error for failure in failures]] == [(Answer("no"),), ["RepeatedQuestion"]]


def test_a_label_list_with_fewer_than_ten_answers_is_reported_beside_its_question(tmp_path: Path) -> None:
    path = write(tmp_path / "f.json", [{"image": "1.jpg", "question": "What?", "answer": ["cat", "cat"]}])
    found, failures = parted(vqa_sets.read_flat(path, ROOT, "okvqa"))
    assert found[0].answers == (Answer("cat", 2),)
    assert [(f.record_id, f.error, f.item) for f in failures] == [("f:0", "FewAnswers", "answers")]
    assert failures[0].message == "f.json[0]: 2 answers, but VQA accuracy is defined for 10"
    assert parted(vqa_sets.read_flat(path, ROOT, "okvqa", annotators=1))[1] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"question": None}, "key question is missing or empty; give a text"),
        (
            {"answer": None},
            "key answer is missing; give the list of answers, here or in the published annotations file",
        ),
        ({"image": None}, "none of the keys image, image_path, image_id names an image"),
        ({"answer": "['cat']", "direct_answers": 3}, "direct_answers is 3; expected a list"),
        ({"answer": [1]}, r"answer is [1]; expected a list"),
        ({"answer": [" "]}, "answer has only empty texts"),
        ({"choices": ["a"], "correct_choice_idx": 1}, "correct_choice_idx is 1 with 1 choices"),
        ({"choices": "a"}, "choices is 'a'; expected a list of non-empty texts"),
        ({"choices": ["a", " "]}, "choices is ['a', ' ']; expected a list of non-empty texts"),
    ],
)
def test_an_entry_that_lacks_something_says_what(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    entry = {"image": "1.jpg", "question": "What?", "answer": TEN} | change
    found, failures = parted(vqa_sets.read_flat(write(tmp_path / "f.json", [entry]), ROOT, "okvqa"))
    assert found == [] and len(failures) == 1
    assert failures[0].message.startswith("f.json[0]: ") and says in failures[0].message


def test_a_repeated_question_is_a_problem_of_its_entry_and_not_of_the_question(tmp_path: Path) -> None:
    entry = {"image": "1.jpg", "question_id": 7, "question": "What?", "answer": TEN}
    found, failures = parted(vqa_sets.read_flat(write(tmp_path / "f.json", [entry, entry]), ROOT, "okvqa"))
    assert [question.id for question in found] == ["7"]
    assert [(f.record_id, f.error, f.item) for f in failures] == [("7", "RepeatedQuestion", "f.json[1]")]


def test_the_published_pair_of_files_is_joined(tmp_path: Path) -> None:
    asked = [{"question_id": q, "image_id": 42, "question": f"Q{q}?"} for q in (1, 2)]
    annotations = [
        {
            "question_id": 1,
            "image_id": 42,
            "answers": [{"answer": text, "answer_id": k} for k, text in enumerate(TEN)],
            "question_type": "what is the",
            "answer_type": "other",
        }
    ]
    files = (
        write(tmp_path / "q.json", {"questions": asked}),
        write(tmp_path / "a.json", {"annotations": annotations}),
    )
    found, failures = parted(vqa_sets.read_official(*files, ROOT, "okvqa", "COCO_val2014_{:012d}.jpg"))
    assert [(question.id, question.answers[0]) for question in found] == [("1", Answer("cat", 7))]
    assert found[0].image == Image("000000000042", "/coco/COCO_val2014_000000000042.jpg")
    assert (found[0].question_type, found[0].answer_type) == ("what is the", "other")
    assert [(f.record_id, f.error) for f in failures] == [("2", "MissingKey")]


def test_an_empty_text_is_the_answer_of_an_annotator_too(tmp_path: Path) -> None:
    entry = {"question_id": 7, "image": "1.jpg", "question": "What?", "answer": ["cat"] * 9 + [" "]}
    found, failures = parted(vqa_sets.read_flat(write(tmp_path / "f.json", [entry]), ROOT, "okvqa"))
    assert found[0].answers == (Answer("cat", 9), Answer("", 1)) and not failures


def shapes(entries: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """The same entries in every shape that people publish."""
    lines = "\ufeff" + "\r\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n\n"
    wrapper = {"info": {"version": "2"}, "license": "x", key: entries}
    return {"list.json": entries, "lines.jsonl": lines, "object.json": wrapper}


FLAT = [{"question_id": q, "image": "9.jpg", "question": f"Wärum\u2028{q}?", "answers": TEN} for q in (1, 2)]
TALK = [{"from": "human", "value": "<image>\nWas?"}, {"from": "gpt", "value": "Böte 😀"}]
READERS = {
    "flat": lambda path: vqa_sets.read_flat(path, ROOT, "t"),
    "llava": lambda path: vqa_sets.read_llava(path, ROOT, "t"),
}


@pytest.mark.parametrize(
    ("reader", "entries"),
    [("flat", FLAT), ("flat", FLAT[:1]), ("llava", [{"id": "a", "image": "9.jpg", "conversations": TALK}] * 2)],
)
def test_every_shape_of_a_file_gives_the_same_questions(
    reader: str, entries: list[dict[str, Any]], tmp_path: Path
) -> None:
    found = [
        parted(READERS[reader](write(tmp_path / name, value))) for name, value in shapes(entries, "questions").items()
    ]
    assert len(found[0][0]) == len(entries) and not found[0][1]
    assert found[0] == found[1] == found[2] == parted(READERS[reader](write(tmp_path / "d.json", {"data": entries})))


def test_the_published_pair_may_be_of_any_shape(tmp_path: Path) -> None:
    asked = [{"question_id": q, "image_id": 42, "question": f"Q{q}?"} for q in (1, 2)]
    answers = [{"question_id": q, "answers": [{"answer": text, "answer_id": 1} for text in TEN]} for q in (2, 1)]
    read = [
        parted(vqa_sets.read_official(write(tmp_path / q, a), write(tmp_path / f"a{q}", b), ROOT, "okvqa", "{}.jpg"))
        for (q, a), (_, b) in zip(
            shapes(asked, "questions").items(), shapes(answers, "annotations").items(), strict=True
        )
    ]
    assert [question.id for question in read[0][0]] == ["1", "2"] and not read[0][1]
    assert read[0] == read[1] == read[2]


def test_a_line_that_is_no_entry_costs_only_itself(tmp_path: Path) -> None:
    good = json.dumps({"image": "9.jpg", "question": "Q?", "answer": TEN})
    path = write(tmp_path / "l.jsonl", f'{good}\n7\n{good[:20]}\n{{"a": 1, "a": 2}}\n{good}')
    found, failures = parted(vqa_sets.read_flat(path, ROOT, "t"))
    assert [question.id for question in found] == ["l:0", "l:4"]
    said = [failure.message for failure in failures]
    assert said[0] == "l.jsonl:2: expected a JSON object, found int"
    assert said[1].startswith("l.jsonl:3: not valid JSON") and said[2].startswith("l.jsonl:4: not valid JSON")
    lines = write(tmp_path / "a.jsonl", '{"question_id": 1, "answers": ["a"]}\n{"question_id"')
    asked = write(tmp_path / "q.json", {"questions": [{"question_id": 1, "image_id": 2, "question": "Q"}]})
    found, failures = parted(vqa_sets.read_official(asked, lines, ROOT, "okvqa", "{}.jpg", annotators=1))
    assert [question.id for question in found] == ["1"]
    assert [failure.item for failure in failures] == ["a.jsonl:2"]


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    pair = write(tmp_path / "p.json", {"questions": []})
    with pytest.raises(ConfigError, match=r"p\.json has no annotations; give"):
        list(vqa_sets.read_official(pair, pair, ROOT, "okvqa", "{}"))
    with pytest.raises(ConfigError, match=r"b\.json is not valid JSON"):
        list(vqa_sets.read_flat(write(tmp_path / "b.json", "["), ROOT, "okvqa"))
    asked = write(tmp_path / "q.json", {"questions": [{"question_id": 1, "image_id": 2, "question": "Q"}]})
    (failure,) = vqa_sets.read_flat(asked, ROOT, "okvqa")
    assert isinstance(failure, Failure) and "here or in the published annotations file" in failure.message
    with pytest.raises(ConfigError, match="has no questions or data; give"):
        list(vqa_sets.read_llava(write(tmp_path / "d.json", {}), ROOT, "detail"))
    with pytest.raises(ConfigError, match=r"gone\.json does not exist; give the path of a JSON list"):
        list(vqa_sets.read_flat(tmp_path / "gone.json", ROOT, "okvqa"))
