"""An evaluation by a judge, but for the engine: what it reads, what it counts, and whom it ranks first."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from rich.console import Console

from imageref_ray.batch import store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.core import markdown
from imageref_ray.core.config import ConfigError, JudgeConfig, ScriptedConfig, check
from imageref_ray.core.records import Image, from_row, to_row
from imageref_ray.dataset.paper_formats import Question, write_jsonl
from imageref_ray.engines.base import Generate, Reply, Request
from imageref_ray.evaluation import events, tables
from imageref_ray.evaluation.evaluate_judge import evaluate_judge, judge_answer, prepare
from imageref_ray.evaluation.judge_inputs import Answers, Inputs, read_judge
from imageref_ray.evaluation.judge_results import Said, agreements, judge_events, judgement_lines, merge, summarise
from imageref_ray.picturenews.corpus import annotation, placements
from imageref_ray.picturenews.events import make_event, relevance, response, section_facet
from imageref_ray.stages.judge import Item, Judgement
from imageref_ray.stages.prompts.rubric import load_rubric
from tests.scripted import grader

EVENTS = [make_event(5, number) for number in range(8)]
SINGLE, PAIRWISE, IMAGES, CITATION = map(load_rubric, ("single", "pairwise", "images", "citation"))
PHOTO = Image("7/0.jpg", "7/0.jpg")


async def graded(request: Request) -> Reply:
    return Reply((grader(request),))


async def ask_all(inputs: Inputs, generate: Generate = graded) -> Said:
    """What the engine's pass does, without an engine."""
    said = {}
    for system, id in ((system, id) for system in inputs.systems for id in inputs.questions):
        row = to_row(inputs.item(system, id))
        found = await judge_answer(json.loads(json.dumps(row)), generate, rubric=inputs.rubric, max_tokens=99)
        said[system, id] = [from_row(Judgement, one) for one in found["judgements"]]
    return said


def of_known_quality(rubric: Any, baseline: str = "reference") -> Inputs:
    """Answers to generated news: the true one, one with a third of it lost, another event's, and none at all."""
    questions: dict[str, Question] = {}
    texts: dict[str, dict[str, str]] = {name: {} for name in ("none", "wrong", "poor", "true")}
    for event, other in zip(EVENTS, EVENTS[1:] + EVENTS[:1], strict=True):
        row, lines = annotation(event, "plain"), response(event).splitlines()
        human, gpt = (turn["value"] for turn in row["conversations"])
        questions[event.id] = Question(event.id, tuple(human.split("<image>")), gpt)
        texts["true"][event.id] = "\n\n".join(lines)
        texts["poor"][event.id] = "\n".join(line for n, line in enumerate(lines) if n % 3)
        texts["wrong"][event.id] = response(other)
        texts["none"][event.id] = ""
    return Inputs(questions, {name: Answers(found, 0) for name, found in texts.items()}, rubric, baseline)


async def test_systems_of_known_quality_are_ranked_by_it() -> None:
    inputs = of_known_quality(SINGLE)
    said = await ask_all(inputs)
    found = summarise(inputs, said, merge(inputs, said))
    assert found["ranking"] == ["true", "poor", "wrong", "none"]
    systems = found["systems"]
    assert systems["true"]["rating"] == 10 and systems["none"]["rating"] == 1
    assert systems["none"]["empty_answers"] == systems["none"]["answers"] == len(EVENTS)
    lowest, highest = systems["poor"]["intervals"]["rating"][0], systems["wrong"]["intervals"]["rating"][1]
    assert highest < lowest


async def test_pairs_of_known_quality_are_won_by_the_better_whoever_comes_first() -> None:
    inputs = of_known_quality(PAIRWISE, baseline="wrong")
    said = await ask_all(inputs)
    found = summarise(inputs, said, merge(inputs, said))
    assert inputs.systems == ["none", "poor", "true"] and found["ranking"][2] == "none"
    systems = found["systems"]
    assert systems["true"]["wins"] == len(EVENTS) and systems["none"]["losses"] == len(EVENTS)
    assert systems["true"]["flip_rate"] == 0 and systems["true"]["length_controlled"] > 99


async def test_a_judge_who_always_takes_the_first_gives_ties_and_is_found_out() -> None:
    async def first(request: Request) -> Reply:
        return Reply(("[[A]]",))

    inputs = of_known_quality(PAIRWISE)
    said = await ask_all(inputs, first)
    true = summarise(inputs, said, merge(inputs, said))["systems"]["true"]
    assert (true["win_rate"], true["ties"], true["flip_rate"]) == (50, len(EVENTS), 100)


