"""The placement metrics: golden cases by hand, properties, and a brute-force check of the matchings."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.dataset.paper_formats import Placed, Relevance
from imageref_ray.evaluation.placement_metrics import EventScore, assess, best_total, first_uses, summarise, verdicts

IMAGES = ("a", "b", "c", "d")
relevances = st.dictionaries(
    st.integers(1, 4), st.dictionaries(st.sampled_from(IMAGES), st.integers(1, 3), max_size=4), max_size=4
)
placements = st.dictionaries(st.integers(1, 6), st.sampled_from((*IMAGES, "other")), max_size=6)


def values(score: EventScore) -> tuple[float, float, float, float]:
    return score.recall_1, score.recall_3, score.precision, score.score


def all_answers(relevance: Relevance) -> list[dict[int, str]]:
    """Every way to put at most one image at each labelled slot, each image at most once."""
    slots = sorted(relevance)
    answers = []
    for choice in itertools.product((None, *IMAGES), repeat=len(slots)):
        used = [image for image in choice if image]
        if len(used) == len(set(used)):
            answers.append({slot: image for slot, image in zip(slots, choice, strict=True) if image})
    return answers


def test_values_of_a_mixed_answer_are_as_computed_by_hand():
    relevance = {1: {"a": 3, "b": 2}, 2: {"b": 3}, 3: {"c": 1}, 4: {}}
    score = assess(relevance, {1: "b", 3: "c", 4: "d"})
    # hits: b at 1 (relevance 2) and c at 3 (relevance 1); d at 4 is wrong; b's own slot 2 stays empty
    assert score.recall_1 == pytest.approx(2 / 3)  # a, b and c can be placed
    assert score.recall_3 == 0  # of a at 1 and b at 2
    assert score.precision == pytest.approx(2 / 3)
    assert score.score == pytest.approx((2 + 1 - 1) / (3 + 3 + 1))
    assert (score.inserted, score.hits, score.labelled) == (3, 2, 3)


def test_the_matching_gives_a_contested_image_to_the_slot_where_the_total_is_greatest():
    relevance = {1: {"a": 3}, 2: {"a": 3, "b": 1}}
    assert best_total(relevance) == 4
    assert best_total(relevance, weighted=False) == 2
    assert best_total(relevance, minimum=3, weighted=False) == 1
    assert assess(relevance, {2: "a"}).score == 0.75
    assert assess(relevance, {2: "a"}).recall_3 == 1


def test_the_heaviest_matching_need_not_be_the_largest():
    relevance = {1: {"a": 3, "b": 1}, 2: {"a": 1}}
    assert best_total(relevance) == 3
    assert best_total(relevance, weighted=False) == 2
    assert assess(relevance, {1: "a"}).score == 1


def test_empty_denominators_count_as_one():
    nothing_to_do = assess({1: {}, 2: {}}, {})
    assert values(nothing_to_do) == (1, 1, 1, 1)
    nothing_done = assess({1: {"a": 2}}, {})
    assert values(nothing_done) == (0, 1, 1, 0)


def test_a_wrong_image_costs_one_point():
    assert assess({1: {"a": 2}}, {1: "b"}).score == -0.5


def test_images_at_slots_without_labels_are_not_judged():
    assert assess({1: {"a": 3}}, {1: "a", 7: "b"}) == assess({1: {"a": 3}}, {1: "a"})


def test_a_repeated_image_counts_at_its_first_slot_only():
    assert first_uses({3: "a", 1: "a", 2: "b"}) == {1: "a", 2: "b"}
    assert assess({1: {"a": 3}, 2: {"a": 3}}, {1: "a", 2: "a"}).recall_3 == 1


@given(relevances)
def test_a_perfect_answer_scores_exactly_one_and_none_scores_more(relevance):
    assert max(assess(relevance, answer).score for answer in all_answers(relevance)) == 1
    assert max(assess(relevance, answer).recall_1 for answer in all_answers(relevance)) == 1
    assert max(assess(relevance, answer).recall_3 for answer in all_answers(relevance)) == 1


@given(relevances, placements)
def test_no_answer_leaves_the_bounds(relevance, placed):
    score = assess(relevance, placed)
    assert score.score <= 1
    assert all(0 <= value <= 1 for value in (score.recall_1, score.recall_3, score.precision))


@given(relevances)
def test_matchings_agree_with_trying_everything(relevance):
    gains = [[relevance[slot].get(image, 0) for slot, image in answer.items()] for answer in all_answers(relevance)]
    assert best_total(relevance) == max(map(sum, gains))
    assert best_total(relevance, weighted=False) == max(sum(map(bool, gain)) for gain in gains)
    assert best_total(relevance, minimum=3, weighted=False) == max(gain.count(3) for gain in gains)


events = st.dictionaries(st.sampled_from("123456"), st.tuples(relevances, st.none() | placements), min_size=1)


@given(events, st.randoms())
def test_the_summary_does_not_depend_on_any_order(events, rng: random.Random):
    def shuffled(mapping):
        return dict(rng.sample(list(mapping.items()), len(mapping)))

    labels = {id: relevance for id, (relevance, _) in events.items()}
    answers = {id: placed for id, (_, placed) in events.items()}
    mixed = {id: shuffled({slot: shuffled(fits) for slot, fits in labels[id].items()}) for id in shuffled(labels)}
    assert summarise(mixed, shuffled(answers), resamples=20) == summarise(labels, answers, resamples=20)


def test_f1_is_taken_of_the_means_over_events():
    labels = {"1": {1: {"a": 3}}, "2": {1: {"a": 3}}}
    summary = summarise(labels, {"1": {1: "a"}, "2": {1: "b"}})
    assert (summary["precision"], summary["recall_3"], summary["f1"]) == (0.5, 0.5, 0.5)
    one_silent = summarise(labels, {"1": {1: "a"}, "2": {}})
    assert one_silent["precision"] == 1  # nothing inserted, nothing wrong
    assert one_silent["f1"] == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_unparsed_and_missing_answers_count_as_empty_and_paper_mode_drops_them():
    labels = {id: {1: {"a": 3}} for id in "1234"}
    answers = {"1": {1: "a"}, "2": None, "3": {}, "stranger": {1: "a"}}
    right = summarise(labels, answers)
    assert (right["events"], right["recall_3"], right["unparsed"]) == (4, 0.25, 0.25)
    assert (right["unparsed_events"], right["missing_events"]) == (1, 1)
    paper = summarise(labels, answers, paper=True)
    assert (paper["events"], paper["recall_3"], paper["unparsed"]) == (2, 0.5, 0.25)


def test_nothing_left_to_score_is_an_error():
    with pytest.raises(ValueError, match="none of 1 labelled events"):
        summarise({"1": {}}, {"1": None}, paper=True)


def test_intervals_hold_the_mean_and_shrink_with_more_events():
    def summary(events, seed=0):
        labels = {str(i): {1: {"a": 3}} for i in range(events)}
        return summarise(labels, {str(i): {1: "a" if i % 2 else "b"} for i in range(events)}, seed=seed)

    few, many = summary(20), summary(500)
    for result in (few, many):
        for name, (low, high) in result["intervals"].items():
            assert low <= result[name] <= high
    width = {n: high - low for n, r in (("few", few), ("many", many)) for low, high in [r["intervals"]["f1"]]}
    assert width["many"] < width["few"] / 3
    # a share of one half among 500: half a width of 1.96 · sqrt(0.25 / 500)
    assert width["many"] == pytest.approx(2 * 1.96 * (0.25 / 500) ** 0.5, rel=0.1)
    assert summary(20) == few


def test_intervals_are_drawn_by_the_seed_and_by_nothing_else():
    # Of one to twenty images the first half is placed: shares of so many denominators that hardly two draws have the
    # same mean. Bounds of two seeds then differ by far more than sums are rounded; those of a 0/1 outcome may not.
    labels = {str(i): {slot: {str(slot): 3} for slot in range(1, i + 1)} for i in range(1, 21)}
    answers = {str(i): {slot: str(slot) for slot in range(1, i // 2 + 1)} for i in range(1, 21)}
    once, again, other = (summarise(labels, answers, seed=seed)["intervals"] for seed in (0, 0, 1))
    assert once == again
    for name in ("recall_1", "recall_3", "f1", "score"):
        assert once[name] != pytest.approx(other[name], rel=1e-6)


def test_a_perfect_set_has_intervals_of_exactly_one():
    labels = {str(i): {1: {"a": 3}} for i in range(7)}
    summary = summarise(labels, {id: {1: "a"} for id in labels})
    assert set(map(tuple, summary["intervals"].values())) == {(1.0, 1.0)}


def test_verdicts_name_what_stands_and_what_is_missing():
    relevance = {1: {"a": 3}, 2: {"b": 2}, 3: {"c": 3}, 4: {"a": 3}, 5: {}, 7: {"d": 3}}
    by_slot = verdicts(relevance, {1: "a", 2: "b", 5: "d", 6: "e"})
    assert by_slot == {1: "right", 2: "fair", 3: "missed", 4: "empty", 5: "wrong", 6: "unlabelled", 7: "missed"}


def test_references_to_images_that_do_not_exist_are_wrong_images() -> None:
    relevance = {1: {"a": 3}, 2: {}}
    honest, inventive = assess(relevance, {1: "a"}), assess(relevance, {1: "a"}, unknown=2)
    assert (honest.precision, honest.score) == (1, 1)
    assert (inventive.hits, inventive.inserted) == (1, 3)
    assert [inventive.precision, inventive.score] == pytest.approx([1 / 3, 1 / 3])
    assert assess(relevance, {1: "a"}, unknown=2, paper=True) == assess(relevance, {1: "a"}, paper=True)


def test_wrong_images_where_nothing_fits_are_charged_and_no_score_is_below_minus_one() -> None:
    assert assess({1: {}, 2: {}}, {}).score == 1
    assert assess({1: {}, 2: {}}, {1: "a"}).score == -1
    assert assess({1: {"a": 1}, 2: {}, 3: {}}, {1: "b", 2: "c", 3: "d"}).score == -1
    assert assess({1: {}, 2: {}}, {1: "a", 2: "b"}, paper=True).score == 1
    assert assess({1: {"a": 1}, 2: {}, 3: {}}, {1: "b", 2: "c", 3: "d"}, paper=True).score == -3


def test_the_precision_of_nothing_is_not_a_number() -> None:
    silent = summarise({"1": {1: {"a": 3}}, "2": {1: {}}}, {"1": {}, "2": {}})
    assert (silent["precision"], silent["micro_precision"], silent["f1"]) == (None, None, 0)
    assert (silent["inserted"], silent["hits"], silent["missed"]) == (0, 0, 1)
    assert "precision" not in silent["intervals"]
    assert summarise({"1": {1: {"a": 3}}}, {"1": {}}, paper=True)["precision"] == 1


def test_cheats_rank_below_an_honest_system() -> None:
    labels = {str(n): {1: {"a": 3}, 2: {"b": 3, "c": 1}, 3: {}} for n in range(8)}
    systems: dict[str, tuple[Placed, int]] = {
        "honest, half right": ({1: "a"}, 0),
        "inserts nothing": ({}, 0),
        "inserts everywhere": ({1: "c", 2: "a", 3: "b"}, 0),
        "repeats one image": ({1: "d", 2: "d", 3: "d"}, 0),
        "invents images": ({1: "a"}, 3),
    }
    found = {
        name: summarise(labels, dict.fromkeys(labels, placed), unknown=dict.fromkeys(labels, unknown))
        for name, (placed, unknown) in systems.items()
    }
    honest = found.pop("honest, half right")
    for name, summary in found.items():
        assert summary["f1"] < honest["f1"], name
        assert summary["score"] < honest["score"], name
