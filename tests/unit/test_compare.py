"""`imageref compare`: two evaluations in, who is better out, on the screen, as JSON and as a page to browse."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import PIL.Image
import pytest

from imageref_ray.batch import manifest
from imageref_ray.commands.cli import main
from imageref_ray.commands.inspection import event_section
from imageref_ray.commands.inspection.event_cards import _pieces
from imageref_ray.commands.inspection.event_section import Answers, Group, render_section
from imageref_ray.core import markdown
from imageref_ray.core.records import Answer, Image, VisualQuestion
from imageref_ray.dataset.paper_formats import Question, Relevance
from imageref_ray.evaluation import events, vqa_metrics
from imageref_ray.evaluation.compare_runs import compare_runs, run_names
from imageref_ray.evaluation.comparison import estimate
from imageref_ray.evaluation.events import Event, SlotVerdict
from imageref_ray.evaluation.labelled_set import LabelledSet
from imageref_ray.evaluation.placement_events import placement_events
from imageref_ray.evaluation.placement_metrics import METRICS, summarise
from imageref_ray.evaluation.read_answer import read_answer
from imageref_ray.evaluation.vqa_events import choice_events, direct_events
from tests.unit.test_inspection import EVIL, parsed, words

REFERENCE = "# A fair\nMuch to see.\n### Boats\nTwo boats came.\n### Songs\nMany were sung."
LABELS: Relevance = {1: {}, 2: {"5/0.png": 3}, 3: {"5/1.png": 3, "5/2.png": 1}}
TEST_SET = {"data": "d1", "labels": "l1", "label_slots": "before", "limit": None, "paper": False}

LABELLED = (Answer("cats", 8.0), Answer("dog", 2.0))

RIGHT, SWAPPED, NONE, FIRST = {2: 1, 3: 2}, {2: 2, 3: 1}, dict[int, int](), {2: 1}
"""Slot → k of an answer."""


def questions(folder: Path, count: int) -> dict[str, Question]:
    """Questions with three images each, the same files for all."""
    for k, colour in enumerate(("teal", "orange", "navy")):
        PIL.Image.new("RGB", (80, 40), colour).save(folder / f"{k}.png")
    images = tuple(Image(f"5/{k}.png", str(folder / f"{k}.png")) for k in range(3))
    prompt = ("What happened?\nIMAGE_1: ", images[0], "\nIMAGE_2: ", images[1], "\nIMAGE_3: ", images[2])
    return {str(n): Question(str(n), prompt, REFERENCE) for n in range(1, count + 1)}


def placed_events(
    asked: Mapping[str, Question], answers: Mapping[str, Mapping[int, int]], mode: str = "guided", paper: bool = False
) -> list[Event]:
    """The events of these answers; a question without one failed."""
    texts = {id: markdown.insert(REFERENCE, placed, "before") for id, placed in answers.items()}
    readings = {id: read_answer(text, asked[id], "before") for id, text in texts.items()}
    problems = {id: "RequestError in guided: too long" for id in asked if id not in texts}
    labelled = LabelledSet(dict.fromkeys(asked, LABELS), asked, "before")
    return list(placement_events(mode, labelled, texts, readings, problems, paper))


def evaluation(directory: Path, found: list[Event], job: str = "evaluate placement", **settings: object) -> Path:
    """A finished run with these events."""
    all_settings = {"job": job, **TEST_SET, **settings}
    manifest.begin(directory, all_settings)
    events.write(directory, found)
    manifest.finish(directory, {}, all_settings, {"guided": {"f1": 0.5}, "run": {"records": len(found)}})
    return directory


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """`base` is right in one of twelve events, wrong in most and fails in the last; `tuned` is right in all."""
    asked = questions(tmp_path, 12)
    base = {id: RIGHT if id == "1" else FIRST if id == "2" else SWAPPED for id in asked if id != "12"}
    tuned = dict.fromkeys(asked, RIGHT)
    made = {
        name: evaluation(tmp_path / name, placed_events(asked, answers) + placed_events(asked, answers, "free"))
        for name, answers in (("base", base), ("tuned", tuned))
    }
    return made["base"], made["tuned"]


def test_events_have_the_values_that_the_metrics_are_means_of(tmp_path: Path) -> None:
    asked = questions(tmp_path, 4)
    answers = {"1": RIGHT, "2": SWAPPED, "3": NONE}
    found = placed_events(asked, answers)
    placements = {event.id: {s.slot: s.image for s in event.slots if s.image} for event in found if not event.problem}
    metrics = summarise(dict.fromkeys(asked, LABELS), placements)
    estimates = estimate({event.id: event.values for event in found})
    assert {name: estimates[name].value for name in METRICS} == pytest.approx({name: metrics[name] for name in METRICS})
    for name in METRICS:
        assert estimates[name].interval == pytest.approx(tuple(metrics["intervals"][name]))
    failed = found[3]
    assert failed.problem == "RequestError in guided: too long"
    assert failed.values == {"recall_1": 0, "recall_3": 0, "precision": 1, "score": 0}
    assert [slot.verdict for slot in failed.slots] == ["empty", "missed", "missed"]
    assert found[1].slots[1] == SlotVerdict(2, "wrong", "5/1.png", ("5/0.png",))


def test_in_paper_mode_a_failed_question_is_left_out_and_a_silent_system_has_no_precision(tmp_path: Path) -> None:
    asked = questions(tmp_path, 2)
    assert [bool(event.values) for event in placed_events(asked, {"1": RIGHT}, paper=True)] == [True, False]
    silent = placed_events(asked, {"1": NONE, "2": NONE})
    assert [event.values["precision"] for event in silent] == [None, None]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    found = placed_events(questions(tmp_path, 3), {"1": RIGHT, "2": NONE})
    events.write(tmp_path, found)
    assert events.read(tmp_path) == {"guided": {event.id: event for event in found}}


def test_vqa_events_have_the_values_that_the_accuracies_are_means_of() -> None:
    asked = [
        VisualQuestion(
            str(n), Image(f"a/{n}.jpg", f"{n}.jpg"), "vqa", f"Question {n}?", answers, ("cat", "dog"), correct
        )
        for n, (answers, correct) in enumerate([(LABELLED, 0), (LABELLED, 1), ((), -1), (LABELLED, 0)])
    ]
    answers, logprobs = {"0": "cats", "1": " ", "2": "cats"}, {"0": [[-1.0], [-2.0]], "1": [[-1.0], [-1.5, -0.1]]}
    direct = list(direct_events("okvqa", asked, answers, {"3": "MissingImage in verify: 3.jpg"}))
    metrics = vqa_metrics.summarise(asked, answers)
    found = estimate({event.id: event.values for event in direct})
    assert {name: found[name].value for name in ("official", "release")} == pytest.approx(
        {name: metrics[name] for name in ("official", "release")}
    )
    assert [event.problem for event in direct] == [
        "",
        "",
        "left out: no annotators' answers",
        "MissingImage in verify: 3.jpg",
    ]
    choice = list(choice_events("okvqa", asked, logprobs, {}))
    chosen = vqa_metrics.summarise_choices(asked, logprobs)
    found = estimate({event.id: event.values for event in choice})
    assert {name: found[name].value for name in ("total", "mean")} == pytest.approx(
        {name: chosen[name] for name in ("total", "mean")}
    )
    assert (choice[1].answer, choice[1].expected, choice[3].problem) == ("cat / dog", "dog", "no answer")


def test_the_screen_says_who_is_better_and_how_sure_that_is(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *map(str, runs)]) == 0
    screen = capsys.readouterr().out
    assert screen.index("tuned ") < screen.index("base ")
    assert re.search(r"guided: tuned is better than base: F1 \+[\d.]+ \(\+[\d.]+ to \+[\d.]+\), p 0\.0\d+", screen)
    assert "11 / 1 / 0" in screen
    assert "corrected for all 10 differences (Holm)" in screen
    assert "24 events side by side in compare.html" in screen and (tmp_path / "compare.html").is_file()


def test_json_has_every_number_and_fewer_metrics_need_less_correction(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *map(str, runs), "--json", "--metric", "f1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"guided", "free"}
    assert [system["name"] for system in found["guided"]["systems"]] == ["tuned", "base"]
    (pair,) = found["guided"]["pairs"]
    (one,) = pair["differences"]
    assert one["metric"] == "f1" and one["p_holm"] == pytest.approx(2 * one["p"])
    assert not (tmp_path / "compare.html").exists()


def test_the_same_run_twice_differs_in_nothing(runs: tuple[Path, Path]) -> None:
    for comparison in compare_runs([runs[0], runs[0]]):
        assert [system.name for system in comparison.systems] == ["base", "base (2)"]
        assert all((d.difference, d.p, d.p_holm) == (0, 1, 1) for d in comparison.pairs[0].differences)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "l2"}, "measured different things (other labels); compare runs over the same test set"),
        ({"paper": True, "data": "d2"}, "(other data, paper)"),
        ({"job": "evaluate vqa"}, "compare runs of the same job"),
        ({"job": "build"}, "is a run of build, which has no answers to compare"),
    ],
)
def test_other_test_sets_and_jobs_are_refused_in_one_sentence(
    settings: dict[str, str], message: str, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = evaluation(tmp_path / "other", [], **{"job": "evaluate placement", **settings})
    assert main(["compare", str(runs[0]), str(other)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_what_cannot_be_compared_says_why(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished, old, broken = (evaluation(tmp_path / name, []) for name in ("unfinished", "old", "broken"))
    (unfinished / "manifest.json").unlink()
    (old / "events.jsonl").unlink()
    (broken / "events.jsonl").write_text("[1]\n")
    first = str(runs[0])
    for arguments, message in (
        ([first], "compare needs two runs or more"),
        ([first, str(unfinished)], "is not finished; run the same command again to resume it"),
        ([first, str(old)], "has no events.jsonl"),
        ([first, str(broken)], "events.jsonl line 1 is not an event"),
        ([first, str(runs[1]), "--metric", "f2"], "--metric f2: these runs have f1, precision"),
        ([first, str(runs[1]), "--out", str(tmp_path)], "cannot be written: Is a directory"),
    ):
        assert main(["compare", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_mode_without_values_or_without_the_metric_is_left_out_and_a_system_without_is_last(tmp_path: Path) -> None:
    scored, unscored = Event("1", "x", {"rating": 7.0}), Event("1", "x", problem="unrated")
    other = Event("1", "y", {"share": 0.5})
    runs = [evaluation(tmp_path / name, found) for name, found in (("a", [unscored, other]), ("b", [scored, other]))]
    assert [(one.mode, one.metrics) for one in compare_runs(runs)] == [("x", ["rating"]), ("y", ["share"])]
    (one,) = compare_runs(runs, ["rating"])
    assert [system.name for system in one.leaderboard()] == ["b", "a"] and one.pairs[0].differences == ()
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "page.html")]) == 0


def test_runs_are_named_by_their_folders_or_paths() -> None:
    assert run_names([Path("a/x"), Path("b/y")]) == ["x", "y"]
    assert run_names([Path("a/x"), Path("b/x"), Path("a/x")]) == ["a/x", "b/x", "a/x (2)"]


def test_the_page_shows_every_systems_image_with_its_verdict_and_embeds_each_once(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "new" / "page.html")]) == 0
    html = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    text = words(html)
    assert "guided: tuned is better than base" in text
    assert "Two boats came. IMAGE_1 ✕ wrong IMAGE_2 ✓ right IMAGE_1" in text
    assert "○ missed" in text and "base: RequestError in guided: too long" in text
    assert html.count("url(data:image/jpeg") == 2  # of the three images one is nowhere shown
    flags = [attributes for tag, attributes in parsed(html).tags if tag == "article"]
    assert len(flags) == 24
    assert sum("data-different" in one for one in flags) == 22 == sum("data-best-1" in one for one in flags)
    assert sum("data-wrong-1" in one for one in flags) == 0 < sum("data-wrong-0" in one for one in flags)
    assert sum("data-mode-0" in one for one in flags) == 12


def test_nothing_from_data_or_models_becomes_markup(tmp_path: Path) -> None:
    image = Image(EVIL, str(tmp_path / "gone.png"))
    slots = (SlotVerdict(1, "wrong", EVIL, (EVIL,)), SlotVerdict(2, "unlabelled", "elsewhere" + EVIL))
    hostile = Event(
        EVIL, EVIL, {"score": 0.5}, EVIL, EVIL, f"# {EVIL}\n{EVIL}\n# {EVIL}", "before", EVIL, EVIL, (image,), slots
    )
    answered = Event("2", EVIL, {EVIL: 50.0}, EVIL, EVIL, "", "after", EVIL, EVIL, (image,))
    run = evaluation(tmp_path / f"run{EVIL.replace('/', '')}", [hostile, answered])
    assert main(["compare", str(run), str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["inspect", str(run), "--out", str(tmp_path / "inspect.html")]) == 0
    for name in ("page.html", "inspect.html"):
        page = parsed((tmp_path / name).read_text(encoding="utf-8"))
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not [(tag, key) for tag, attributes in page.tags for key in attributes if key.startswith("on")]
        assert page.text.count(EVIL) >= 8


def test_a_page_of_many_events_stays_below_its_size_and_says_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = questions(tmp_path, 60)
    found = {event.id: event for event in placed_events(asked, dict.fromkeys(asked, SWAPPED))}
    groups = [Group("guided", [Answers("base", tmp_path, found)])]
    small = render_section(groups, text_bytes=60_000, picture_bytes=0)
    assert 0 < small.shown < 60 and len(small.html) < 62_000 and "url(" not in small.style
    text = words(small.html)
    assert (
        f"{small.shown} of 60 events" in text
        and "The others did not fit" in text
        and "Some pictures are left out" in text
    )
    whole = render_section(groups)
    assert whole.shown == 60 and whole.style.count("url(") == 2 and "did not fit" not in whole.html
    assert event_section.MAX_TEXT_BYTES + event_section.MAX_PICTURE_BYTES <= 25_000_000


def test_events_in_which_systems_differ_most_come_first(tmp_path: Path) -> None:
    asked = questions(tmp_path, 3)
    base = placed_events(asked, {"1": RIGHT, "2": SWAPPED, "3": FIRST})
    tuned = placed_events(asked, dict.fromkeys(asked, RIGHT))
    systems = [Answers(n, tmp_path, {e.id: e for e in found}) for n, found in (("base", base), ("tuned", tuned))]
    html = render_section([Group("guided", systems)]).html
    assert re.findall(r'<span class="number">(\d)</span>', html) == ["2", "3", "1"]


def test_inspect_shows_an_evaluation_with_its_modes_side_by_side(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(runs[0])]) == 0
    html = (runs[0] / "inspect.html").read_text(encoding="utf-8")
    assert "12 of 12 events" in words(html)
    assert html.count("<article") == 12 and re.search(r"<b>guided</b>.*<b>free</b>", html)


@pytest.mark.parametrize("policy", ["before", "after"])
def test_every_line_of_a_text_is_shown_once_with_its_slot(policy: markdown.Policy) -> None:
    for text in (
        REFERENCE,
        "Before all.\n# Title\n## Empty",
        "One line.",
        "# Only a title",
        "# A\nb\nc\n# D\n# E\nf\n# G",
    ):
        pieces = _pieces(text, policy)
        assert [line for _, lines in pieces for line in lines] == markdown.lines(text)
        slots = [slot for slot, _ in pieces if slot]
        assert slots == list(range(1, len(markdown.slots(text, policy)) + 1))