async def test_images_at_their_own_sections_are_ranked_before_others_and_invented_ones_last() -> None:
    async def who_knows(request: Request) -> Reply:
        """Rates an image by its relevance to the section before it."""
        (shown,) = request.images
        event, shot = next((e, s) for e in EVENTS for s in e.shots if s.id == shown.id)
        before = str(request.messages[-1].parts[0]).partition("<answer>\n")[2]
        facet = section_facet(event, before[before.rfind("###") :])
        grade = 1 + 3 * relevance(event, facet, shot)
        return Reply(("\n".join(f"{name}: [[{grade}]]" for name in IMAGES.criteria),))

    questions: dict[str, Question] = {}
    texts: dict[str, dict[str, str]] = {"invented": {}, "shifted": {}, "right": {}}
    for event in EVENTS:
        images = tuple(Image(shot.id, shot.id) for shot in event.shots)
        questions[event.id] = Question(event.id, ("Tell it.", *images), response(event))
        own = {slot: k for slot, k in placements(event).items() if k}
        shifted = dict(zip(own, [*own.values()][1:] + [*own.values()][:1], strict=True))
        for name, chosen in (("invented", dict.fromkeys(own, 99)), ("shifted", shifted), ("right", own)):
            texts[name][event.id] = markdown.insert(response(event), chosen, "before")
    inputs = Inputs(questions, {name: Answers(found, 0) for name, found in texts.items()}, IMAGES)
    said = await ask_all(inputs, who_knows)
    found = summarise(inputs, said, merge(inputs, said))
    assert found["ranking"] == ["right", "shifted", "invented"]
    assert found["systems"]["right"]["coherence"] == 10 and found["systems"]["invented"]["coherence"] == 1


def small(rubric: Any, texts: Mapping[str, str], unknown: int = 0) -> Inputs:
    """Three questions about one photo, answered by one system."""
    questions = {id: Question(id, ("What?\nIMAGE_1: ", PHOTO), "# Fair\nBoats.") for id in "123"}
    return Inputs(questions, {"mine": Answers(texts, unknown)}, rubric)


def test_every_answer_has_its_line_and_its_place_in_the_counts() -> None:
    inputs = small(SINGLE, {"1": "Boats.", "2": "Rain."}, unknown=4)
    said = {("mine", "2"): [Judgement({}, "Grade it.", "Hm.")], ("mine", "3"): [Judgement({"rating": 1})]}
    judged = merge(inputs, said)
    lines = list(judge_events(inputs, said, judged, {"mine/1": "RequestError in judge: too long"}))
    assert [(line.id, line.values, line.problem) for line in lines] == [
        ("1", {}, "RequestError in judge: too long"),
        ("2", {}, "no reply of the judge has a rating"),
        ("3", {"rating": 1}, ""),
    ]
    found = summarise(inputs, said, judged)["systems"]["mine"]
    counts = {"answers": 1, "rating": 1, "unrated_answers": 1, "unrated": 0.5, "failed_answers": 1, "questions": 3}
    counts |= {"missing_answers": 1, "empty_answers": 0, "unknown_answers": 4}
    assert {name: found[name] for name in counts} == counts
    assert list(judgement_lines(SINGLE, said)) == [
        {"id": "2", "prompt": "Grade it.", "response": "Hm.", "system": "mine", "about": "", "values": {}},
        {"id": "3", "prompt": "", "response": "[[1]]", "system": "mine", "about": "", "values": {"rating": 1}},
    ]


def test_an_answers_images_count_as_one_and_answers_without_any_as_none() -> None:
    inputs = small(CITATION, {"1": "Boats.\n![Two](IMAGE_1)\nRain.\n![Two](IMAGE_1)", "2": "Rain.\nIMAGE_1"})
    twice = [Judgement({"faithfulness": 4}, "p", "r"), Judgement({}, "p", "r")]
    said: Said = {("mine", "1"): twice, ("mine", "2"): [], ("mine", "3"): []}
    judged = merge(inputs, said)
    found = summarise(inputs, said, judged)["systems"]["mine"]
    assert (found["faithfulness"], found["answers"], found["unrated_answers"]) == (4, 1, 0)
    counted = {"images": 2, "unrated_images": 1, "uncaptioned_images": 1, "without_images": 2}
    assert {name: found[name] for name in counted} == counted
    assert [line.problem for line in judge_events(inputs, said, judged, {})][1:] == 2 * [
        "the answer has no image to judge"
    ]


