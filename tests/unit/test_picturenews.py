"""The embedded corpus: everything it claims to know about itself is true."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from imageref_ray.core import markdown
from imageref_ray.core.config.source import FilterConfig
from imageref_ray.core.records import Caption, Placement, Record, Sample, VisualQuestion
from imageref_ray.dataset.paper_formats import read_labels
from imageref_ray.evaluation.placement_metrics import summarise
from imageref_ray.picturenews import corpus, judge_build, skill_data
from imageref_ray.picturenews.event_questions import event_questions, refused
from imageref_ray.picturenews.events import Event, caption, make_event, questions, response
from imageref_ray.picturenews.questions import write_questions
from imageref_ray.picturenews.scene_facts import Chart, Emblem, Portrait, Scene, describe
from imageref_ray.sources import paper, samples, vqa_sets

EVENTS = [make_event(5, number) for number in range(200)]


def record(event: Event) -> Record:
    """The event annotated without a mistake."""
    captions = tuple(Caption(shot.id, describe(shot.picture), caption(event, shot)) for shot in event.shots)
    chosen = corpus.placements(event).items()
    placed = tuple(Placement(slot, event.shots[k - 1].id if k else None) for slot, k in chosen)
    return Record(corpus.sample(event), response(event), captions, placed)


def test_an_event_is_a_function_of_its_seed_and_number() -> None:
    assert make_event(5, 7) == EVENTS[7]
    assert make_event(5, 7) != make_event(6, 7)


def test_no_test_event_was_ever_trained_on() -> None:
    counts = {"base": 8000, "train": 1000, "validation": 1000, "test": 1000}
    events = {split: list(corpus.make_events(seed, counts[split])) for split, seed in corpus.SEEDS.items()}
    seen = {split: {tuple(a.text for a in event.articles) for event in found} for split, found in events.items()}
    ids = [event.id for found in events.values() for event in found]
    assert len(set(ids)) == len(ids) == sum(counts.values())
    assert seen["test"].isdisjoint(seen["base"] | seen["train"] | seen["validation"])


def test_events_are_as_varied_as_promised() -> None:
    assert all(2 <= len(event.articles) <= 4 for event in EVENTS)
    assert all(3 <= len(event.shots) <= 6 for event in EVENTS)
    assert all(3 <= len(event.facets) <= 5 for event in EVENTS)
    kinds = {type(shot.picture) for event in EVENTS for shot in event.shots}
    assert kinds == {Scene, Portrait, Chart, Emblem}
    scenes = [shot.picture for event in EVENTS for shot in event.shots if isinstance(shot.picture, Scene)]
    assert len({scene.object for scene in scenes}) == 12 and len({scene.colour for scene in scenes}) == 8
    assert {scene.count for scene in scenes} == {1, 2, 3} and len({scene.place for scene in scenes}) == 6
    assert any(shot.duplicate_of for event in EVENTS for shot in event.shots)


def test_persons_towns_and_deeds_stand_only_in_the_text_and_colour_and_place_only_in_the_picture() -> None:
    for event in EVENTS:
        text = " ".join(article.text for article in event.articles)
        for shot in event.shots:
            assert event.town not in describe(shot.picture)
            if isinstance(shot.picture, Scene):
                assert shot.picture.colour not in text.split()
                assert describe(shot.picture).split(shot.picture.noun)[1].strip() not in text


def test_the_reference_answer_is_perfect_by_its_own_labels(tmp_path: Path) -> None:
    corpus.write_truth(tmp_path, EVENTS)
    placed = {
        event.id: {slot: event.shots[k - 1].id for slot, k in corpus.placements(event).items() if k} for event in EVENTS
    }
    summary = summarise(read_labels(tmp_path / "label.csv"), placed)
    assert summary["recall_3"] == summary["precision"] == summary["f1"] == 1


def test_perfect_records_agree_with_the_truth_and_a_swap_is_seen() -> None:
    events = {event.id: event for event in EVENTS}
    perfect = judge_build.agreement(map(record, EVENTS), events)
    assert perfect.precision == perfect.recall == perfect.captions == 1
    whole = record(EVENTS[0])
    slots = [placement for placement in whole.placements if placement.image_id]
    swapped = tuple(replace(a, image_id=b.image_id) for a, b in zip(slots, slots[1:] + slots[:1], strict=True))
    wrong = replace(
        whole, placements=swapped, captions=tuple(replace(c, caption=c.description) for c in whole.captions)
    )
    found = judge_build.agreement([wrong], events)
    assert found.precision == found.recall == 0 and found.captions < 1


@pytest.mark.parametrize("text", ["Two red boats", "two red boats at the harbour in", "three red boats at the harbour"])
def test_a_caption_with_a_missing_or_wrong_fact_is_not_right(text: str) -> None:
    event, shot = next((e, s) for e in EVENTS for s in e.shots if isinstance(s.picture, Scene))
    assert judge_build.caption_right(event, shot, caption(event, shot)) and judge_build.deed_right(
        event, shot, caption(event, shot)
    )
    assert not judge_build.caption_right(event, shot, text) and not judge_build.deed_right(event, shot, text)


def test_every_question_has_one_answer_and_it_is_in_the_picture() -> None:
    for event in EVENTS:
        for shot in event.shots:
            asked = questions(shot.picture)
            assert len({question for question, _ in asked}) == len(asked) >= 3
            assert all(answer for _, answer in asked)


def test_choices_are_the_truth_and_others_of_its_kind_always_the_same_ones() -> None:
    right = set()
    for event in EVENTS:
        for shot in event.shots:
            for item, row in zip(write_questions(shot.picture), corpus.question_rows(shot), strict=True):
                offered = row["choices"]
                assert offered[row["correct_choice_idx"]] == item.answer
                assert len(set(offered)) == len(offered) == (3 if item.question == "How many are there?" else 4)
                assert set(offered) <= set(item.pool)
                right.add(row["correct_choice_idx"])
            assert list(corpus.question_rows(shot)) == list(corpus.question_rows(shot))
    assert right == {0, 1, 2, 3}


def test_the_written_questions_are_read_as_annotated_ones_with_their_pictures(tmp_path: Path) -> None:
    corpus.write_images(tmp_path, EVENTS[:2])
    corpus.write_truth(tmp_path, EVENTS[:2])
    found = list(vqa_sets.read_flat(tmp_path / "questions.json", tmp_path, "picturenews"))
    pairs = [(one.question, one.choices[one.correct]) for one in found if isinstance(one, VisualQuestion)]
    assert pairs == [pair for event in EVENTS[:2] for shot in event.shots for pair in questions(shot.picture)]
    assert len(pairs) == len(found)  # ten answers each: nothing to report
    assert all(Path(one.image.uri).is_file() for one in found if isinstance(one, VisualQuestion))


def test_what_is_written_is_what_the_builder_reads(tmp_path: Path) -> None:
    counts = corpus.write(tmp_path, 3, 5)
    samples = list(paper.read(tmp_path))
    written = EVENTS[:3]
    assert counts["events"] == 3 and counts["articles"] == sum(len(event.articles) for event in written)
    assert counts["images"] == sum(len(event.shots) for event in written)
    assert samples == [corpus.sample(event, tmp_path) for event in EVENTS[:3]]
    rows = [json.loads(line) for line in (tmp_path / "annotation.plain.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, sample in zip(rows, samples, strict=True):
        assert isinstance(sample, Sample)
        assert [f"image/{image.id}" for image in sample.images] == row["image"]
        assert all((tmp_path / path).is_file() for path in row["image"])
        assert row["conversations"][0]["value"].count("<image>") == len(row["image"])
        assert markdown.strip_images(row["conversations"][1]["value"]) == response(EVENTS[rows.index(row)])


def test_questions_about_an_event_have_different_answers_and_two_have_none(tmp_path: Path) -> None:
    for event in EVENTS[:100]:
        asked = event_questions(event, random.Random(event.id))
        answers = {item.question: item.answer(event) for item in asked}
        assert len(answers) == len(asked) and asked[0].answer(event) == response(event)
        for item in asked:
            told = [event.facets[number] for number in item.facets]
            assert refused(answers[item.question]) == (item.kind == "absent") == (not told)
            if item.kind == "person":
                assert all(facet.person in item.question for facet in told)
            if item.kind == "thing":
                assert any(value in item.question for value in told[0].detail.values())
        absent_person, absent_thing = (item.question for item in asked if item.kind == "absent")
        assert not any(facet.person in absent_person for facet in event.facets)
        assert not any(facet.thing in absent_thing for facet in event.facets)


def test_the_written_questions_about_events_are_read_as_samples_of_a_build(tmp_path: Path) -> None:
    corpus.write(tmp_path, 3, 5)
    read = samples.read(tmp_path, [tmp_path / "asked.jsonl"], FilterConfig())
    found = [one for one in read if isinstance(one, Record)]
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one.id for one in found] == [answer["id"] for answer in answers]
    assert [one.sample.instruction for one in found] == [answer["question"] for answer in answers]
    assert all(Path(image.uri).is_file() for one in found for image in one.sample.images)


def test_the_end_to_end_task_is_not_among_the_skills() -> None:
    for event in EVENTS[:50]:
        for name, skill in skill_data.SKILLS.items():
            for row in skill(event, random.Random(0)):
                answers = [turn["value"] for turn in row["conversations"] if turn["from"] == "gpt"]
                has_articles = "# " in row["conversations"][0]["value"] and row["image"]
                assert not (has_articles and any("IMAGE_" in answer for answer in answers)), name
