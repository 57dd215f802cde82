"""What went wrong with a call: status, headers and body (or the client's error) in, a `Fault` out."""

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
from imageref_ray.core.text import repaired

Kind = Literal["busy", "broken", "unusable", "refused", "closed"]

BUSY = frozenset({429, 503, 529})
PASSING = frozenset({408, 409, 425})
CLOSED = frozenset({401, 402, 403, 404, 405})
SPENT = re.compile(r"insufficient_quota|billing_hard_limit_reached")
TOO_LONG = re.compile(
    r"context[ _](?:length|window)|maximum model length|max_model_len|prompt is too long|too many tokens", re.IGNORECASE
)
SHOWN = 400
"""Characters of an endpoint's error message that are passed on."""


class Fault(Exception):
    """A call without a usable reply.

    busy: the endpoint has too much to do; broken: it failed, cannot be reached or is too slow; unusable: its answer is
    not a completion; refused: it does not answer this request; closed: it does not accept our requests at all.
    `label` is what is counted, `wait_s` how long the endpoint asked to wait, `usage` what the answer cost.
    """

    def __init__(
        self, kind: Kind, label: str, message: str, wait_s: float | None = None, usage: Usage | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.label, self.wait_s, self.usage = kind, label, wait_s, usage or Usage()


def of_error(error: openai.APIError | TimeoutError, timeout_s: float) -> Fault:
    """The fault for an error that the client raised."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Fault("broken", "no answer in time", f"no answer within {timeout_s:g} s (engine.timeout_s)")
    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.response.text, error.response.headers)
    return Fault("broken", "connection", f"the connection failed: {error.__cause__ or error}")


def of_status(status: int, text: str, headers: Mapping[str, str]) -> Fault:
    """The fault for an error status with its body."""
    message = f"the endpoint answered {status}: {error_text(text)}"
    wait_s = retry_after(headers, time.time())
    if SPENT.search(text) or status in CLOSED or status < 400:
        return Fault("closed", str(status), message)
    if status in BUSY:
        return Fault("busy", str(status), message, wait_s)
    if status in PASSING or status >= 500:
        return Fault("broken", str(status), message, wait_s)
    if TOO_LONG.search(text):
        message = f"the prompt is too long; shorten it or lower max_tokens: {error_text(text)}"
    return Fault("refused", str(status), message)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or a date) asks for; None where neither is there.

    `now` is in seconds since 1970; the endpoint's own `Date` is used instead if there is one.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until = _timestamp(headers.get("retry-after"))
    return None if until is None else max(0.0, until - (_timestamp(headers.get("date")) or now))


def _timestamp(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def error_text(text: str) -> str:
    """An error body's message on one line: where it is JSON its message field, else its beginning without tags."""
    try:
        content: Any = repaired(json.loads(text))
    except (ValueError, RecursionError):
        content = re.sub(r"<[^<>]*>", " ", text)
    content = content.get("error", content) if isinstance(content, dict) else content
    param = str(content.get("param") or "") if isinstance(content, dict) else ""
    for key in ("message", "detail"):
        content = content.get(key, content) if isinstance(content, dict) else content
    line = " ".join((content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).split())
    line += f" (field {param})" if param not in line else ""
    return (line if len(line) <= SHOWN else line[:SHOWN] + "…") or "no message"
