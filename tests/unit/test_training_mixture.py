"""Which samples are trained on, how often, and in which batches."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.commands.cli import main
from imageref_ray.core.config import ConfigError, MixtureEntry, TrainConfig, check, load
from imageref_ray.dataset import check as dataset_check
from imageref_ray.dataset import mixture
from imageref_ray.dataset.export.instruction_rows import RATIOS
from imageref_ray.dataset.turns import SampleError
from imageref_ray.training import progress
from imageref_ray.training.batch_plan import BatchShape, Use, plan_rounds
from imageref_ray.training.schedule import learning_rate
from imageref_ray.training.train import _begin_run, train

ROOT = Path(__file__).parents[2]


def annotation(path: Path, count: int) -> Path:
    turns = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "Two."}]
    path.write_text("".join(json.dumps({"id": n, "conversations": turns}) + "\n" for n in range(count)))
    return path


def entry(path: Path, repeat_time: float = 1.0, **other: object) -> MixtureEntry:
    return MixtureEntry.model_validate({"annotation": path, "repeat_time": repeat_time, **other})


def numbered(folder: Path, count: int) -> Path:
    path = folder / "numbered.jsonl"
    rows = [[{"from": "human", "value": str(n)}, {"from": "gpt", "value": "yes"}] for n in range(count)]
    path.write_text("".join(json.dumps({"conversations": turns}) + "\n" for turns in rows))
    return path


def test_a_share_is_a_seeded_random_sample_and_not_the_head_of_the_file(tmp_path: Path) -> None:
    sets = {"general": entry(numbered(tmp_path, 1000), 0.1)}
    drawn = [int(row.turns[0][1]) for row in mixture.draw(sets, 1, seed=7)[0]]
    assert len(set(drawn)) == 100
    assert max(drawn) > 500
    assert drawn == [int(row.turns[0][1]) for row in mixture.draw(sets, 1, seed=7)[0]]
    assert drawn != [int(row.turns[0][1]) for row in mixture.draw(sets, 1, seed=8)[0]]


def test_repeats_above_one_give_whole_copies_and_a_share_one_more(tmp_path: Path) -> None:
    rows, _ = mixture.draw({"a": entry(numbered(tmp_path, 40), 2.25)}, 1, seed=0)
    assert Counter(row.copies for row in rows) == {2: 30, 3: 10}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not an annotation line"),
        (
            '{"conversations": [{"from": "robot", "value": "hi"}]}',
            "a turn is by none of human, user, gpt, assistant, system",
        ),
        ('{"conversations": [{"from": "human", "value": "hi"}]}', "no answer to train on"),
        (
            '{"image": "a.png", "conversations": '
            '[{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "x"}]}',
            "different numbers of image tags and images",
        ),
    ],
)
def test_a_line_that_cannot_be_trained_on_is_counted_and_replaced_by_nothing(
    line: str, reason: str, tmp_path: Path
) -> None:
    path = annotation(tmp_path / "a.jsonl", 3)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n")
    rows, skipped = mixture.draw({"a": entry(path, 2)}, 1, seed=0)
    assert len(rows) == 3
    assert skipped == {("a", reason): 2}


TEXT_PARTS = [{"type": "text", "text": "Two "}, {"type": "text", "text": "boats."}]
NOT_TEXT, NO_PART = "a turn is not text", "a turn has a part that is neither text nor an image"


@pytest.mark.parametrize(
    ("image", "asked", "answered", "reason"),
    [
        ("a.png", "<image>?", None, NOT_TEXT),
        ("a.png", None, "Two.", NOT_TEXT),
        ("a.png", "<image>?", 2, NOT_TEXT),
        ("a.png", "<image>?", {"text": "Two."}, NOT_TEXT),
        ("a.png", "<image>?", ["Two."], NO_PART),
        ("a.png", "<image>?", [{"type": "text", "text": None}], NO_PART),
        ("a.png", "<image>?", [{"type": "audio", "text": "Two."}], NO_PART),
        ("a.png", "<image>?", [], "no answer to train on"),
        ([None], "<image>?", "Two.", "an image is not a path"),
        ([7], "<image>?", "Two.", "an image is not a path"),
        (7, "<image>?", "Two.", "an image is not a path"),
        (["a.png", ""], "<image>?", "Two.", "an image is not a path"),
        ({"bytes": "aGk="}, "<image>?", "Two.", "an image is not a path"),
        ([["a.png"]], "<image>?", "Two.", "an image is not a path"),
        (
            "a.png",
            "<image>?",
            "Two\ud83d boats.",
            "not text (an escape such as \\ud83d is half a character, or it is NUL)",
        ),
    ],
)
def test_what_is_not_sure_is_counted_under_its_reason(
    image: object, asked: object, answered: object, reason: str, tmp_path: Path
) -> None:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": image, "conversations": turns}) + "\n", encoding="utf-8")
    rows, skipped = mixture.draw({"a": entry(tmp_path / "a.jsonl", 3)}, 1, seed=0)
    assert not rows
    ((_, found), count), *more = skipped.items()
    assert not more and found.startswith(reason) and count == 3


def test_a_conversation_that_the_model_begins_is_counted(tmp_path: Path) -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "gpt", "value": "Hello."},
        {"from": "human", "value": "?"},
    ]
    with pytest.raises(SampleError, match="the first turn is the model's"):
        mixture.parse({"conversations": [*turns, turns[1]]}, "s", entry(tmp_path), 6)


def test_what_is_sure_is_read_in_parts_and_from_objects_with_a_path(tmp_path: Path) -> None:
    asked = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": TEXT_PARTS}]
    row = mixture.parse({"image": [{"path": "a.png", "bytes": None}], "conversations": turns}, "s", entry(tmp_path), 6)
    assert row.turns == (("user", "<image>How many?"), ("assistant", "Two boats."))
    assert row.images == (Path("a.png"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("as_list", [False, True])
def test_every_sample_counts_in_every_encoding_from_lines_and_from_a_list(
    encoding: str, as_list: bool, tmp_path: Path
) -> None:
    values = [f"{n}\u2028\r港" for n in range(5)]
    lines = [{"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": value}]} for value in values]
    rows = [json.dumps(line, ensure_ascii=False).replace("\\r", "\r") for line in lines]
    text = "[" + ",\n".join(rows) + "]" if as_list else "\n".join(rows)
    (tmp_path / "a.jsonl").write_bytes(text.encode(encoding))
    drawn, skipped = mixture.draw({"a": entry(tmp_path / "a.jsonl").model_copy(update={"length": 5})}, 1, seed=0)
    assert [row.turns[1][1] for row in drawn] == values and not skipped


HUMAN = {"from": "human", "value": "<image>Q"}
SHOWN = {"type": "image_url", "image_url": {"url": "a.png"}}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([HUMAN, {"from": "gpt", "value": " \n "}], "no answer to train on"),
        ([HUMAN, {"from": "gpt", "value": []}], "no answer to train on"),
        (
            [HUMAN, {"from": "gpt", "value": "A"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": ""}],
            "empty",
        ),
        ([HUMAN, {"from": "gpt", "value": [{"type": "text", "text": "A"}, SHOWN]}], "in a turn that is not a question"),
        ([{"from": "system", "value": [SHOWN]}, HUMAN, {"from": "gpt", "value": "A"}], "a turn that is not a question"),
        ([HUMAN, {"from": "gpt", "value": ["A", "B"]}], "neither text nor an image"),
        ([HUMAN, {"from": "tool", "value": "A"}], "a turn is by none of human, user, gpt, assistant, system"),
        ([HUMAN, {"from": ["gpt"], "value": "A"}], "a turn is by none of"),
        ([HUMAN, {"value": "A"}], "a turn is by none of"),
        ([HUMAN, {"from": "gpt"}], "a turn is not text"),
        ([HUMAN, None], "not an annotation line"),
        ([], "not an annotation line"),
        ("x", "not an annotation line"),
        (None, "not an annotation line"),
        ({"human": "Q", "gpt": "A"}, "not an annotation line"),
    ],
)
def test_turns_that_teach_nothing_or_something_wrong_are_counted(turns: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=reason):
        mixture.parse({"image": "a.png", "conversations": turns}, "s", entry(tmp_path), 6)


def test_the_spelling_of_ms_swift_is_read_as_internvls(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": [SHOWN, {"type": "text", "text": "Q"}]}]
    swift = {"images": [{"bytes": None, "path": "a.png"}], "messages": [*turns, {"role": "assistant", "content": "A"}]}
    ours = [{"from": "system", "value": "S"}, HUMAN, {"from": "gpt", "value": "A"}]
    expected = mixture.parse({"image": "a.png", "conversations": ours}, "s", entry(tmp_path), 6)
    assert mixture.parse(swift, "s", entry(tmp_path), 6) == expected


ASKED, TOLD = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
NO_IMAGE: list[Any] = [None, "", [], float("nan")]


@pytest.mark.parametrize("nothing", NO_IMAGE)
def test_a_null_under_one_spelling_hides_nothing_under_another(nothing: Any, tmp_path: Path) -> None:
    turns = [ASKED | {"from": nothing, "value": nothing}, {"from": "gpt", "value": "A", "content": nothing}]
    line = {"image": nothing, "images": ["a.png"], "conversations": nothing, "messages": turns}
    (tmp_path / "a.jsonl").write_text(json.dumps(line), encoding="utf-8")
    (row,), skipped = mixture.draw({"a": entry(tmp_path / "a.jsonl", root=tmp_path)}, 1, seed=0)
    assert (row.turns, row.images) == ((("user", "<image>\nQ"), ("assistant", "A")), (tmp_path / "a.png",))
    assert not skipped and dataset_check.check(tmp_path / "a.jsonl").images == 1


@pytest.mark.parametrize("key", ["image", "image_url", "path", "url"])
def test_images_that_the_parts_of_a_text_name_are_read(key: str, tmp_path: Path) -> None:
    shown = [{"type": "image", key: "a.png"}, {"type": "image", key: {"url": "b.png"}}, {"type": "text", "text": "Q"}]
    turns = [{"role": "user", "content": shown}, TOLD]
    row = mixture.parse({"messages": turns}, "s", entry(tmp_path), 6)
    assert (row.turns[0][1], row.images) == ("<image><image>Q", (Path("a.png"), Path("b.png")))
    assert mixture.parse({"messages": turns, "images": ["a.png", {"path": "b.png"}]}, "s", entry(tmp_path), 6) == row


def test_a_system_turn_beside_the_turns_is_one_of_them(tmp_path: Path) -> None:
    expected = (("system", "S"), ("user", "Q"), ("assistant", "A"))
    for turns in ([ASKED, TOLD], [{"role": "system", "content": "S"}, ASKED, TOLD]):
        assert mixture.parse({"messages": turns, "system": "S"}, "s", entry(tmp_path), 6).turns == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"video": "v.mp4"}, "video is not read"),
        ({"videos": ["v.mp4"], "messages": [{"role": "user", "content": "<video>Q"}, TOLD]}, "videos is not read"),
        ({"audios": ["v.wav"]}, "audios is not read"),
        ({"image": "a.png", "images": ["b.png"]}, "the image is not the same in two places"),
        (
            {
                "image": "b.png",
                "messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}, TOLD],
            },
            "the image is not the same in two places",
        ),
        ({"system": ["S"]}, "system is not text"),
        ({"system": "S", "messages": [{"role": "system", "content": "T"}, ASKED, TOLD]}, "the system turn differ"),
        ({"messages": [ASKED, TOLD | {"loss": False}]}, "marked as not to be learned"),
        ({"messages": [ASKED, TOLD | {"weight": 0}, ASKED, TOLD | {"weight": 1}]}, "marked as not to be learned"),
        ({"messages": [ASKED, TOLD | {"tool_calls": [{"id": "1"}]}]}, "a turn calls a tool"),
        (
            {"objects": {"bbox": [[1, 2, 3, 4]]}, "messages": [ASKED, {"role": "assistant", "content": "<bbox>"}]},
            "objects are not read",
        ),
        ({"image": "a.png", "messages": [ASKED, {"role": "assistant", "content": "<image>\nA"}]}, "not a question"),
        (
            {"image": "a.png", "messages": [{"role": "system", "content": "<image>"}, ASKED, TOLD]},
            "an image is in a turn that is not a question",
        ),
    ],
)
def test_a_line_that_would_train_on_less_than_it_says_is_counted(
    line: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    line = {"messages": [ASKED, TOLD]} | line
    with pytest.raises(SampleError, match=reason):
        mixture.parse(line, "s", entry(tmp_path), 6)


def test_what_marks_nothing_is_no_mark(tmp_path: Path) -> None:
    turns = [ASKED, TOLD | {"loss": True, "weight": 1.0, "tool_calls": [], "function_call": None}]
    line = {"messages": turns, "video": "", "audios": [], "system": None, "objects": {"ref": ["a"], "bbox": []}}
    assert mixture.parse(line, "s", entry(tmp_path), 6).turns == (("user", "Q"), ("assistant", "A"))
    tagged = [ASKED, {"role": "assistant", "content": "Write <image> there."}]
    assert mixture.parse({"messages": tagged}, "s", entry(tmp_path), 6).turns[1][1] == "Write <image> there."


def test_lines_of_another_encoding_are_counted_and_utf16_without_its_mark_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Zwei Böte."}]
    line = json.dumps({"conversations": turns}, ensure_ascii=False)
    path.write_bytes(f"{line}\n{line.replace('ö', 'oo')}\n{line[:40]}".encode("latin-1"))
    drawn, skipped = mixture.draw({"a": entry(path)}, 1, seed=0)
    assert [row.turns[1][1] for row in drawn] == ["Zwei Boote."]
    named = "byte 0xf6 is not UTF-8, perhaps Windows-1252 or GBK; save the file as UTF-8"
    assert skipped == {("a", named): 1, ("a", "not an annotation line"): 1}
    path.write_bytes(line.encode("utf-16-le"))
    with pytest.raises(ConfigError, match=r"a\.jsonl line 1: NUL bytes, as UTF-16 without a byte order mark has"):
        mixture.draw({"a": entry(path)}, 1, seed=0)


def test_a_set_that_a_meta_file_names_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"a": {"annotation": "1"}, "a": {"annotation": "2"}}', encoding="utf-8")
    with pytest.raises(ConfigError, match="gives the key 'a' twice"):
        mixture.entries(TrainConfig(model="m", output=tmp_path, mixture=tmp_path / "meta.json"))


def test_images_may_be_absent_one_path_or_a_list_and_untagged_ones_come_first(tmp_path: Path) -> None:
    turns = '"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]'
    for given_image, names in [("", ()), ('"image": "a.png",', ("a.png",)), ('"image": ["a.png", "b.png"],', "ab")]:
        row = mixture.parse(json.loads("{" + given_image + turns + "}"), "s", entry(tmp_path, root=tmp_path), 6)
        assert len(row.images) == len(names)
        assert row.turns[0][1] == "<image>\n" * len(names) + "Q"
        assert all(path.parent == tmp_path for path in row.images)


def test_a_set_may_limit_its_own_tiles(tmp_path: Path) -> None:
    line = {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    assert mixture.parse(line, "s", entry(tmp_path), 6).max_tiles == 6
    assert mixture.parse(line, "s", entry(tmp_path, max_dynamic_patch=1), 6).max_tiles == 1


def test_a_meta_json_file_is_a_mixture_too(tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    path = annotation(tmp_path / "a.jsonl", 2)
    values = {"root": "", "annotation": str(path), "data_augment": False, "repeat_time": 0.5, "length": 2}
    meta.write_text(json.dumps({"news": values}))
    found = mixture.entries(TrainConfig(model="m", output=tmp_path, mixture=meta))
    assert found["news"].repeat_time == 0.5


def test_keys_of_internvls_meta_files_that_mean_nothing_here_are_named_and_not_refused(tmp_path: Path) -> None:
    meta = tmp_path / "meta.json"
    path = annotation(tmp_path / "a.jsonl", 2)
    more = {"conv_style": "internvl2_5", "vqa": True, "max_dynamic_patch": 12}
    meta.write_text(json.dumps({"a": {"annotation": str(path), **more}, "b": {"annotation": str(path), "vqa": False}}))
    config = TrainConfig(model="m", output=tmp_path, mixture=meta)
    assert mixture.entries(config)["a"].max_dynamic_patch == 12
    told = f"mixture {meta}: not used: conv_style (in 1 of 2 sets), vqa (in 2 of 2 sets)"
    assert mixture.unused_keys(config) == told
    assert mixture.unused_keys(config.model_copy(update={"mixture": {"a": entry(path)}})) == ""
    with pytest.raises(ConfigError, match=r"unknown key mixture.*\.a\.conv_style"):
        check(TrainConfig, {"model": "m", "output": "o", "mixture": {"a": {"annotation": "a.jsonl", **more}}}, "c")
    for text, message in (("{", "is not valid JSON"), ("[1]", "sets: "), ('{"a": 1}', r"sets\.a: ")):
        meta.write_text(text)
        with pytest.raises(ConfigError, match=message):
            mixture.entries(config)


def test_sets_with_ratios_are_used_whole_where_batches_are_drawn(tmp_path: Path) -> None:
    sets = {
        "small": entry(annotation(tmp_path / "small.jsonl", 10), ratio=3),
        "large": entry(annotation(tmp_path / "large.jsonl", 90), ratio=1),
    }
    rows, _ = mixture.draw(sets, 1, seed=0, whole_sets=True)
    assert Counter((row.dataset, row.copies) for row in rows) == {("small", 1): 10, ("large", 1): 90}


def test_a_file_of_another_length_than_told_is_refused(tmp_path: Path) -> None:
    annotation(tmp_path / "a.jsonl", 3)
    counted = MixtureEntry(annotation=tmp_path / "a.jsonl", length=4)
    with pytest.raises(ConfigError, match=r"mixture.news.length is 4, but .*a.jsonl has 3 samples"):
        mixture.draw({"news": counted}, 1, 0)
    assert mixture.draw({"news": counted.model_copy(update={"length": 3})}, 1, 0)


def always(lengths: Sequence[int]) -> Callable[[int, int], int]:
    """The same tokens in every use."""
    return lambda sample, number: lengths[sample]


lengths_and_groups = st.lists(st.tuples(st.integers(1, 60), st.sampled_from("abc")), min_size=1, max_size=40)


@given(
    lengths_and_groups,
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(16, 200)),
    st.sampled_from(["length", "dataset", "none"]),
)
def test_every_rank_gets_as_many_samples_and_no_batch_is_over_the_limit(
    samples: list[tuple[int, str]], ranks: int, tokens: int | None, group_by: str
) -> None:
    lengths, groups = [length for length, _ in samples], [group for _, group in samples]
    shape = BatchShape(ranks, 2, tokens, group_by)
    for batches in islice(plan_rounds(always(lengths), groups, [1] * len(samples), shape, 0), 30):
        assert len({len(batch) for batch in batches}) == 1
        for batch in batches:
            assert batch
            longest = max(lengths[use.sample] for use in batch)
            assert len(batch) == 2 if tokens is None else len(batch) == 1 or longest * len(batch) <= tokens
        if group_by == "dataset":
            assert len({groups[use.sample] for batch in batches for use in batch}) == 1


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.sampled_from(["length", "dataset", "none"]))
def test_samples_are_used_equally_often_and_repeated_ones_as_often_as_they_repeat(
    lengths: list[int], group_by: str
) -> None:
    copies = [1 + number % 3 for number in range(len(lengths))]
    shape = BatchShape(2, 2, None, group_by)
    rounds = plan_rounds(always(lengths), ["s"] * len(lengths), copies, shape, 1)
    uses = [use for batches in islice(rounds, sum(copies)) for batch in batches for use in batch]  # 4 a round: 4 epochs
    assert len({(use.sample, use.number) for use in uses}) == len(uses)  # no use comes twice
    used = Counter(use.sample for use in uses)
    assert all(abs(used[number] - 4 * count) <= 2 * count for number, count in enumerate(copies))
    assert used.total() == 4 * sum(copies)


def test_batches_of_like_length_hardly_pad() -> None:
    lengths = [10 + (number * 37) % 490 for number in range(2000)]
    rounds = islice(plan_rounds(always(lengths), ["s"] * 2000, [1] * 2000, BatchShape(2, 8, 4000, "length"), 3), 50)
    batches = [[use.tokens for use in batch] for both in rounds for batch in both]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert sum(map(sum, batches)) / padded > 0.95


def test_the_plan_is_the_same_on_every_rank_and_another_with_another_seed() -> None:
    def first(seed: int) -> list[list[list[Use]]]:
        shape = BatchShape(2, 2, None, "length")
        return list(islice(plan_rounds(always([5] * 50), ["s"] * 50, [1] * 50, shape, seed), 5))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_every_batch_is_from_one_set_drawn_by_its_ratio_and_all_samples_of_a_set_come_in_turn() -> None:
    groups = ["small"] * 10 + ["large"] * 90 + ["tiny"]
    ratios = {"small": 5.0, "large": 3.0, "tiny": 2.0, "empty": 9.0}
    shape = BatchShape(2, 4, None, "dataset")
    rounds = list(islice(plan_rounds(always([5] * 101), groups, [1] * 101, shape, 42, ratios), 2000))
    drawn = Counter(groups[batches[0][0].sample] for batches in rounds)
    assert {name: drawn[name] / 2000 for name in drawn} == pytest.approx(
        {"small": 0.5, "large": 0.3, "tiny": 0.2}, abs=0.04
    )
    for batches in rounds:
        assert [len(batch) for batch in batches] == [4, 4]
        assert len({groups[use.sample] for batch in batches for use in batch}) == 1
    used = Counter(use.sample for batches in rounds for batch in batches for use in batch)
    for name in ("small", "large"):
        counts = [used[sample] for sample in range(101) if groups[sample] == name]
        assert max(counts) - min(counts) <= 2  # none is left out, none comes much more often
    again = islice(plan_rounds(always([5] * 101), groups, [1] * 101, shape, 42, ratios), 2000)
    assert list(again) == rounds


def test_a_batch_is_planned_with_the_length_that_every_use_has() -> None:
    shape = BatchShape(1, 4, 100, "length")
    plan = plan_rounds(lambda sample, number: 10 + 30 * (number % 2), ["s"] * 40, [1] * 40, shape, 0)
    for (batch,) in islice(plan, 40):
        assert all(use.tokens == 10 + 30 * (use.number % 2) for use in batch)
        assert max(use.tokens for use in batch) * len(batch) <= 100


def ready(folder: Path) -> dict[str, object]:
    """Values of a config whose files exist; the checkpoint is only a config.json."""
    for name, kind in {"good": "InternVLForConditionalGeneration", "other": "Qwen2ForCausalLM"}.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"architectures": [kind]}))
    mixture = {"a": {"annotation": annotation(folder / "a.jsonl", 1)}}
    return {"model": str(folder / "good"), "output": folder / "out", "mixture": mixture}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "/nowhere/at/all"}, r"^model: /nowhere/at/all does not exist; give a checkpoint folder"),
        ({"model": "OTHER"}, "^model: .* is Qwen2ForCausalLM, not InternVL"),
        ({"global_batch": 3}, "not a multiple of workers"),
        ({"mixture": {"a": {"annotation": "gone.jsonl"}}}, r"gone\.jsonl does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_ray_starts(change: dict[str, object], message: str, tmp_path: Path) -> None:
    values = {**ready(tmp_path), **change}
    if values["model"] == "OTHER":
        values["model"] = str(tmp_path / "other")
    with pytest.raises(ConfigError, match=message):
        train(TrainConfig.model_validate(values))


def test_keys_that_are_not_used_are_said_once_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = tmp_path / "meta.json"
    values = {**ready(tmp_path), "mixture": meta, "global_batch": 3}
    meta.write_text(json.dumps({"a": {"annotation": str(tmp_path / "a.jsonl"), "vqa": True}}))
    with pytest.raises(ConfigError, match="not a multiple"):
        train(TrainConfig.model_validate(values))
    assert capsys.readouterr().err == f"train: mixture {meta}: not used: vqa (in 1 of 1 sets)\n"


def test_another_training_does_not_take_over_a_folder(tmp_path: Path) -> None:
    values = ready(tmp_path)
    held = TrainConfig.model_validate({**values, "learning_rate": 1.0})
    _begin_run(held)
    _begin_run(held.model_copy(update={"log_every": 9}))  # changes nothing that is learned
    with pytest.raises(ConfigError, match=r"other settings \(learning_rate 1\.0 → 4e-05\)"):
        train(TrainConfig.model_validate(values))


def test_a_resumed_run_writes_the_lines_after_its_checkpoint_again(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step, "seconds": step * 2.0}) + "\n" for step in (1, 2, 3)) + '{"st')
    assert progress.truncate_after(metrics, 2) == 4.0
    assert [line["step"] for line in progress.read_lines(metrics)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "per_device", "accumulation", "rate", "decay", "drop_path", "share"),
    [("train-8b", 2, 4, 4e-5, 0.01, 0.1, 0.0026), ("train-26b", 1, 8, 2e-5, 0.05, 0.4, 0.01)],
)
def test_the_recipes_are_the_papers(
    name: str, per_device: int, accumulation: int, rate: float, decay: float, drop_path: float, share: float
) -> None:
    recipe = load(TrainConfig, ROOT / "jobs" / "configs" / f"{name}.yaml")
    assert (recipe.workers, recipe.global_batch, recipe.per_device_batch) == (16, 128, per_device)
    assert recipe.global_batch == recipe.workers * recipe.per_device_batch * accumulation
    assert (recipe.learning_rate, recipe.weight_decay, recipe.drop_path) == (rate, decay, drop_path)
    assert (recipe.steps, recipe.schedule, recipe.warmup_ratio, recipe.betas) == (1000, "cosine", 0.03, (0.9, 0.999))
    assert (recipe.sequence_length, recipe.zero_stage, recipe.precision) == (16_384, 3, "bf16")
    assert (recipe.freeze, recipe.gradient_checkpointing, recipe.group_by) == (("vision",), True, "length")
    assert (recipe.checkpoint_every, recipe.max_tiles) == (50, 6)
    assert isinstance(recipe.mixture, dict)
    general = {key: entry for key, entry in recipe.mixture.items() if not key.startswith("imageref")}
    assert len(general) == 9
    assert {entry.repeat_time for entry in general.values()} == {share}
    own = [entry for key, entry in recipe.mixture.items() if key.startswith("imageref")]
    assert [(entry.repeat_time, entry.max_dynamic_patch) for entry in own] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(("name", "own"), [("llava", {}), ("aokvqa", {"a_okvqa": 131}), ("okvqa", {"okvqa": 300})])
def test_the_vigc_recipes_are_the_releases_and_dry_run(
    name: str,
    own: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = ROOT / "jobs" / "configs" / f"vigc-{name}.yaml"
    recipe = load(TrainConfig, path)
    ratios = {"reasoning": 277, "detail": 152, "conversation": 507, **own}
    assert isinstance(recipe.mixture, dict)
    assert {key: entry.ratio for key, entry in recipe.mixture.items()} == {
        f"{task}.{use}": ratio for task, ratio in ratios.items() for use in ("vic", "vig")
    }
    assert all(RATIOS[task] == ratio for task, ratio in ratios.items())
    assert {entry.augment for entry in recipe.mixture.values()} == {"crop_flip"}
    assert (recipe.workers, recipe.per_device_batch, recipe.global_batch) == (8, 8, 8 * 8 * 2)
    assert (recipe.steps, round(recipe.steps * recipe.warmup_ratio)) == (60_000 / 2, 1_000 / 2)
    rates = [learning_rate(recipe, step) for step in (0, 500, 30_000)]
    assert (rates, recipe.schedule, recipe.weight_decay) == ([1e-6, 3e-5, 1e-5], "cosine", 0.05)
    assert (recipe.group_by, recipe.seed, recipe.betas) == ("dataset", 42, (0.9, 0.999))
    monkeypatch.chdir(tmp_path)
    for entry in recipe.mixture.values():
        entry.root.mkdir(parents=True, exist_ok=True)
        entry.annotation.parent.mkdir(parents=True, exist_ok=True)
        entry.annotation.touch()
    assert main(["train", "--config", str(path), "--dry-run"]) == 0
    assert "MISSING" not in capsys.readouterr().out


def test_sets_with_a_ratio_come_by_it_whatever_their_sizes(tmp_path: Path) -> None:
    sets = {
        "small": entry(annotation(tmp_path / "small.jsonl", 100), ratio=3),
        "large": entry(annotation(tmp_path / "large.jsonl", 900), ratio=1, repeat_time=5),
    }
    rows, skipped = mixture.draw(sets, 1, seed=0)
    drawn = Counter[str]()
    for row in rows:
        drawn[row.dataset] += row.copies
    assert (drawn["small"], drawn["large"], skipped) == (750, 250, Counter())
    with pytest.raises(ConfigError, match=r"mixture\.large: 900 samples, ratio None"):
        mixture.draw({**sets, "large": entry(tmp_path / "large.jsonl")}, 1, seed=0)
