"""One driver writes: the newest."""

from pathlib import Path

import pytest

from imageref_ray import attempt


def test_attempts_are_numbered_from_one(tmp_path: Path) -> None:
    assert attempt.newest(tmp_path) == 0
    assert [attempt.begin(tmp_path), attempt.begin(tmp_path)] == [1, 2]
    assert attempt.newest(tmp_path) == 2
    assert sorted(attempt.times(tmp_path)) == [1, 2]


def test_an_older_attempt_is_shut_out(tmp_path: Path) -> None:
    old = attempt.begin(tmp_path)
    attempt.check(tmp_path, old)
    attempt.begin(tmp_path)
    with pytest.raises(attempt.Superseded, match=r"attempt 1 on .* was taken over by attempt 2"):
        attempt.check(tmp_path, old)
    attempt.check(tmp_path, 2)


def test_a_wish_to_stop_is_for_one_attempt(tmp_path: Path) -> None:
    first = attempt.begin(tmp_path)
    attempt.ask_to_stop(tmp_path, first)
    assert attempt.stopping(tmp_path, first)
    assert not attempt.stopping(tmp_path, attempt.begin(tmp_path))
