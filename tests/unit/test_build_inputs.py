"""What files have in place of a build's stages: what of it is taken, and what of it is named as of no use."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.commands.annotation.attach import attach, read_response
from imageref_ray.commands.annotation.input_files import open_inputs
from imageref_ray.commands.annotation.passes import passes
from imageref_ray.commands.annotation.stage_inputs import make_recipe
from imageref_ray.commands.build import FILE_OF, fingerprint_settings
from imageref_ray.core.config import (
    NO_ENGINE,
    STAGES,
    BuildConfig,
    ConfigError,
    InputsConfig,
    check,
    check_places,
    load,
)
from imageref_ray.core.records import Caption, Document, Duplicate, Failure, Image, Placement, Record, Sample
from imageref_ray.dataset.export import rows
from imageref_ray.dataset.paper_formats import write_jsonl
from imageref_ray.stages import parsing

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
TEXT = "# Day\nOverview.\n### Boats\nThey came."
IMAGES = tuple(Image(f"12/{k}.jpg", f"/data/image/12/{k}.jpg", "aa", 8, 8) for k in range(3))
LISTED = Sample("7", "A day", (Document("12", "T", "Text.", IMAGES),))
SAMPLE = Sample("7", "A day", (Document("12", "T", "Text.", IMAGES[:2]),))
"""The third image cannot be used."""
RECORD = Record(
    SAMPLE,
    TEXT,
    (Caption("12/0.jpg", "boats", "Two boats."), Caption("12/1.jpg", "a tent", "A red tent.")),
    (Placement(1), Placement(2, "12/1.jpg", "fits", "shows the tent")),
)
ALL = ("respond", "caption", "place")


def files(folder: Path, **lines: Any) -> InputsConfig:
    """Input files with these lines: rows, or text as it is."""
    for name, content in lines.items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return InputsConfig(**{name: folder / f"{name}.jsonl" for name in lines})


def taken(config: InputsConfig, record: Record | None = None) -> tuple[Record, tuple[Failure, ...]]:
    """The sample with what the files have for it."""
    record = record or Record(SAMPLE)
    left_out = [stage for stage, name in zip(ALL, ("responses", "captions", "insertions"), strict=True)
                if name in config.given()]  # fmt: skip
    return attach(record, LISTED, open_inputs(config).find(record), left_out)


def exported(*records: Record) -> dict[str, Any]:
    seen: dict[str, dict[str, int]] = {}
    return {
        "responses": [rows.response(record) for record in records],
        "captions": [row for record in records for row in rows.captions(record, seen)],
        "insertions": [rows.insertion(record) for record in records],
    }


def test_what_a_build_exports_is_what_the_next_one_takes(tmp_path: Path) -> None:
    assert taken(files(tmp_path, **exported(RECORD))) == (RECORD, ())


def test_files_of_the_release_and_of_people_are_taken_as_they_are(tmp_path: Path) -> None:
    predictions = [{"position": "<Position 2>", "image": "IMAGE_2", "mood": "good"}]
    config = files(
        tmp_path,
        responses=[{"id": 7, "result": f"Here it is:\n```markdown\n{TEXT}\n\n![x](y.jpg)\n```", "model": "a"}],
        captions=[{"nid": 12, "caption": {"/x/12/0.jpg": " Two\nboats.", "12/1.jpg": "A red tent."}, "by": "b"}],
        insertions=[{"event_id": 7, "image_paths": ["a/12/0.jpg", "a/12/1.jpg"],
                     "result": f"Sure.\n```json\n{json.dumps({'predictions': predictions})}\n```"}],
    )  # fmt: skip
    record, failures = taken(config)
    assert failures == () and record.response == TEXT
    assert [caption.caption for caption in record.captions] == ["Two boats.", "A red tent."]
    assert record.placements == (Placement(1), Placement(2, "12/1.jpg"))


@pytest.mark.parametrize(
    ("name", "line", "error", "words"),
    [
        ("responses", [], "MissingResponse", "inputs.responses has no line for sample 7"),
        ("responses", [{"id": "7", "result": None}], "UnusableResponse", "sample 7: the response is empty"),
        ("responses", [{"id": "7", "result": "No title."}], "UnusableResponse", "has no title line"),
        ("responses", [{"id": "7", "result": "# Only\n### Headers"}], "UnusableResponse", "with text below it"),
        ("captions", [], "MissingCaption", "no caption for 2 of 2 images (12/0.jpg, 12/1.jpg) of sample 7"),
        ("captions", [{"nid": "12", "caption": {"12/0.jpg": "A.", "12/1.jpg": "…"}}], "MissingCaption", "1 of 2 im"),
        ("insertions", [], "MissingInsertion", "inputs.insertions has no line for sample 7"),
        ("insertions", [{"event_id": "7", "image_paths": [], "result": "Hm."}], "UnusableInsertion", "holds no JSON"),
        ("insertions", [rows.insertion(dataclasses.replace(RECORD, response=TEXT + "\n### More\nText."))],
         "UnusableInsertion", "it names <Position 3>, but the response has 2 positions"),
        ("insertions", [{"event_id": "7", "image_paths": ["12/2.jpg"],
                         "result": '[{"position": "<Position 1>", "image": "IMAGE_1"}]'}],
         "UnknownImage", "it places 12/2.jpg, which the sample has no usable image for"),
    ],
)  # fmt: skip
def test_what_does_not_fit_fails_the_record_in_one_sentence(
    tmp_path: Path, name: str, line: list[Any], error: str, words: str
) -> None:
    _, (failure,) = taken(files(tmp_path, **{name: line}), dataclasses.replace(Record(SAMPLE), response="")
                          if name == "responses" else dataclasses.replace(RECORD, placements=()))  # fmt: skip
    assert (failure.record_id, failure.stage, failure.error, failure.item) == ("7", "inputs", error, "")
    assert words in failure.message


def test_what_is_of_no_use_is_named_and_costs_nothing(tmp_path: Path) -> None:
    texts = {"12/0.jpg": "A.", "12/1.jpg": "B.", "12/2.jpg": "Of the bad image.", "12/9.jpeg": "Of none."}
    entries = [{"position": "<Position 1>", "image": "IMAGE_1"}, {"position": "<Position 2>", "image": "the tent"}]
    paths = ["12/0.jpg", "12/1.jpg", "12/2.jpg", "13/0.jpg"]
    config = files(
        tmp_path,
        captions=[{"nid": "12", "caption": texts}],
        insertions=[{"event_id": "7", "image_paths": paths, "result": {"predictions": entries}}],
    )
    record, failures = taken(config, Record(SAMPLE, TEXT))
    assert record.placements == (Placement(1, "12/0.jpg"), Placement(2))
    assert [(f.error, f.item) for f in failures] == [
        ("UnknownImage", "12/9.jpeg"),
        ("UnknownImage", "13/0.jpg"),
        ("UnreadPredictions", "insertion"),
    ]
    assert failures[0].message == "inputs.captions has a caption of 12/9.jpeg, which is not an image of sample 7"


def test_lines_that_cannot_be_used_are_named_and_the_first_of_two_counts(tmp_path: Path) -> None:
    good = json.dumps({"id": "7", "result": TEXT})
    lines = ["\ufeff" + good, "", '{"id": ', "[]", '{"id": true, "result": ""}', good.replace("Day", "Night")]
    stranger = json.dumps({"id": "8", "result": TEXT})
    config = files(tmp_path, responses="\r\n".join([*lines, stranger]))
    inputs = open_inputs(config)
    found = list(inputs.watch([Record(SAMPLE)]))
    assert found[0] == Record(SAMPLE)
    failures = [failure for failure in found if isinstance(failure, Failure)]
    assert [(f.error, f.record_id, f.item) for f in failures] == [
        *(("BrokenLine", f"inputs.responses:{n}", f"inputs.responses:{n}") for n in (3, 4, 5)),
        ("RepeatedLine", "inputs.responses:6", "inputs.responses:6"),
        ("UnknownId", "inputs.responses:7", "inputs.responses:7"),
    ]
    assert failures[0].message.startswith(f"inputs.responses: {tmp_path}/responses.jsonl line 3: not valid JSON")
    assert "line 7 is of sample 8, which is not among the samples that were read" in failures[-1].message
    assert taken(config)[0].response == TEXT


@pytest.mark.parametrize(
    "row",
    [
        {"nid": None, "caption": {}},
        {"nid": "12"},
        {"nid": "12", "caption": ["Two boats."]},
        {"nid": "12", "caption": {"12/0.jpg": 7}},
        {"nid": "12", "caption": {}, "description": "boats"},
        {"nid": "12", "caption": {"12/0.jpg": "Two boats.", "./12/0.jpg": "A tent."}},
    ],
)
def test_a_line_that_is_no_caption_line_is_broken(tmp_path: Path, row: dict[str, Any]) -> None:
    ((_, failure),) = [open_inputs(files(tmp_path, captions=[row])).watch([Record(SAMPLE)])]
    assert isinstance(failure, Failure) and failure.error == "BrokenLine"


def test_a_file_that_cannot_be_read_at_all_is_the_users_to_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl does not exist; give the path of inputs\.captions, or remove"):
        open_inputs(InputsConfig(captions=tmp_path / "none.jsonl"))
    (tmp_path / "wide.jsonl").write_text("{}", encoding="utf-16-le")
    with pytest.raises(ConfigError, match=r"wide\.jsonl line 1: NUL bytes, as UTF-16 without a byte order mark has"):
        open_inputs(InputsConfig(captions=tmp_path / "wide.jsonl"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("as_list", [False, True])
def test_a_line_is_found_again_where_it_stands_in_any_encoding(tmp_path: Path, encoding: str, as_list: bool) -> None:
    lines = [{"id": str(n), "result": f"# Ä\u2028\u0a0d{n}\nText." + "\u0a0a" * n} for n in range(9)]
    written = [json.dumps(line, ensure_ascii=False) for line in lines]
    text = "[\n" + ", ".join(written) + "]" if as_list else "\n\n".join(written)
    (tmp_path / "responses.jsonl").write_text(text, encoding=encoding, newline="")
    index = open_inputs(InputsConfig(responses=tmp_path / "responses.jsonl")).responses
    assert index and not index.problems
    assert [index.find((line["id"], "")) for line in lines] == [(line["id"], line["result"]) for line in lines]


def test_documents_of_one_name_keep_the_captions_of_their_own_sample(tmp_path: Path) -> None:
    def other(id: str, caption: str, images: tuple[Image, ...]) -> Record:
        sample = Sample(id, "?", (Document("12", "T", "Text.", images),))
        return Record(sample, TEXT, tuple(Caption(image.id, "", caption) for image in images), (Placement(1),))

    same = dataclasses.replace(RECORD, sample=dataclasses.replace(SAMPLE, id="8"))
    fewer = dataclasses.replace(other("9", "", IMAGES[:1]), captions=RECORD.captions[:1])
    records = [RECORD, same, fewer, other("10", "Another.", IMAGES[:2]), other("11", "A third.", IMAGES)]
    lines = exported(*records)["captions"]
    assert [line.get("id") for line in lines] == [None, "10", "11"]
    inputs = open_inputs(files(tmp_path, captions=lines))
    for record in records:
        bare = dataclasses.replace(record, captions=())
        assert attach(bare, record.sample, inputs.find(bare), ("caption",))[0].captions == record.captions
    assert [item for item in inputs.watch(records) if isinstance(item, Failure)] == []


def test_a_near_duplicate_is_an_image_of_its_sample(tmp_path: Path) -> None:
    document = Document("12", "T", "Text.", IMAGES[:1], duplicates=(Duplicate(IMAGES[1], "12/0.jpg"),))
    record = Record(Sample("7", "?", (document,)), TEXT)
    inputs = open_inputs(files(tmp_path, captions=exported(RECORD)["captions"]))
    captioned, failures = attach(record, record.sample, inputs.find(record), ("caption",))
    assert (failures, len(captioned.captions)) == ((), 1)


def test_the_files_response_stands_before_the_sources_own_which_stands_in_for_a_missing_line(tmp_path: Path) -> None:
    own = "Preface.\n# Mine\nText."
    config = files(tmp_path, responses=[{"id": "7", "result": TEXT}])
    assert taken(config, Record(SAMPLE, own))[0].response == TEXT
    assert taken(files(tmp_path, responses=[]), Record(SAMPLE, own))[0].response == own
    again = files(tmp_path, responses=[rows.response(Record(SAMPLE, own))])
    assert taken(again, Record(SAMPLE, own))[0].response == own
    _, (failure,) = attach(Record(SAMPLE), LISTED, {}, ("respond",))
    assert failure.message == "the source has no response for sample 7"


@given(st.text("#` IMAGE_1!x[]()\n", max_size=60))
def test_a_written_response_is_read_as_it_was(reply: str) -> None:
    try:
        text = parsing.response(f"# T\n{reply}")
    except parsing.ParseError:
        return
    record = Record(SAMPLE, text)
    assert read_response(rows.response(record)["result"]) == text


BASE = {"source": {"root": "/data"}, "output": "run", "engine": {"model": "m"}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stages": []}, r"with stages \[\] .* respond or inputs\.responses and .* are missing"),
        ({"stages": ["place"]}, r"respond or inputs\.responses and caption or inputs\.captions are missing"),
        ({"stages": ["caption"], "inputs": {"responses": "r"}}, r"place or inputs\.insertions is missing"),
        ({"inputs": {"captions": "c"}}, r"inputs\.captions stands for the stage caption, but caption runs too"),
        ({"stages": ["respond", "caption"], "inputs": {"insertions": "i"}}, r"inputs\.insertions belongs to the resp"),
        ({"stages": ["draw"]}, r"stages\.0: input should be 'respond', 'caption' or 'place'"),
    ],
)
def test_stages_and_inputs_that_make_nothing_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(BuildConfig, {**BASE, **values}, "test")


@pytest.mark.parametrize(
    ("values", "missing", "left_out"),
    [
        ({}, (), ()),
        ({"stages": ["caption", "respond"]}, ("place",), ()),
        ({"stages": ["place"], "inputs": {"responses": "r", "captions": "c"}}, (), ("respond", "caption")),
        ({"stages": ["caption"], "inputs": {"responses": "r", "insertions": "i"}}, (), ("respond", "place")),
        ({"stages": ["caption"], "source": {"root": "/d", "kind": "samples"}}, ("place",), ()),
        ({"stages": ["caption", "place"], "source": {"root": "/d", "kind": "samples"}}, (), ("respond",)),
    ],
)
def test_a_training_set_is_made_where_every_stage_has_a_result(
    values: dict[str, Any], missing: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    config = check(BuildConfig, {**BASE, **values}, "test")
    assert (config.missing(), config.left_out()) == (missing, left_out)


def test_a_steps_fingerprint_follows_its_stages_and_the_content_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    base = {**BASE, "source": {"root": str(tmp_path)}, "engine": {"kind": "openai", "model": "m"}}

    def of(**more: Any) -> dict[str, Any]:
        config = check(BuildConfig, {**base, **more}, "test")
        return fingerprint_settings(config, make_recipe(config))

    respond = of(stages=["respond"])
    assert of(stages=["respond"], caption={"max_tokens": 9}, context_tokens=9) == respond
    assert of(stages=["respond"], respond={"max_tokens": 9}) != respond
    other = {"kind": "openai", "model": "other"}
    assert of(stages=["respond"], respond={"engine": other})["engine"]["model"] == "other"
    inputs = {"responses": str(tmp_path / "responses.jsonl"), "captions": str(tmp_path / "captions.jsonl")}
    write_jsonl(tmp_path / "responses.jsonl", [])
    write_jsonl(tmp_path / "captions.jsonl", [])
    first = of(stages=["place"], inputs=inputs)
    write_jsonl(tmp_path / "captions.jsonl", [{"nid": "12", "caption": {}}])
    assert of(stages=["place"], inputs=inputs)["inputs"].keys() == first["inputs"].keys()
    assert of(stages=["place"], inputs=inputs)["inputs"]["captions"] != first["inputs"]["captions"]


def test_the_shipped_configs_are_the_papers_three_steps_each_taking_what_those_before_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    configs = {stage: load(BuildConfig, CONFIGS / f"imageref-{stage}.yaml") for stage in STAGES}
    for stage, config in configs.items():
        check_places(config)
        assert (config.stages, config.context_tokens, config.source) == ((stage,), 4096, configs["respond"].source)
        sampling = getattr(config, stage)
        assert (sampling.temperature, sampling.max_tokens) == (0, 1024)
    placing = configs["place"]
    written = {stage: config.output / "dataset" / f"{FILE_OF[stage]}.jsonl" for stage, config in configs.items()}
    assert placing.inputs.given() == {"responses": written["respond"], "captions": written["caption"]}
    examples = (configs["caption"].caption_examples, placing.place_examples)
    assert [used and (used.count, used.choose) for used in examples] == [(2, "first")] * 2


def test_the_steps_of_one_config_are_chosen_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "build.yaml"
    file.write_text(json.dumps(BASE))
    assert load(BuildConfig, file, ["stages=[respond]"]).stages == ("respond",)
    three = [f"inputs.{name}={name}.jsonl" for name in ("responses", "captions", "insertions")]
    together = load(BuildConfig, file, ["stages=[]", *three])
    assert passes(together) == [(Path("run"), NO_ENGINE, ())]
    file.write_text(json.dumps({"source": {"root": "/data"}, "output": "run"}))
    assert load(BuildConfig, file, ["stages=[]", *three]).engine == NO_ENGINE
    with pytest.raises(ConfigError, match=r"engine: field required"):
        load(BuildConfig, file)
