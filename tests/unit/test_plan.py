"""A plan's own settings, and when a build compares itself with it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import PIL.Image

from imageref_ray.batch.store import Result, Store
from imageref_ray.commands.annotation.passes import passes
from imageref_ray.commands.cost_estimator import FIGURES, Estimate, Plan
from imageref_ray.commands.plan import FILE, FOLDER, Population, compare, costs_of_pass, trial_config
from imageref_ray.core.config import BuildConfig, check
from imageref_ray.core.records import Document, Failure, Image, Record, Sample, Usage, to_row

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
