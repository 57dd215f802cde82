"""A plan's totals and intervals: right on average, honest about what was not measured, exact when nothing is left."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.batch.budget import Cost
from imageref_ray.commands.cost_estimator import FIGURES, Estimate, Plan, compare, covariates, estimate, totals
from imageref_ray.core.config import PriceConfig
from imageref_ray.core.records import Document, Image, Sample, Usage
from imageref_ray.core.subset import choose

PRICES = PriceConfig(prompt=1, cached=0.1, image=2, generated=4, gpu_hour=3)
World = tuple[dict[str, tuple[float, ...]], dict[str, Cost]]


def world(records: int, seed: int, noise: float) -> World:
    """Records whose costs depend on their images and texts, with proportional noise; cached tokens depend little."""
    rng = np.random.default_rng(seed)
    images, characters = rng.poisson(4, records) + 1, rng.lognormal(7, 0.5, records)
    around = images * characters * rng.uniform(0.2, 0.5, records)
    prompt = (around / 4 + 300 * images) * rng.lognormal(0, noise, records)
    cached, generated = prompt * rng.uniform(0, 0.5, records), 40 * images * rng.lognormal(0, noise, records)
    known: dict[str, tuple[float, ...]] = {
        f"{i}": (float(images[i]), float(characters[i]), float(around[i])) for i in range(records)
    }
    costs = {
        f"{i}": Cost(
            Usage(2 + 2 * int(images[i]), int(prompt[i]), 256 * int(images[i]), int(cached[i]), int(generated[i])),
            float(generated[i]) / 50,
        )
        for i in range(records)
    }
    return known, costs


def planned(simulated: World, measured: int, seed: int = 0) -> Plan:
    known, costs = simulated
    return estimate(known, {name: costs[name] for name in choose(known, measured, seed, str)}, PRICES, 2.0, seed)


@pytest.mark.parametrize(("records", "measured", "noise"), [(300, 12, 0.3), (300, 32, 0.3), (60, 30, 0.1)])
def test_the_interval_holds_the_truth_nine_times_in_ten_or_more(records: int, measured: int, noise: float) -> None:
    worlds = 200
    inside = dict.fromkeys(FIGURES, 0)
    for seed in range(worlds):
        simulated = world(records, seed, noise)
        for name, deviation in compare(planned(simulated, measured, seed), totals(simulated[1], PRICES, 2.0)).items():
            inside[name] += deviation.inside
    assert min(inside.values()) >= 0.9 * worlds, inside


def test_estimates_are_right_on_average() -> None:
    errors = []
    for seed in range(100):
        simulated = world(300, seed, 0.3)
        errors.append(compare(planned(simulated, 24, seed), totals(simulated[1], PRICES, 2.0))["money"].relative)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / math.sqrt(len(errors))
    assert np.std(errors) < 0.1


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_a_plan_of_everything_is_exact(records: int, seed: int) -> None:
    simulated = world(records, seed, 0.3)
    truth = totals(simulated[1], PRICES, 2.0)
    estimates = planned(simulated, records)
    assert estimates.figures == {name: Estimate(*[pytest.approx(truth[name])] * 3) for name in FIGURES}
    assert all(deviation.inside for deviation in compare(estimates, truth).values())


@settings(max_examples=15)
@given(st.integers(6, 60), st.integers(5, 30), st.integers(0, 1000))
def test_no_total_is_below_what_was_spent_and_money_adds_up(records: int, measured: int, seed: int) -> None:
    simulated = world(records, seed, 0.5)
    measured = min(measured, records)
    estimates = planned(simulated, measured, seed)
    spent = totals({name: simulated[1][name] for name in choose(simulated[0], measured, seed, str)}, PRICES, 2.0)
    for name, figure in estimates.figures.items():
        assert spent[name] * (1 - 1e-9) <= figure.low <= figure.value <= figure.high, name
    value = {name: figure.value for name, figure in estimates.figures.items()}
    text = value["prompt_tokens"] - value["image_tokens"] - value["cached_tokens"]
    tokens = text + 2 * value["image_tokens"] + 0.1 * value["cached_tokens"] + 4 * value["generated_tokens"]
    assert value["money"] == pytest.approx(tokens / 1e6 + 3 * value["gpu_hours"], rel=1e-6)


def test_covariates_narrow_the_interval_where_they_explain_the_costs() -> None:
    known, costs = world(400, 7, 0.05)
    measured = {name: costs[name] for name in choose(known, 30, 7, str)}
    with_them = estimate(known, measured, PRICES)
    without = estimate(dict.fromkeys(known, ()), measured, PRICES)
    assert with_them.covariates > 0 == without.covariates
    widths = [p.figures["prompt_tokens"].high - p.figures["prompt_tokens"].low for p in (with_them, without)]
    assert widths[0] < widths[1] / 2


def test_the_plan_does_not_depend_on_the_order_and_repeats_by_its_seed() -> None:
    known, costs = world(80, 3, 0.3)
    measured = {name: costs[name] for name in choose(known, 20, 3, str)}
    turned = estimate(dict(reversed(known.items())), dict(reversed(measured.items())), PRICES, 1.0, seed=5)
    assert turned == estimate(known, measured, PRICES, 1.0, seed=5)
    assert totals(dict(reversed(costs.items())), PRICES, 1.0) == totals(costs, PRICES, 1.0)


def test_a_cost_that_is_always_the_same_has_no_interval() -> None:
    known = {f"{i}": (float(i), 1.0, 1.0) for i in range(50)}
    estimates = estimate(known, {f"{i}": Cost(Usage(requests=7)) for i in range(5)}, PRICES)
    assert estimates.figures["requests"] == Estimate(*[pytest.approx(350)] * 3)
    assert estimates.figures["money"] == Estimate(0, 0, 0)


def test_tokens_are_priced_by_kind_and_gpus_by_the_hour() -> None:
    cost = {"a": Cost(Usage(1, 1_000_000, 400_000, 100_000, 50_000), seconds=1800)}
    assert totals(cost, PRICES, gpus=4)["money"] == pytest.approx(0.5 * 1 + 0.4 * 2 + 0.1 * 0.1 + 0.05 * 4 + 2 * 3)
    assert totals(cost, PriceConfig(prompt=1), gpus=4)["money"] == pytest.approx(1)


def test_the_error_of_a_figure_is_relative_to_the_truth() -> None:
    estimates = Plan(
        10, 5, 0, {"money": Estimate(12, 9, 15), "requests": Estimate(0, 0, 0), "gpu_hours": Estimate(1, 0, 2)}
    )
    deviations = compare(estimates, {"money": 8, "requests": 0, "gpu_hours": 0})
    assert (deviations["money"].relative, deviations["money"].inside) == (0.5, False)
    assert (deviations["requests"].relative, deviations["requests"].inside) == (0, True)
    assert deviations["gpu_hours"].relative == math.inf


@pytest.mark.parametrize(
    ("known", "measured", "message"),
    [
        ({"a": (1.0,)}, ["b"], "'b', are not of the population"),
        ({str(i): (1.0,) for i in range(9)}, ["1", "2"], "2 of 9 records were measured; measure at least 5"),
        ({}, [], "0 of 0 records were measured"),
        ({"a": (1.0,), "b": ()}, ["a", "b"], r"\[0, 1\] numbers per record"),
        ({"a": (math.nan,)}, ["a"], "not a finite number"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_reason(
    known: dict[str, tuple[float, ...]], measured: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(known, dict.fromkeys(measured, Cost()), PRICES)


def test_covariates_count_images_texts_and_what_captioning_reads() -> None:
    two = Document("d", "Ttl", "seven77[Image 0]", (Image("d/0.png", ""), Image("d/1.png", "")))
    assert covariates(Sample("s", "why?", (two, Document("e", "", "abc")))) == (2, 4 + 10 + 3, 20)


def test_a_choice_depends_on_names_and_seed_alone() -> None:
    names = [str(i) for i in range(100)]
    first = choose(names, 10, 0, str)
    assert choose(reversed(names), 10, 0, str) == first
    assert choose(names, 10, 1, str) != first
    assert len(set(first) & set(choose([*names, *(f"x{i}" for i in range(5))], 10, 0, str))) >= 8
