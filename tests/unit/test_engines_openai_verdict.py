"""What to do about a failed call, as a table; and when the circuit takes an endpoint for dead."""

import math

import pytest

from imageref_ray.core.records import Usage
from imageref_ray.engines.openai.errors import Fault
from imageref_ray.engines.openai.verdict import Circuit, Limits, Trial, Verdict, decide

NOW = 1000.0
LIMITS = Limits(tries=6, busy_tries=24, failures=5, patience_s=120)
REFUSED, BUSY, BROKEN = (
    Fault(kind, label, "no") for kind, label in (("refused", "400"), ("busy", "429"), ("broken", "500"))
)
CLOSED, NO_KEY = Fault("closed", "403", "no"), Fault("closed", "401", "no")
RETRY, FAIL_REQUEST, FAIL_ENDPOINT, PROBE = Verdict


def trial(*faults: Fault, since: float = NOW, probe: Fault | None = None, probed: bool = False) -> Trial:
    tried = Trial()
    for fault in faults:
        tried.failed(fault, since)
    tried.probed, tried.probe = probed or probe is not None, probe
    return tried


def circuit(answered_at: float = -math.inf, *faults: Fault, since: float = NOW) -> Circuit:
    seen = Circuit(LIMITS)
    if answered_at > -math.inf:
        seen.answered(answered_at)
    for fault in faults:
        seen.failed(fault, since)
    return seen


@pytest.mark.parametrize(
    ("fault", "answered_at", "verdict"),
    [
        (BUSY, -math.inf, RETRY),
        (BROKEN, -math.inf, RETRY),
        (Fault("unusable", "not JSON", "no"), -math.inf, RETRY),
        (REFUSED, -math.inf, FAIL_REQUEST),
        (CLOSED, -math.inf, FAIL_ENDPOINT),  # it never served anybody
        (CLOSED, 900, PROBE),  # it may be this request's fault: content that is not allowed
        (NO_KEY, 900, FAIL_ENDPOINT),  # a key that is wrong now is wrong for all
        (Fault("busy", "429", "no", wait_s=120), 900, RETRY),
        (Fault("busy", "429", "no", wait_s=121), 900, FAIL_ENDPOINT),
    ],
)
def test_a_first_failure(fault: Fault, answered_at: float, verdict: Verdict) -> None:
    assert decide(fault, trial(fault), circuit(answered_at, fault), NOW) is verdict


@pytest.mark.parametrize(
    ("failed", "began", "answered_at", "verdict"),
    [
        ([BROKEN] * 5, 990, 995, RETRY),
        ([BROKEN] * 6, 990, 985, RETRY),  # nobody was answered since: it may be the endpoint
        ([BROKEN] * 6, 990, 995, PROBE),
        ([BUSY] * 23, 990, 995, RETRY),
        ([BUSY] * 24, 990, 995, PROBE),
        ([BUSY] * 18 + [BROKEN] * 5, 990, 995, RETRY),
        ([BUSY] * 18 + [BROKEN] * 6, 990, 995, PROBE),
        ([BROKEN] * 2, 881, 995, RETRY),
        ([BROKEN] * 2, 880, 995, PROBE),  # 120 s of failures
        ([BROKEN], 800, 995, RETRY),  # once is nothing, however long ago
        ([BUSY] * 2, 800, 995, RETRY),
    ],
)
def test_a_request_that_fails_again_and_again(
    failed: list[Fault], began: float, answered_at: float, verdict: Verdict
) -> None:
    assert decide(failed[-1], trial(*failed, since=began), circuit(answered_at, failed[-1]), NOW) is verdict


@pytest.mark.parametrize(
    ("fault", "seen", "since", "verdict"),
    [
        (BROKEN, [BROKEN] * 4, 800, RETRY),
        (BROKEN, [BROKEN] * 5, 881, RETRY),
        (BROKEN, [BROKEN] * 5, 880, PROBE),
        (BUSY, [BUSY] * 5, 880, PROBE),
        (REFUSED, [REFUSED] * 4, NOW, FAIL_REQUEST),
        (REFUSED, [REFUSED] * 5, NOW, PROBE),  # waiting would not help
        (REFUSED, [BROKEN] + [REFUSED] * 4, NOW, FAIL_REQUEST),
    ],
)
def test_an_endpoint_that_answers_nobody(fault: Fault, seen: list[Fault], since: float, verdict: Verdict) -> None:
    assert decide(fault, trial(fault), circuit(500, *seen, since=since), NOW) is verdict


@pytest.mark.parametrize(
    ("fault", "failed", "verdict"),
    [
        (REFUSED, [REFUSED], FAIL_REQUEST),
        (CLOSED, [CLOSED], FAIL_REQUEST),
        (BROKEN, [BROKEN] * 6, FAIL_REQUEST),
        (BROKEN, [BROKEN], RETRY),  # the circuit had tripped over others
    ],
)
def test_after_a_probe_that_was_answered(fault: Fault, failed: list[Fault], verdict: Verdict) -> None:
    assert decide(fault, trial(*failed, since=990, probed=True), circuit(NOW), NOW) is verdict


@pytest.mark.parametrize(
    ("fault", "failed", "seen", "verdict"),
    [
        (CLOSED, [CLOSED], [CLOSED], FAIL_ENDPOINT),
        (BROKEN, [BROKEN], [BROKEN] * 5, FAIL_ENDPOINT),
        (REFUSED, [REFUSED], [REFUSED] * 5, FAIL_ENDPOINT),
        (BROKEN, [BROKEN] * 6, [BROKEN], RETRY),  # the probe alone is no proof
    ],
)
def test_after_a_probe_that_failed_too(fault: Fault, failed: list[Fault], seen: list[Fault], verdict: Verdict) -> None:
    state = circuit(850, *seen, since=860)
    assert decide(fault, trial(*failed, since=845, probe=BROKEN), state, NOW) is verdict


def test_a_trial_counts_what_failed_and_what_it_cost_and_forgets_the_last_probe() -> None:
    tried = trial(BUSY, Fault("unusable", "no text", "no", usage=Usage(1, 7)), since=990, probe=BROKEN)
    tried.failed(BROKEN, NOW)
    assert (tried.failures, tried.faults, tried.since, tried.spent) == (3, 2, 990, Usage(1, 7))
    assert (tried.probed, tried.probe) == (False, None)


def test_the_circuit_trips_after_many_failures_and_a_long_time() -> None:
    seen = circuit(500, *[BROKEN] * 4, since=800)
    assert not seen.tripped(NOW)
    seen.failed(Fault("broken", "503", "boom"), NOW)
    assert seen.tripped(NOW) and not seen.tripped(919)
    assert seen.report(NOW) == "5 failures and no answer in 200 s (4 x 500, 1 x 503; the last: boom)"
    seen.answered(NOW)
    seen.failed(BROKEN, NOW)
    assert not seen.tripped(NOW + 1000)


def test_the_circuit_trips_at_once_over_refusals_of_everything() -> None:
    assert circuit(500, *[REFUSED] * 5).tripped(NOW)
    assert not circuit(500, *[REFUSED] * 4).tripped(NOW)
    assert not circuit(500, BUSY, *[REFUSED] * 5).tripped(NOW)
