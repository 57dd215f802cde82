"""Work watched from outside: it comes through, it stalls, it is stopped."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from imageref_ray.batch.watchdog import Stalled, Watchdog, signals


def watchdog(patience_s: float = 60, idle: bool = True) -> Watchdog:
    return Watchdog(patience_s, lambda reason: None, lambda: idle)


def hanging(*items: int) -> Iterator[int]:
    yield from items
    threading.Event().wait()


def test_items_and_errors_come_through() -> None:
    def torn() -> Iterator[int]:
        yield 1
        raise KeyError("torn")

    assert list(watchdog().watch(iter(range(5)))) == list(range(5))
    with pytest.raises(KeyError, match="torn"):
        list(watchdog().watch(torn()))


def test_work_that_hangs_is_given_up() -> None:
    seen: list[int] = []
    with pytest.raises(Stalled, match="no record was finished for 0 minutes"):
        seen.extend(watchdog(0.1).watch(hanging(1, 2)))


def test_a_stopped_watchdog_ends_once_nothing_is_in_flight() -> None:
    quiet = watchdog()
    items = quiet.watch(hanging(1))
    assert next(items) == 1
    quiet.stop("enough")
    assert list(items) == []
    assert quiet.reason == "enough"


def test_the_first_signal_asks_the_second_one_ends_at_once() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    quiet = Watchdog(60, asked.append, lambda: False)
    with signals(quiet.stop):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert asked == ["SIGTERM"]
    assert signal.getsignal(signal.SIGINT) is before
