"""A call failed: what it says about the request, what all calls say about the endpoint → what to do next.

    fault, trial, circuit ─decide─▶ RETRY          wait, then call again
                                    FAIL_REQUEST   this request cannot be answered: its record is quarantined
                                    FAIL_ENDPOINT  the endpoint is at fault: the run ends
                                    PROBE          ask something harmless, then decide again

A request that failed often is failed only after the endpoint has answered a probe: other requests may have been
answered before the endpoint died.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass, field

from imageref_ray.core.records import Usage
from imageref_ray.engines.openai.errors import Fault


class Verdict(enum.Enum):
    """What to do after a call that failed."""

    RETRY = enum.auto()
    FAIL_REQUEST = enum.auto()
    FAIL_ENDPOINT = enum.auto()
    PROBE = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """When to give up.

    `tries`: calls that fail before a request is given up, where others are answered; `busy_tries` if the endpoint was
    merely busy. `failures`: calls in a row, over all requests, that fail before the endpoint may be dead. `patience_s`:
    seconds of failures after which a request is given up or the endpoint may be dead, and the longest wait that an
    endpoint may ask for.
    """

    tries: int = 6
    busy_tries: int = 24
    failures: int = 5
    patience_s: float = 120.0


@dataclass(slots=True)
class Trial:
    """One request's failed calls: `faults` leaves out those of a busy endpoint, `since` is when the first failed.

    `probed`: the endpoint was probed since the last failure; `probe` is the probe's own fault, None if it was answered.
    """

    spent: Usage = field(default_factory=Usage)
    failures: int = 0
    faults: int = 0
    since: float = math.inf
    probed: bool = False
    probe: Fault | None = None

    def failed(self, fault: Fault, now: float) -> None:
        """One more call failed, at `now` (seconds, monotonic, as everywhere here)."""
        self.spent += fault.usage
        self.failures += 1
        self.faults += fault.kind != "busy"
        self.since = min(self.since, now)
        self.probed, self.probe = False, None


class Circuit:
    """A circuit breaker: counts the failures of all requests since the last answer, and trips when there are enough."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._counts: Counter[str] = Counter()
        self.answered_at = -math.inf
        self.reset()

    def answered(self, now: float) -> None:
        """A call was answered: the count starts again."""
        self.reset()
        self.answered_at = now

    def reset(self) -> None:
        """Start the count again."""
        self._counts.clear()
        self._began = math.inf
        self._last = ""
        self._only_refusals = True

    def failed(self, fault: Fault, now: float) -> None:
        """One more failure in a row."""
        self._began = min(self._began, now)
        self._counts[fault.label] += 1
        self._last = str(fault)
        self._only_refusals &= fault.kind == "refused"

    def tripped(self, now: float) -> bool:
        """Whether there are many failures and no answer, for long or where waiting would not help (only refusals)."""
        lasted = now - self._began >= self.limits.patience_s
        return self._counts.total() >= self.limits.failures and (self._only_refusals or lasted)

    def report(self, now: float) -> str:
        """The failures since the last answer, for a message."""
        counts = ", ".join(f"{count} x {label}" for label, count in self._counts.most_common())
        lasted = now - self._began
        return f"{self._counts.total()} failures and no answer in {lasted:.0f} s ({counts}; the last: {self._last})"


def decide(fault: Fault, trial: Trial, circuit: Circuit, now: float) -> Verdict:
    """What to do about the call that just failed with `fault`, which `trial` and `circuit` have counted already.

    PROBE comes at most once for a failure: after the probe (`trial.probed`) the verdict is one of the other three.
    """
    if waits_too_long(fault, circuit.limits) or _rejects_us(fault, circuit):
        return Verdict.FAIL_ENDPOINT
    dead = fault.kind == "closed" or circuit.tripped(now)
    used_up = _used_up(trial, circuit, now)
    if not trial.probed and (dead or (used_up and fault.kind != "refused")):
        return Verdict.PROBE
    if trial.probe is not None:
        return Verdict.FAIL_ENDPOINT if dead else Verdict.RETRY
    return Verdict.FAIL_REQUEST if used_up or fault.kind in ("refused", "closed") else Verdict.RETRY


def waits_too_long(fault: Fault, limits: Limits) -> bool:
    """Whether the endpoint asks to wait for longer than our patience."""
    return fault.wait_s is not None and fault.wait_s > limits.patience_s


def _rejects_us(fault: Fault, circuit: Circuit) -> bool:
    """Whether the endpoint rejects us and not this one request: the key is wrong, or no call was ever answered."""
    return fault.kind == "closed" and (fault.label == "401" or circuit.answered_at == -math.inf)


def _used_up(trial: Trial, circuit: Circuit, now: float) -> bool:
    """Whether a request failed often or for long, while the endpoint answered others.

    A busy endpoint is hardly the request's fault, unless it never accepts this one.
    """
    limits = circuit.limits
    often = trial.faults >= limits.tries or trial.failures >= limits.busy_tries
    long = trial.faults > 1 and now - trial.since >= limits.patience_s
    return (often or long) and circuit.answered_at > trial.since
