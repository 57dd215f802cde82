"""A call failed: what it says about the request, what all calls say about the endpoint → what to do next.

    fault, trial, circuit ─decide─▶ RETRY          wait, then call again
                                    FAIL_REQUEST   this request cannot be answered: its record is quarantined
                                    FAIL_ENDPOINT  the endpoint serves nobody: the run ends
                                    PROBE          ask something harmless, then decide again

No request is failed for failing often before the endpoint has answered something harmless: others may have been
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
    """How much is put up with.

    `attempts`: failures after which a request is given up, where others are answered; `busy_attempts` if the endpoint
    was merely busy. `failures`: so many in a row, over all requests, are needed before the endpoint may be dead.
    `patience_s`: seconds of failures after which a request is given up or the endpoint may be dead, and the longest
    wait that an endpoint may ask for.
    """

    attempts: int = 6
    busy_attempts: int = 24
    failures: int = 5
    patience_s: float = 120.0


@dataclass(slots=True)
class Trial:
    """How one request fared so far: `faults` leaves out those of a busy endpoint, `since` is when the first failed.

    `probed`: whether something harmless was asked since the last failure; `probe` is how that failed, if it did.
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
    """Counts the failures of all requests since the last answer, and so notices when an endpoint answers nobody."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._seen: Counter[str] = Counter()
        self.answered_at = -math.inf
        self.reset()

    def answered(self, now: float) -> None:
        """Somebody was answered: all that failed before is forgiven."""
        self.reset()
        self.answered_at = now

    def reset(self) -> None:
        """Count anew."""
        self._seen.clear()
        self._began = math.inf
        self._last = ""
        self._only_refusals = True

    def failed(self, fault: Fault, now: float) -> None:
        """One more failure in a row."""
        self._began = min(self._began, now)
        self._seen[fault.label] += 1
        self._last = str(fault)
        self._only_refusals &= fault.kind == "refused"

    def tripped(self, now: float) -> bool:
        """Many failures, no answer, and either it lasts for long or waiting would not help (refusals alone)."""
        lasted = now - self._began >= self.limits.patience_s
        return self._seen.total() >= self.limits.failures and (self._only_refusals or lasted)

    def report(self, now: float) -> str:
        """What was seen since the last answer."""
        counts = ", ".join(f"{count} x {label}" for label, count in self._seen.most_common())
        lasted = now - self._began
        return f"{self._seen.total()} failures and no answer in {lasted:.0f} s ({counts}; the last: {self._last})"


def decide(fault: Fault, trial: Trial, circuit: Circuit, now: float) -> Verdict:
    """What to do about the call that just failed with `fault`; both others have counted it already.

    PROBE is given at most once for a failure: after the probe (`trial.probed`) it is one of the other three.
    """
    if waits_too_long(fault, circuit.limits) or serves_us_not(fault, circuit):
        return Verdict.FAIL_ENDPOINT
    dead = fault.kind == "closed" or circuit.tripped(now)
    used_up = _used_up(trial, circuit, now)
    if not trial.probed and (dead or (used_up and fault.kind != "refused")):
        return Verdict.PROBE
    if trial.probe is not None:
        return Verdict.FAIL_ENDPOINT if dead else Verdict.RETRY
    return Verdict.FAIL_REQUEST if used_up or fault.kind in ("refused", "closed") else Verdict.RETRY


def waits_too_long(fault: Fault, limits: Limits) -> bool:
    """Whether the endpoint wants to be left alone for longer than we have patience."""
    return fault.wait_s is not None and fault.wait_s > limits.patience_s


def serves_us_not(fault: Fault, circuit: Circuit) -> bool:
    """Whether the endpoint turns us away, and not this one request: the key is wrong, or nothing was ever answered."""
    return fault.kind == "closed" and (fault.label == "401" or circuit.answered_at == -math.inf)


def _used_up(trial: Trial, circuit: Circuit, now: float) -> bool:
    """Whether a request failed often or for long, and the endpoint answered others since it began to.

    That an endpoint is busy is hardly a request's fault, unless it never has room for this one.
    """
    limits = circuit.limits
    often = trial.faults >= limits.attempts or trial.failures >= limits.busy_attempts
    long = trial.faults > 1 and now - trial.since >= limits.patience_s
    return (often or long) and circuit.answered_at > trial.since
