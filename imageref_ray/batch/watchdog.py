"""Work that may hang or be stopped, watched from outside: items as they come, until the end, a stop or a stall.

thread ─ items ─▶ inbox ─▶ `Watchdog.watch` ─▶ caller       Ctrl-C, SIGTERM, a budget ─▶ `Watchdog.stop`
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

POLL_S = 0.25
SETTLED_S = 2.0
"""Seconds with nothing in flight after which a stop is complete: workers look for the request twice a second."""


class Stalled(RuntimeError):
    """No item came for too long."""


class Stopped(Exception):
    """The work was stopped in good order before it was done; finished records are kept."""


class Watchdog:
    """Watches one piece of work. `ask_to_stop` passes a stop's reason on to the workers; `idle` says whether none of
    them has anything in flight."""

    def __init__(self, patience_s: float, ask_to_stop: Callable[[str], None], idle: Callable[[], bool]) -> None:
        self._patience_s, self._ask_to_stop, self._idle = patience_s, ask_to_stop, idle
        self.reason = ""

    def stop(self, reason: str) -> None:
        """Stop in good order; a second stop ends the work at once (KeyboardInterrupt)."""
        if self.reason:
            raise KeyboardInterrupt
        self.reason = reason
        self._ask_to_stop(reason)

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """The items as they come; ends early once stopped and idle. Raises Stalled, and whatever `items` raises."""
        inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(items, inbox), daemon=True).start()
        last_item = last_busy = time.monotonic()
        while True:
            now = time.monotonic()
            if not self.reason or not self._idle():
                last_busy = now
            if now - last_busy > SETTLED_S:
                return
            if now - last_item > self._patience_s:
                raise Stalled(f"no record was finished for {self._patience_s / 60:.0f} minutes")
            try:
                kind, value = inbox.get(timeout=POLL_S)
            except queue.Empty:
                continue
            last_item = time.monotonic()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value


@contextmanager
def signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `stop` while this is open (in the main thread; elsewhere they stay as they are)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop({signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _pump(items: Iterable[Any], inbox: queue.SimpleQueue[tuple[str, Any]]) -> None:
    try:
        for item in items:
            inbox.put(("item", item))
    except BaseException as error:  # noqa: BLE001 (it is raised again in the thread that reads the inbox)
        inbox.put(("error", error))
    else:
        inbox.put(("end", None))