def test_only_images_that_are_judged_must_be_there(tmp_path: Path) -> None:
    Pillow.new("RGB", (4, 3)).save(tmp_path / "0.jpg")
    photos = tuple(Image(f"7/{k}.jpg", str(tmp_path / f"{k}.jpg")) for k in range(2))
    row, failures = prepare(
        to_row(Item("mine/1", "What?", "", "Boats.\nIMAGE_1\nIMAGE_9", images=photos)), rubric=IMAGES
    )
    assert not failures and [image["width"] for image in row["images"]] == [4, 0]
    _, (failure,) = prepare(to_row(Item("mine/1", "What?", "", "Boats.\nIMAGE_2", images=photos)), rubric=IMAGES)
    assert (failure.record_id, failure.error, failure.item) == ("mine/1", "MissingImage", "")


def test_the_agreement_of_all_raters_is_measured_two_by_two() -> None:
    values = {("mine", id): {"rating": float(n)} for n, id in enumerate("1234")}
    found = agreements(SINGLE, {"judge": values, "second": values, "human": {("mine", "9"): {"rating": 1.0}}})
    assert [(one["raters"], one["kappa"], one["answers"]) for one in found] == [(["judge", "second"], 1, 4)]


def test_what_another_judge_said_is_read_from_its_run(tmp_path: Path) -> None:
    inputs = small(SINGLE, {"1": "Boats.", "2": "Rain."})
    said = {("mine", "1"): [Judgement({"rating": 7.5}, "p", "[[7.5]]")], ("mine", "2"): [Judgement({}, "p", "Hm.")]}
    events.write(tmp_path, judge_events(inputs, said, merge(inputs, said), {}))
    assert read_judge(tmp_path) == {("mine", "1"): {"rating": 7.5}}
    (tmp_path / "events.jsonl").write_text('{"id": "1", "mode": "mine", "values"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"events\.jsonl line 1 is not an event"):
        read_judge(tmp_path)


def files(folder: Path, answers: str = '{"id": 1, "result": "Boats."}', human: bytes | None = None) -> dict[str, Any]:
    """A test set of one question, answers to it, ratings of them: the settings of a run that starts no engine."""
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "# Fair\nBoats."}]
    write_jsonl(folder / "test.jsonl", [{"id": "1", "conversations": turns}])
    (folder / "answers.jsonl").write_text(answers, encoding="utf-8")
    settings: dict[str, Any] = {"data": folder / "test.jsonl", "answers": {"mine": folder / "answers.jsonl"}}
    if human is not None:
        (folder / "human.csv").write_bytes(human)
        settings["human"] = folder / "human.csv"
    return {**settings, "output": folder / "run", "engine": ScriptedConfig(script="tests.scripted:grader")}


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            '{"id": 2, "result": "Boats."}',
            r"answers\.mine: no id of .*answers\.jsonl \(1 answers\) is among the 1 questions",
        ),
        ('{"id": 1, "result": "a"}\n{"id": "1", "result": "b"}', r"answers\.jsonl line 2: id 1 is repeated"),
        ('{"id": 1}', r'answers\.jsonl line 1: expected {"id": …, "result"'),
        ('{"id": 1, "result": ["a"]}', r'answers\.jsonl line 1: expected {"id": …, "result"'),
        ("Boats.", r"answers\.jsonl line 1: not valid JSON"),
        ("", r"no id of .*answers\.jsonl \(0 answers\)"),
    ],
)
def test_answers_that_cannot_be_judged_are_refused_in_one_sentence(answers: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        evaluate_judge(JudgeConfig(**files(tmp_path, answers)), Console(file=io.StringIO()))
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("human", "says"),
    [
        (b"id,grade\n1,7", r"human\.csv: its first line must name the columns id, system, and one of rating"),
        (b"", r"human\.csv: its first line must name"),
        (b"id,rating\n1,g\xe4n", r"human\.csv line 2: byte 0xe4 is not UTF-8"),
        (b"id,rating\n1,11", r"human\.csv line 2: rating is '11'; expected a number from 1 to 10"),
        (b"id,rating\n1,nan", r"human\.csv line 2: rating is 'nan'"),
        (b"id,rating\n1,good", r"human\.csv line 2: rating is 'good'"),
        (b"id,rating\n1,7\n1,8", r"human\.csv line 3: the answer of mine to 1 is rated again"),
        (b"id,rating\n2,7", r"human\.csv \(1 answers\) rates none of the answers that are judged here"),
        (b"id,rating\n1,", r"human\.csv \(0 answers\) rates none"),
        (b"id,system,rating\n1,yours,7", r"human\.csv \(1 answers\) rates none"),
        (b"id,rating\n1," + b"7" * 200_000, r"human\.csv line 2: rating is '7{60}'; expected"),
        (b"id,rating\n\n1", r"human\.csv \(0 answers\) rates none"),
    ],
)
def test_ratings_that_cannot_be_used_are_refused_in_one_sentence(human: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        evaluate_judge(JudgeConfig(**files(tmp_path, human=human)), Console(file=io.StringIO()))
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_verdicts_of_people_are_words_or_numbers(tmp_path: Path) -> None:
    settings = {**files(tmp_path, human=b"id,win\n1,Maybe"), "rubric": "pairwise"}
    with pytest.raises(ConfigError, match=r"win is 'Maybe'; expected win, tie or loss"):
        evaluate_judge(JudgeConfig(**settings), Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rubric": "singel"}, "rubric: no pack is called singel"),
        (
            {"judges": {"second": "nowhere"}},
            r"nowhere has no events\.jsonl",
        ),
        ({"answers": {"reference": "a.jsonl"}}, r"answers\.reference: this name is the test set's own answers"),
        ({"answers": {"a/b": "a.jsonl"}}, r"answers: 'a/b' is no name for a system"),
        ({"baseline": "yours"}, r"baseline: yours is not a name in answers \(mine\)"),
        ({"baseline": "mine"}, "answers: mine is the baseline; give the system to compare with it"),
        ({"judges": {"human": "runs/x"}}, r"judges\.human: this name has a meaning already"),
        ({"data": "nowhere.jsonl"}, r"nowhere\.jsonl does not exist"),
    ],
)
def test_settings_that_contradict_are_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluate_judge(check(JudgeConfig, {**files(tmp_path), **changes}, "test"), Console(file=io.StringIO()))
    assert not (tmp_path / "run").exists()


