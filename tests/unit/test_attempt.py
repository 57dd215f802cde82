"""One driver writes: the newest."""

import os
import time
from pathlib import Path

import pytest

from imageref_ray import attempt


def test_attempts_are_numbered_from_one(tmp_path: Path) -> None:
    assert attempt.newest(tmp_path) == 0
    assert [attempt.begin(tmp_path), attempt.begin(tmp_path)] == [1, 2]
    assert attempt.newest(tmp_path) == 2
    assert sorted(attempt.times(tmp_path)) == [1, 2]
    assert attempt.times(tmp_path, working=True) == {}
    attempt.ready(tmp_path, 2)
    assert list(attempt.times(tmp_path, working=True)) == [2]


def test_an_older_attempt_is_shut_out(tmp_path: Path) -> None:
    old = attempt.begin(tmp_path)
    attempt.check(tmp_path, old)
    attempt.begin(tmp_path)
    with pytest.raises(attempt.Superseded, match=r"attempt 1 on .* was taken over by attempt 2"):
        attempt.check(tmp_path, old)
    attempt.check(tmp_path, 2)


def test_work_is_counted_from_the_newest_attempts_first_engine(tmp_path: Path) -> None:
    first = attempt.begin(tmp_path)
    attempt.ready(tmp_path, first)
    attempt.begin(tmp_path)
    assert attempt.working(tmp_path) == 0
    attempt.ready(tmp_path, 2)
    an_hour_ago = time.time() - 3600
    os.utime(tmp_path / attempt.FOLDER / "000002.ready", (an_hour_ago, an_hour_ago))
    assert attempt.working(tmp_path) == pytest.approx(3600, abs=60)


def test_a_wish_to_stop_is_for_one_attempt(tmp_path: Path) -> None:
    first = attempt.begin(tmp_path)
    attempt.ask_to_stop(tmp_path, first)
    assert attempt.stopping(tmp_path, first)
    assert not attempt.stopping(tmp_path, attempt.begin(tmp_path))
