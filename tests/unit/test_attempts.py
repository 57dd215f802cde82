"""One driver writes: the newest."""

from pathlib import Path

import pytest

from imageref_ray.batch import attempts


def test_attempts_are_numbered_from_one(tmp_path: Path) -> None:
    assert attempts.newest(tmp_path) == 0
    assert [attempts.begin(tmp_path), attempts.begin(tmp_path)] == [1, 2]
    assert attempts.newest(tmp_path) == 2
    assert sorted(attempts.times(tmp_path)) == [1, 2]


def test_an_older_attempt_is_shut_out(tmp_path: Path) -> None:
    old = attempts.begin(tmp_path)
    attempts.check(tmp_path, old)
    attempts.begin(tmp_path)
    with pytest.raises(attempts.Superseded, match=r"attempt 1 on .* was taken over by attempt 2"):
        attempts.check(tmp_path, old)
    attempts.check(tmp_path, 2)


def test_a_request_to_stop_is_for_one_attempt(tmp_path: Path) -> None:
    first = attempts.begin(tmp_path)
    attempts.ask_to_stop(tmp_path, first)
    assert attempts.stopping(tmp_path, first)
    assert not attempts.stopping(tmp_path, attempts.begin(tmp_path))