def test_a_run_without_any_rating_has_failed_and_says_why(tmp_path: Path) -> None:
    config = JudgeConfig(**files(tmp_path))
    said = to_row(Judgement({}, "Grade it.", "I like it."))
    store.Store(config.output).write([store.Result("mine/1", {"id": "mine/1", "judgements": [said]})], [])
    with pytest.raises(RunFailed, match=r"none of 1 answers has a rating; most often: no reply of the judge has"):
        evaluate_judge(config, Console(file=io.StringIO()))  # all are judged: no engine is started
    assert "I like it." in (config.output / "judgements.jsonl").read_text(encoding="utf-8")
    assert not (config.output / "metrics.json").exists()


def test_a_baseline_is_for_pairs_only(tmp_path: Path) -> None:
    settings = files(tmp_path)
    settings |= {
        "answers": {"mine": settings["answers"]["mine"], "base": settings["answers"]["mine"]},
        "baseline": "base",
    }
    with pytest.raises(ConfigError, match="rubric single compares no answers; take pairwise, or remove baseline"):
        evaluate_judge(JudgeConfig(**settings), Console(file=io.StringIO()))


def test_the_closing_lines_show_the_best_first_and_all_that_bears_on_it() -> None:
    counts = {
        "missing_answers": 2,
        "failed_answers": 1,
        "unrated_answers": 0,
        "unrated": 0.0,
        "questions": 1200,
        "answers": 1199,
    }
    summary = {
        "measures": ["rating", "unrated"],
        "ranking": ["mine", "other"],
        "systems": {
            "other": {**counts, "rating": None, "intervals": {}},
            "mine": {**counts, "rating": 7.25, "intervals": {"rating": [7.0, 7.5]}, "missing_answers": 0},
        },
        "agreement": [
            {"raters": ["judge", "human"], "measure": "rating", "answers": 40, "kappa": 0.5, "interval": [0.4, 0.6],
             "equal": 0.25},
            {"raters": ["judge", "second"], "measure": "rating", "answers": 1, "kappa": None, "interval": None,
             "equal": 1.0},
        ],
        "unknown_ratings": {"human": 3},
        "cost": {"requests": 2398, "prompt_tokens": 5000, "generated_tokens": 70, "money": 1.5, "currency": "EUR"},
        "run": {"problems": {"RequestError": 1}},
    }  # fmt: skip
    screen = Console(file=io.StringIO(), width=140)
    screen.print(tables.judge("t", summary))
    printed = screen.file.getvalue()  # type: ignore[attr-defined]
    for text in ("rating", "7.25", "7.00 – 7.50", "1,199", "0.00", " – "):
        assert text in printed
    assert tables.notes(summary) == [
        "other: 2 of 1,200 questions have no answer and count as empty answers",
        "other: 1 answers were not judged and are left out; the quarantine says why",
        "mine: 1 answers were not judged and are left out; the quarantine says why",
        "judge and human, rating: kappa 0.50 (0.40 – 0.60), equal in 25 % of 40 answers",
        "judge and second, rating: kappa –, equal in 100 % of 1 answers",
        "human: 3 ratings are left out: they are of answers that are not judged here",
        "cost: 2,398 requests, 5,000 prompt tokens, 70 generated tokens, 1.50 EUR",
        "problems: RequestError 1",
    ]
