"""http(s) address → bytes: within time and size limits, and never from a host that may not be accessed.

    address ─▶ resolve once ─▶ check every IP address ─▶ connect to a checked address ─▶ at most N bytes
       ▲──────────────────────────── redirect ◀──────────────────────────────┘

The check is part of the connection itself: every host that the HTTP library connects to, for the first request or
after a redirect, has passed it, and no second name resolution can return another address. Proxies are not used:
behind one, no address could be checked.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus

import httpcore
import httpx

from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem
from imageref_ray.sources import ssrf_guard

SCHEMES = ("http", "https")
REDIRECTS = (301, 302, 303, 307, 308)
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Status codes after which the same request may succeed."""

RETRY_S = 0.5
GONE = (404, 410)


def get(
    uri: str, config: FetchConfig, max_bytes: int, deadline: float, resolve: ssrf_guard.Resolve = ssrf_guard.resolve
) -> bytes | Problem:
    """The body behind `uri` after redirects, or the problem. `deadline` is in seconds of `time.monotonic`."""
    try:
        url = httpx.URL(uri)
        for _ in range(config.redirects + 1):
            if url.scheme not in SCHEMES or not url.host:
                return Problem("ForbiddenAddress", f"leads to {redacted(str(url))}, which is not an http(s) address")
            if not 0 < (url.port or 80) < 1 << 16:
                return Problem("BrokenAddress", f"has the invalid port {url.port}")
            result = _request(url, config, max_bytes, deadline, resolve)
            if not isinstance(result, httpx.URL):
                return result
            url = result
    except _ForbiddenError as error:
        return error.problem
    except (httpx.InvalidURL, ValueError) as error:
        return Problem("BrokenAddress", f"is not a valid address: {error}")
    except httpcore.TimeoutException:
        return Problem("TimedOut", "timed out (limits: fetch.*_timeout_s, fetch.deadline_s)", RETRY_S)
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        return Problem("ConnectionFailed", f"could not be downloaded: {error or type(error).__name__}", RETRY_S)
    return Problem("TooManyRedirects", f"redirects more than {config.redirects} times (fetch.redirects)")


def redacted(uri: str) -> str:
    """An address for messages and logs, at most 200 characters, without password and query (it may be signed)."""
    plain, mark, _ = re.sub(r"//[^/@]*@", "//", uri).partition("?")
    return (plain if len(plain) <= 200 else f"{plain[:200]}…") + ("?…" if mark else "")


def _request(
    url: httpx.URL, config: FetchConfig, max_bytes: int, deadline: float, resolve: ssrf_guard.Resolve
) -> bytes | httpx.URL | Problem:
    """One request: the body, the redirect's target, or the problem."""
    limits = {"connect": config.connect_timeout_s, "read": config.read_timeout_s, "write": config.read_timeout_s}
    # No content encoding: images are compressed already, and the limits count transferred bytes.
    headers = [
        (b"Host", url.netloc),
        (b"User-Agent", config.user_agent.encode()),
        (b"Accept", b"image/*"),
        (b"Accept-Encoding", b"identity"),
        (b"Connection", b"close"),
    ]
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    secure = _tls_context() if url.scheme == "https" else None
    with (
        httpcore.ConnectionPool(ssl_context=secure, network_backend=_Backend(config, deadline, resolve)) as pool,
        pool.stream("GET", target, headers=headers, extensions={"timeout": limits}) as response,
    ):
        received = httpx.Headers(response.headers)
        if response.status in REDIRECTS and "location" in received:
            return url.join(received["location"])
        if response.status != HTTPStatus.OK:
            return _http_error(response.status, received)
        return _body(response.iter_stream(), received.get("content-length", ""), max_bytes)


def _body(chunks: Iterable[bytes], announced: str, max_bytes: int) -> bytes | Problem:
    """The whole body; reading stops at max_bytes."""
    if announced.isdecimal() and int(announced) > max_bytes:
        return Problem("ImageTooLarge", f"has {announced} bytes, more than the {max_bytes} allowed")
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            return Problem("ImageTooLarge", f"has more than the {max_bytes} bytes allowed")
    return bytes(body)


def _http_error(status: int, headers: httpx.Headers) -> Problem:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "an unknown status"
    wait = headers.get("retry-after", "")
    retry = (float(wait) if wait.isdecimal() else RETRY_S) if status in TRANSIENT else None
    return Problem("MissingImage" if status in GONE else "RefusedImage", f"answered {status} {phrase}", retry)


@cache
def _tls_context() -> ssl.SSLContext:
    """The trusted certificates, loaded once."""
    return httpcore.default_ssl_context()


class _ForbiddenError(Exception):
    """Carries the Problem of a forbidden address through the HTTP library."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Backend(httpcore.NetworkBackend):
    """Connects only to addresses that it has checked; nothing on its connections outlasts the deadline."""

    def __init__(self, config: FetchConfig, deadline: float, resolve: ssrf_guard.Resolve) -> None:
        self._config, self._deadline, self._resolve = config, deadline, resolve
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that answers."""
        addresses = ssrf_guard.allowed_addresses(host, port, self._config.allow_hosts, self._resolve)
        if isinstance(addresses, Problem):
            raise _ForbiddenError(addresses)
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            remaining = _remaining(self._deadline, timeout)
            try:
                stream = self._plain.connect_tcp(address, port, remaining, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream, self._deadline)
        assert failed is not None
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection on which every wait ends at the deadline, however slowly the server sends."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _remaining(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(self._deadline, timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        remaining = _remaining(self._deadline, timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, remaining), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _remaining(deadline: float, timeout: float | None) -> float:
    """Seconds this wait may take; raises ReadTimeout when none are remaining."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return remaining if timeout is None else min(remaining, timeout)
