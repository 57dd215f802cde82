"""A plan's totals and intervals: right on average, honest about what was not measured, exact when nothing is left."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imageref_ray.batch.budget import Cost
from imageref_ray.commands.cost_estimator import FIGURES, Estimate, Part, Plan, compare, totals
from imageref_ray.commands.cost_estimator import estimate as estimate_parts
from imageref_ray.commands.plan_population import Known, known, own_part, shared_part
from imageref_ray.core.config import PriceConfig
from imageref_ray.core.records import Document, Image, Sample, Usage
from imageref_ray.core.subset import choose
from tests.sweeps import sweep

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


def estimate(
    population: dict[str, tuple[float, ...]],
    costs: dict[str, Cost],
    prices: PriceConfig,
    gpus: float = 0.0,
    seed: int = 0,
) -> Plan:
    """Of records that share nothing."""
    part = own_part({id: Known(own) for id, own in population.items()}, costs, set())
    return estimate_parts([part], prices, gpus, seed)


def planned(simulated: World, measured: int, seed: int = 0) -> Plan:
    known, costs = simulated
    return estimate(known, {name: costs[name] for name in choose(known, measured, seed, str)}, PRICES, 2.0, seed)


@pytest.mark.parametrize(("records", "measured", "noise"), [(300, 12, 0.3), (300, 32, 0.3), (60, 30, 0.1)])
def test_the_interval_holds_the_truth_nine_times_in_ten_or_more(records: int, measured: int, noise: float) -> None:
    worlds = sweep(100)
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


@settings(max_examples=sweep(15))
@given(st.integers(1, 30), st.integers(0, 1000))
def test_a_plan_of_everything_is_exact(records: int, seed: int) -> None:
    simulated = world(records, seed, 0.3)
    truth = totals(simulated[1], PRICES, 2.0)
    estimates = planned(simulated, records)
    assert estimates.figures == {name: Estimate(*[pytest.approx(truth[name])] * 3) for name in FIGURES}
    assert all(deviation.inside for deviation in compare(estimates, truth).values())


@settings(max_examples=sweep(15))
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
    ("population", "measured", "message"),
    [
        ({str(i): (1.0,) for i in range(9)}, ["1", "2"], "2 of 9 records were measured; measure at least 5"),
        ({"a": (math.nan,)}, ["a"], "not a finite number"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_reason(
    population: dict[str, tuple[float, ...]], measured: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate(population, dict.fromkeys(measured, Cost()), PRICES)


def test_what_is_known_of_a_record_are_its_images_its_texts_and_what_others_may_ask_too() -> None:
    two = Document("d", "Ttl", "seven77[Image 0]", (Image("d/0.png", "0.png"), Image("d/1.png", "1.png")))
    found = known(Sample("s", "why?", (two, Document("e", "", "abc"))))
    assert found.own == (2, 4 + 10 + 3)
    assert [length for _, length in found.shared] == [0, 10, 0, 10] and len({key for key, _ in found.shared}) == 4
    again = known(Sample("t", "other", (Document("f", "Ttl", "seven77[Image 0]", two.images[:1]),)))
    assert {key for key, _ in again.shared} < {key for key, _ in found.shared}
    elsewhere = known(Sample("u", "other", (Document("f", "Other", "text", two.images[:1]),)))
    assert len({key for key, _ in elsewhere.shared} & {key for key, _ in found.shared}) == 1  # its description


def shared_world(documents: int, samples: int, seed: int) -> tuple[dict[str, Known], dict[str, Cost], dict[str, Cost]]:
    """Records that share each document with others: what is known, own costs, and those of the shared requests where
    each is asked by the first record."""
    rng = np.random.default_rng(seed)
    images, lengths = rng.poisson(3, documents) + 1, rng.lognormal(6, 0.7, documents)
    tokens = [[float(cost) for cost in rng.lognormal(4, 0.6, 2 * count)] for count in images]
    population, own = {}, {}
    for n in range(documents * samples):
        d = n % documents
        keys = [(1000 * d + k, float(lengths[d]) * (k % 2)) for k in range(2 * images[d])]
        population[f"{n:05d}"] = Known((float(images[d]), float(lengths[d])), tuple(keys))
        own[f"{n:05d}"] = Cost(Usage(2, int(lengths[d]), generated_tokens=int(rng.lognormal(5, 0.5))))
    return population, own, {f"{d}": Cost(Usage(len(one), 0, 0, 0, int(sum(one)))) for d, one in enumerate(tokens)}


def paid_by_the_first(ids: list[str], documents: int, shared: dict[str, Cost]) -> dict[str, Cost]:
    seen: set[int] = set()
    paid = {}
    for id in ids:
        d = int(id) % documents
        paid[id] = Cost() if d in seen else shared[f"{d}"]
        seen.add(d)
    return paid


@pytest.mark.parametrize("samples", [1, 5])
def test_what_records_share_is_counted_once_in_the_total(samples: int) -> None:
    trials, inside, errors = 60, 0, []
    for seed in range(trials):
        population, own, shared = shared_world(300 // samples, samples, seed)
        ids = choose(population, 24, seed, str)
        turned = paid_by_the_first(ids[::-1], 300 // samples, shared)  # whoever was faster
        parts = [own_part(population, {id: own[id] for id in ids}, set()), shared_part(population, turned, set())]
        deviations = compare(estimate_parts(parts, PRICES), totals({**own, **shared}, PRICES, 0))
        assert abs(deviations["requests"].relative) < 1e-9
        inside += deviations["generated_tokens"].inside
        errors.append(deviations["generated_tokens"].relative)
    assert inside >= 0.9 * trials
    assert abs(np.mean(errors)) < 0.03


def test_what_a_begun_build_has_paid_is_not_due_again() -> None:
    population, own, shared = shared_world(60, 5, 1)
    done = {f"{n:05d}" for n in range(60)}  # every document once
    ids = choose(sorted(population.keys() - done), 24, 0, str)
    measured = {id: own[id] for id in ids}
    asked = paid_by_the_first(ids, 60, shared)
    parts = [own_part(population, measured, done), shared_part(population, asked, done)]
    found = estimate_parts(parts, PRICES)
    assert (found.records, found.measured) == (240, 24)
    truth = totals({id: cost for id, cost in own.items() if id not in done}, PRICES, 0)
    assert found.figures["requests"] == Estimate(*[pytest.approx(480)] * 3)
    assert compare(found, truth)["generated_tokens"].inside


def test_a_part_that_nobody_measured_has_adds_nothing() -> None:
    nothing = np.zeros((6, 2))
    part = Part(nothing, [Cost()] * 6, np.ones(6), nothing, np.ones((4, 2)), intercept=False)
    own = own_part({f"{i}": Known((float(i),)) for i in range(10)}, {f"{i}": Cost(Usage(1)) for i in range(6)}, set())
    assert estimate_parts([own, part], PRICES).figures["requests"].value == pytest.approx(10)


def test_a_choice_depends_on_names_and_seed_alone() -> None:
    names = [str(i) for i in range(100)]
    first = choose(names, 10, 0, str)
    assert choose(reversed(names), 10, 0, str) == first
    assert choose(names, 10, 1, str) != first
    assert len(set(first) & set(choose([*names, *(f"x{i}" for i in range(5))], 10, 0, str))) >= 8
