"""The learning rate of every step."""

import math
from typing import Any

import pytest

from imageref_ray.core.config import ConfigError, TrainConfig, check
from imageref_ray.training.schedule import learning_rate


def config(**change: Any) -> TrainConfig:
    values = {"model": "m", "output": "o", "mixture": {"a": {"annotation": "a.jsonl"}}, "learning_rate": 3e-5}
    return check(TrainConfig, {**values, "steps": 30_000, "warmup_ratio": 1 / 60, **change}, "test")


def test_the_releases_schedule_at_its_corners() -> None:
    release = config(warmup_from=1e-6, min_learning_rate=1e-5)
    assert learning_rate(release, 0) == 1e-6
    assert learning_rate(release, 250) == pytest.approx((1e-6 + 3e-5) / 2)
    assert learning_rate(release, 499) < learning_rate(release, 500) == 3e-5 > learning_rate(release, 501)
    assert learning_rate(release, (500 + 30_000) // 2) == pytest.approx(2e-5)
    assert learning_rate(release, 30_000) == 1e-5
    assert learning_rate(release, 30_001) == 1e-5


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_without_new_settings_the_schedules_are_transformers(schedule: Any) -> None:
    plain = config(steps=40, warmup_ratio=0.1, schedule=schedule)
    for step in range(41):
        done = (step - 4) / 36
        after = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1}[schedule]
        expected = step / 4 if step < 4 else after
        assert learning_rate(plain, step) == pytest.approx(3e-5 * expected, abs=1e-18)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert learning_rate(config(warmup_ratio=0, min_learning_rate=1e-5), 0) == 3e-5
    assert learning_rate(config(schedule="linear", min_learning_rate=1e-5), 30_000) == 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_learning_rate": 4e-5}, r"min_learning_rate: 4e-05 is above learning_rate \(3e-05\)"),
        ({"warmup_from": 4e-5}, r"warmup_from: 4e-05 is above learning_rate \(3e-05\)"),
        ({"min_learning_rate": 1e-5, "schedule": "constant"}, "a constant schedule never gets there"),
        ({"warmup_from": 1e-6, "warmup_ratio": 0}, "there is no warm-up with warmup_ratio: 0"),
    ],
)
def test_rates_that_contradict_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)
