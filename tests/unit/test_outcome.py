"""A run that came to its end and is worth nothing says so, with the commonest reason first."""

import json
from functools import partial
from pathlib import Path

import pytest

from imageref_ray.batch import manifest, outcome
from imageref_ray.batch.store import Result, Store
from imageref_ray.core.records import Failure
from tests.small_job import IDS, job, work


def failed(count: int, error: str = "RequestError", stage: str = "caption", first: int = 0) -> list[Failure]:
    return [Failure(f"f{n}", stage, error, f"too long: {n}.") for n in range(first, first + count)]


@pytest.mark.parametrize(("good", "bad", "least"), [(1, 0, 1), (1, 99, 0), (10, 90, 0.1), (5, 5, 0.5)])
def test_enough_is_enough(good: int, bad: int, least: float) -> None:
    assert outcome.why_failed(good, failed(bad), least) == ""


def test_nothing_is_never_enough_and_the_commonest_reason_is_named() -> None:
    failures = [*failed(2, "ParseError", "place"), *failed(58, first=2)]
    assert outcome.why_failed(0, failures, 0) == (
        "0 of 60 records succeeded; most often RequestError in caption (58 times), for example: too long: 2"
    )


def test_a_run_without_any_record_has_failed_too() -> None:
    assert outcome.why_failed(0, [], 0) == "it has no records"
    parts = [Failure("", "read", "BrokenSample", "line 1: no id", item="1")]
    expected = "it has no records; most often BrokenSample in read (1 times), for example: line 1: no id"
    assert outcome.why_failed(0, parts, 0) == expected


def test_parts_that_failed_are_no_records() -> None:
    parts = [Failure("r1", "verify", "MissingImage", "gone", item="r1/0.png") for _ in range(9)]
    assert outcome.why_failed(1, parts, 0.5) == ""
    assert outcome.why_failed(1, [*parts, *failed(3)], 0.5).startswith("1 of 4 records succeeded (min_success: 0.5)")


def test_a_run_directory_tells_by_itself_and_what_to_do(tmp_path: Path) -> None:
    Store(tmp_path).write([Result("r1", {})], failed(20))
    outcome.check(tmp_path, 0.04)
    with pytest.raises(outcome.RunFailed, match=rf"1 of 21 records .* then run: imageref retry {tmp_path}"):
        outcome.check(tmp_path, 0.1)
    Store(tmp_path).write([Result(f"f{n}", {}) for n in range(20)], [])
    outcome.check(tmp_path, 1)


def test_a_run_that_is_worth_nothing_keeps_its_reason_until_it_is_worth_something(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(outcome.RunFailed, match="0 of 4 records succeeded"):
        job(run, partial(work, run, frozenset(IDS)))
    reason = json.loads((run / outcome.REASON).read_text(encoding="utf-8"))
    assert reason["kind"] == "failed" and "0 of 4 records succeeded" in reason["message"]
    manifest.reopen(run)
    job(run, partial(work, run, frozenset(), frozenset(IDS)))
    assert not (run / outcome.REASON).exists()
