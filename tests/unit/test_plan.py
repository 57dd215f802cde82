"""A plan's own settings, and when a build compares itself with it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from imageref_ray.batch.budget import Cost
from imageref_ray.batch.store import Result, Store
from imageref_ray.commands import cost_estimator
from imageref_ray.commands.annotation.passes import passes
from imageref_ray.commands.cost_estimator import FIGURES, Estimate, Plan, estimate, totals
from imageref_ray.commands.picture_losses import Loss, loss
from imageref_ray.commands.plan import FILE, FOLDER, compare, costs_of_pass, trial_config
from imageref_ray.commands.plan_population import ENDS, Known, Population, own_part
from imageref_ray.core.config import BuildConfig, PriceConfig, check
from imageref_ray.core.records import Document, Failure, Image, Record, Sample, Usage, to_row
from imageref_ray.core.subset import choose

ENGINE = {"kind": "scripted", "model": "none", "script": "tests.scripted:annotator"}


def config(output: Path, **more: Any) -> BuildConfig:
    return check(BuildConfig, {"source": {"root": "."}, "output": str(output), "engine": ENGINE, **more}, "test")


def test_the_builds_budget_does_not_cut_its_plan_short(tmp_path: Path) -> None:
    build = config(tmp_path, max_budget="1 tokens")
    assert trial_config(build).max_budget is None
    assert trial_config(build).output == tmp_path / FOLDER
    assert (
        trial_config(build).engine == build.engine.model_copy(update={"actors": (1, 1)})
        and build.max_budget == "1 tokens"
    )


def test_a_plan_is_measured_on_one_engine_a_pass(tmp_path: Path) -> None:
    pool = {**ENGINE, "actors": [2, 8]}
    build = config(tmp_path, engine=pool, place={"engine": {**pool, "concurrency": 3, "actors": [4, 4]}})
    assert [engine.actors for _, engine, _ in passes(build)] == [(2, 8), (4, 4)]
    assert [engine.actors for _, engine, _ in passes(trial_config(build))] == [(1, 1), (1, 1)]


def test_a_build_is_compared_with_a_plan_for_as_many_records_only(tmp_path: Path) -> None:
    ids = [str(n) for n in range(3)]
    assert compare(config(tmp_path), ids) is None
    (tmp_path / FOLDER).mkdir()
    planned = Plan(3, 3, 0, dict.fromkeys(FIGURES, Estimate(0, 0, 0)), total=3)
    (tmp_path / FOLDER / FILE).write_text(json.dumps(dataclasses.asdict(planned)))
    deviations = compare(config(tmp_path), ids)
    assert deviations is not None and deviations["requests"] == {"relative": 0.0, "inside": True}
    assert compare(config(tmp_path), ids[:2]) is None


def test_what_was_paid_before_a_plan_is_no_error_of_it(tmp_path: Path) -> None:
    Store(tmp_path).write([Result("0", {}, Usage(5)), Result("1", {}, Usage(7))], [])
    figures = {**dict.fromkeys(FIGURES, Estimate(0, 0, 0)), "requests": Estimate(7, 6, 8)}
    planned = Plan(1, 1, 0, figures, total=2, done=1, before={"requests": 5.0})
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_text(json.dumps(dataclasses.asdict(planned)))
    deviations = compare(config(tmp_path), ["0", "1"])
    assert deviations is not None and deviations["requests"] == {"relative": 0.0, "inside": True}


def test_records_with_too_many_usable_images_are_not_of_the_population(tmp_path: Path) -> None:
    for k in range(2):
        PIL.Image.new("RGB", (40, 40), (k, 0, 0)).save(tmp_path / f"{k}.png")
    source = {"root": str(tmp_path), "filters": {"near_duplicates": None}}  # pictures of one colour each are
    build = config(tmp_path / "run", max_images=2, source=source)

    def record(id: str, *names: str) -> Record:
        images = tuple(Image(f"{id}/{k}.png", str(tmp_path / name)) for k, name in enumerate(names))
        return Record(Sample(id, "What?", (Document(id, "", "text", images),)))

    items = [
        record("few", "0.png"),
        record("gone", "0.png", "1.png", "gone.png"),  # two are left, as in the build
        record("many", "0.png", "1.png", "0.png"),
        Failure("broken", "read", "BrokenSample", "no id"),
    ]
    population = Population()
    assert [one.id for one in population.usable(items, build)] == ["few", "gone"]
    assert (population.total, population.left_out) == (3, 1)
    assert population.known["gone"].own[0] == 2


def test_shared_requests_are_counted_apart_and_time_is_divided_by_tokens(tmp_path: Path) -> None:
    whole, part = Usage(6, 100, 0, 0, 50), Usage(4, 60, 0, 0, 20)
    Store(tmp_path).write([Result("a", {"shared": to_row(part)}, whole), Result("b", {}, Usage(2, 30))], [])
    Store(tmp_path).write([], [Failure("b", "place", "ParseError", "no", usage=Usage(1, 5))])
    own, shared = costs_of_pass(tmp_path, config(tmp_path).engine, ["a", "b", "c"])
    assert (own["a"].usage, shared["a"].usage) == (Usage(2, 40, 0, 0, 30), part)
    assert (own["b"].usage, shared["b"].usage, own["c"].usage) == (Usage(3, 35), Usage(), Usage())


def record(id: str, *uris: str) -> Record:
    images = tuple(Image(f"{id}/{k}.png", uri) for k, uri in enumerate(uris))
    return Record(Sample(id, "What?", (Document(id, "", "text", images),)))


def test_records_that_are_looked_into_are_known_by_the_images_that_can_be_used(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    good, bad, web = str(tmp_path / "a.png"), str(tmp_path / "broken.png"), "http://127.0.0.1:9/x.png"
    build = config(tmp_path / "run", source={"root": str(tmp_path), "fetch": {"attempts": 1}})
    listed = [record("whole", good), record("none", bad), record("half", good, bad), record("web", web, good)]
    listed += [record("more", good, good), record("more web", web)]
    population = Population()
    usable = list(population.usable(listed, build))
    assert [population.known[one.id].kind for one in usable] == ["local"] * 3 + ["fetched", "local", "fetched"]
    found = population.look_into(usable, 3, build, tmp_path / "images")
    assert [one.id for one in found] == ["whole", "half", "web"]  # then nothing is fetched, but files are opened
    assert population.opened == {"local": [0, 1, 0.5, 0], "fetched": [0.5]}
    assert {id: (one.own[0], one.kind) for id, one in population.known.items()} == {
        "whole": (1, "opened"),
        "half": (1, "opened"),
        "web": (1, "opened"),
        "more": (2, "opened"),
        "more web": (1, "fetched"),
    }
    assert (population.total, population.left_out) == (6, 1)


def test_copies_of_a_picture_are_asked_about_once(tmp_path: Path) -> None:
    PIL.Image.effect_noise((200, 200), 60).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert len(data) > 2 * ENDS
    (tmp_path / "copy.png").write_bytes(data)
    (tmp_path / "other.png").write_bytes(data[:-9] + bytes(9))
    population = Population()
    names = [str(tmp_path / name) for name in ("a.png", "copy.png", "other.png", "gone.png")]
    build = config(tmp_path / "run", source={"root": str(tmp_path)})
    assert len(list(population.usable([record("r", *names, "http://x.example/a.png")], build))) == 1
    # a description of four different pictures, and what each is in the document
    assert len({key for key, _ in population.known["r"].shared}) == 2 * 4


def test_images_that_nobody_opened_widen_the_interval_even_where_none_was_seen_to_be_unusable() -> None:
    assert loss([0.0] * 100, 10**6) == Loss(0, 0, pytest.approx(0.0362, abs=1e-3))
    assert loss([], 50) == Loss(0, 0, 1)
    assert loss([0.5], 0) == Loss(0, 0, 0)
    assert loss([1.0, 1.0], 10**6) == Loss(1, pytest.approx(0.158, abs=1e-2), 1)
    some = loss([0.5, 0.5, *[0.0] * 38], 20)
    assert (some.expected, some.least) == (0.025, 0) and 0.025 < some.most < 0.2  # of 20, none may be affected


@pytest.mark.parametrize("rate", [0.002, 0.2])
def test_the_interval_holds_the_truth_where_some_of_the_images_cannot_be_used(rate: float) -> None:
    trials, inside = 40, 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        listed = rng.integers(1, 6, 300)
        usable = np.where(rng.random(300) < rate, 0, listed)
        ids = [f"{n:03d}" for n in range(300)]
        chosen = choose(ids, 60, seed, str)
        opened = {id for id in chosen if usable[int(id)]}
        known = {id: Known((float(listed[int(id)]),), kind="opened" if id in chosen else "local") for id in ids}
        known = {id: one for id, one in known.items() if id not in chosen or id in opened}
        costs = {id: Cost(Usage(2 + 2 * int(n) if n else 0)) for id, n in zip(ids, usable, strict=True)}
        measured = [id for id in chosen if id in opened][:24]
        part = own_part(known, {id: costs[id] for id in measured}, set())
        shares = [float(not usable[int(id)]) for id in chosen]
        planned = estimate([part], PriceConfig(), losses={"local": loss(shares, 240)})
        inside += cost_estimator.compare(planned, totals(costs, PriceConfig(), 0))["requests"].inside
        assert planned.figures["requests"].low < planned.figures["requests"].value
    assert inside >= 0.9 * trials
