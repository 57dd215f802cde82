"""What goes wrong with a call, sorted by what it says of the endpoint: status, headers and text in, a `Fault` out."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import openai

from imageref_ray.core.records import Usage

Kind = Literal["busy", "broken", "unusable", "refused", "closed"]

BUSY = frozenset({429, 503, 529})
PASSING = frozenset({408, 409, 425})
CLOSED = frozenset({401, 402, 403, 404, 405})
SPENT = re.compile(r"insufficient_quota|billing_hard_limit_reached")
TOO_LONG = re.compile(
    r"context[ _](?:length|window)|maximum model length|max_model_len|prompt is too long|too many tokens", re.IGNORECASE
)
LONGEST = 400
"""Characters of an endpoint's words that are passed on."""


class Fault(Exception):
    """A call without a reply that can be used.

    busy: the endpoint has too much to do; broken: it failed, cannot be reached or is too slow; unusable: what it
    answered is no completion; refused: it does not answer this request; closed: it does not serve us at all.
    `label` is what is counted, `wait_s` how long it asked to be left alone, `usage` what the answer cost.
    """

    def __init__(
        self, kind: Kind, label: str, message: str, wait_s: float | None = None, usage: Usage | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.label, self.wait_s, self.usage = kind, label, wait_s, usage or Usage()


def of_error(error: openai.APIError | TimeoutError, timeout_s: float) -> Fault:
    """What the client raised as a fault."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Fault("broken", "no answer in time", f"no answer within {timeout_s:g} s (engine.timeout_s)")
    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.response.text, error.response.headers)
    return Fault("broken", "connection", f"the connection failed: {error.__cause__ or error}")


def of_status(status: int, text: str, headers: Mapping[str, str]) -> Fault:
    """What an error status with its body means."""
    message = f"the endpoint answered {status}: {words(text)}"
    wait_s = retry_after(headers, time.time())
    if SPENT.search(text) or status in CLOSED or status < 400:
        return Fault("closed", str(status), message)
    if status in BUSY:
        return Fault("busy", str(status), message, wait_s)
    if status in PASSING or status >= 500:
        return Fault("broken", str(status), message, wait_s)
    if TOO_LONG.search(text):
        message = f"the prompt is too long, shorten it or lower max_tokens: {words(text)}"
    return Fault("refused", str(status), message)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or a date) asks for; None where neither says anything.

    `now` is in seconds since 1970; where the endpoint tells its own time, that one counts.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = _moment(headers.get("retry-after"))
    return None if until is None else max(0.0, until - (_moment(headers.get("date")) or now))


def _moment(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def words(text: str) -> str:
    """What an error body says, on one line: its message where it is JSON, else its beginning without tags."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = re.sub(r"<[^<>]*>", " ", text)
    found = found.get("error", found) if isinstance(found, dict) else found
    param = str(found.get("param") or "") if isinstance(found, dict) else ""
    for key in ("message", "detail"):
        found = found.get(key, found) if isinstance(found, dict) else found
    line = " ".join((found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)).split())
    line += f" (field {param})" if param not in line else ""
    return (line if len(line) <= LONGEST else line[:LONGEST] + "…") or "nothing"
