"""Work that may hang or be unwanted, looked at from outside: items as they come, until the end, a stop or a stall.

thread ─ items ─▶ inbox ─▶ `Watch.over` ─▶ caller       Ctrl-C, SIGTERM, a budget ─▶ `Watch.stop`
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
"""Nothing may be in flight for so long before a stop is complete: workers look for the wish twice a second."""


class Stalled(RuntimeError):
    """No item came for too long."""


class Stopped(Exception):
    """The work was ended in good order before it was done; what was finished is kept."""


class Watch:
    """One piece of work. `ask` passes a wish to end on to whoever works; `idle` says whether they still do."""

    def __init__(self, patience_s: float, ask: Callable[[str], None], idle: Callable[[], bool]) -> None:
        self._patience_s, self._ask, self._idle = patience_s, ask, idle
        self.reason = ""

    def stop(self, reason: str) -> None:
        """End in good order; asked a second time by the user, at once (KeyboardInterrupt)."""
        if self.reason:
            raise KeyboardInterrupt
        self.reason = reason
        self._ask(reason)

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items as they come; ends early once stopped and idle. Raises Stalled, and whatever `items` raises."""
        inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_pump, args=(items, inbox), daemon=True).start()
        heard = time.monotonic()
        busy = heard
        while True:
            now = time.monotonic()
            if not self.reason or not self._idle():
                busy = now
            if now - busy > SETTLED_S:
                return
            if now - heard > self._patience_s:
                raise Stalled(f"nothing was finished for {self._patience_s / 60:.0f} minutes")
            try:
                kind, value = inbox.get(timeout=POLL_S)
            except queue.Empty:
                continue
            heard = time.monotonic()
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

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _pump(items: Iterable[Any], inbox: queue.SimpleQueue[tuple[str, Any]]) -> None:
    try:
        for item in items:
            inbox.put(("item", item))
    except BaseException as error:  # noqa: BLE001 (it is raised again where the items are wanted)
        inbox.put(("error", error))
    else:
        inbox.put(("end", None))
