"""A plan's own settings, and when a build compares itself with it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from imageref_ray.commands.annotation.passes import passes
from imageref_ray.commands.cost_estimator import FIGURES, Estimate, Plan
from imageref_ray.commands.plan import FILE, FOLDER, compare, trial_config
from imageref_ray.core.config import BuildConfig, check

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
    planned = Plan(3, 3, 0, dict.fromkeys(FIGURES, Estimate(0, 0, 0)))
    (tmp_path / FOLDER / FILE).write_text(json.dumps(dataclasses.asdict(planned)))
    deviations = compare(config(tmp_path), ids)
    assert deviations is not None and deviations["requests"] == {"relative": 0.0, "inside": True}
    assert compare(config(tmp_path), ids[:2]) is None
