"""The rate: one burst is one decrease, waits are bounded and drawn, a named wait is kept."""

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageref_ray.core.config.engine import RateLimitConfig
from imageref_ray.engines.openai.errors import of_status, retry_after
from imageref_ray.engines.openai.rate_limit import ConcurrencyLimit, Gate, backoff

NOW = 1_800_000_000.0


@given(st.integers(1, 100), st.integers(1, 200), st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=200))
def test_the_limit_stays_between_one_and_the_most(most: int, start: int, outcomes: list[tuple[bool, float]]) -> None:
    limit, now = ConcurrencyLimit(most, start, window_s=1), 0.0
    for answered, seconds in outcomes:
        now += seconds
        before = limit.allowed
        if answered:
            limit.grow()
            assert before <= limit.allowed <= before + 1
        else:
            limit.cut(now - seconds, now)
            assert limit.allowed >= max(1, before // 2)
        assert 1 <= limit.allowed <= most


@given(st.integers(1, 64), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=64))
def test_a_burst_is_one_decrease(most: int, begins: list[float]) -> None:
    limit = ConcurrencyLimit(most, most, window_s=1)
    limit.cut(began=0, now=0)
    once = limit.allowed
    assert once == max(1, most // 2)
    for began in begins:
        limit.cut(began, now=began + 5)
    assert limit.allowed == once
    limit.cut(began=1, now=6)
    assert limit.allowed == max(1, int(most / 4))


def test_growth_is_fast_before_the_first_decrease_and_slow_after_it() -> None:
    limit = ConcurrencyLimit(64, 8, window_s=1)
    for _ in range(8):
        limit.grow()
    assert limit.allowed == 16
    limit.cut(0, 0)
    for _ in range(9):
        limit.grow()
    assert limit.allowed == 9, "one more in a round of calls"


@given(st.integers(1, 10_000))
def test_waits_are_drawn_below_a_bound_that_doubles(failures: int) -> None:
    rate_limit = RateLimitConfig(first_wait_s=0.5, longest_wait_s=30)
    assert 0 <= backoff(rate_limit, failures) <= min(30, 0.5 * 2.0 ** min(failures - 1, 40))


def test_a_limit_that_nobody_reaches_does_not_grow() -> None:
    async def alone() -> int:
        gate = Gate(64, RateLimitConfig(start=8))
        for _ in range(20):
            async with gate.slot():
                gate.answered()
        return gate.limit.allowed

    assert asyncio.run(alone()) == 8


def test_a_gate_never_lets_through_more_than_its_limit_also_when_callers_give_up() -> None:
    async def crowd() -> tuple[int, int]:
        gate, inside, most, done = Gate(3, RateLimitConfig(start=3)), 0, 0, 0

        async def call() -> None:
            nonlocal inside, most, done
            async with gate.slot():
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(0.001)
                finally:
                    inside -= 1
                done += 1

        tasks = [asyncio.create_task(call()) for _ in range(40)]
        await asyncio.sleep(0.002)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return most, done

    most, done = asyncio.run(crowd())
    assert most == 3
    assert 26 <= done < 40


def test_nobody_begins_while_the_gate_is_held() -> None:
    async def held() -> float:
        gate, before = Gate(4, RateLimitConfig(first_wait_s=0.01)), time.monotonic()
        gate.hold(0.2)
        gate.hold(0.1)
        async with gate.slot() as began:
            return began - before

    assert asyncio.run(held()) >= 0.2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0),
        ({"retry-after": formatdate(5030, usegmt=True), "date": formatdate(5000, usegmt=True)}, 30),
        ({"retry-after": "-1"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (302, "", "closed"),
        (400, "{}", "refused"),
        (401, "{}", "closed"),
        (413, "{}", "refused"),
        (429, '{"error": {"code": "rate_limit_exceeded"}}', "busy"),
        (429, '{"error": {"code": "insufficient_quota"}}', "closed"),
        (502, "<html>Bad gateway</html>", "broken"),
        (503, "", "busy"),
    ],
)
def test_a_status_says_whose_fault_it_is(status: int, body: str, kind: str) -> None:
    assert of_status(status, body, {}).kind == kind


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"error": {"message": "too\\nlong", "param": "messages"}}', "too long (field messages)"),
        ('{"object": "error", "message": "no"}', "no"),
        ('{"detail": [{"loc": ["body", "n"]}]}', '[{"loc": ["body", "n"]}]'),
        ("<html><h1>Bad gateway</h1></html>", "Bad gateway"),
        ("", "no message"),
        ("x" * 1000, "x" * 400 + "…"),
    ],
)
def test_an_error_body_becomes_one_line(body: str, line: str) -> None:
    assert str(of_status(400, body, {})) == f"the endpoint answered 400: {line}"
