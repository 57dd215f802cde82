"""s3: or gs: address → bytes, through Arrow's own clients: within size and time, only from buckets that are allowed."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem

SCHEMES = ("s3", "gs")
CHUNK = 1 << 20
DENIED = re.compile("ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|PERMISSION_DENIED|UNAUTHENTICATED")
"""How the clients of both stores name a refusal of credentials; asking again would not help."""


def get(uri: str, config: FetchConfig, max_bytes: int, deadline: float) -> bytes | Problem:
    """The object behind `uri`, or the problem. `deadline` is in seconds of `time.monotonic`.

    Without a permission nothing is asked: our credentials may open more than those who wrote the addresses should see.
    """
    scheme, _, place = uri.partition("://")
    allowed = [root.rstrip("/") for root in config.allow_roots]
    if not any(uri.startswith(f"{root}/") for root in allowed) or ".." in place.split("/"):
        where = f"{scheme}://{place.partition('/')[0]}"
        return Problem("ForbiddenAddress", f"may not be read; add {where} to source.fetch.allow_roots if it may")
    body = bytearray()
    try:
        system = _system(scheme.lower(), config)
        with system.open_input_stream(unquote(place)) as stream:
            while chunk := stream.read(CHUNK):
                body += chunk
                if len(body) > max_bytes:
                    return Problem("ImageTooLarge", f"has more than the {max_bytes} bytes allowed")
                if time.monotonic() > deadline:
                    return Problem("TimedOut", f"took longer than source.fetch.deadline_s = {config.deadline_s}")
    except FileNotFoundError:
        return Problem("MissingImage", "does not exist")
    except (OSError, ValueError) as error:  # Arrow's client has tried again by itself
        return _problem(" ".join(str(error).split()), config.anonymous)
    return bytes(body)


def _problem(told: str, anonymous: bool) -> Problem:
    """What a client's words about its failure mean."""
    if not DENIED.search(told):
        return Problem("ConnectionFailed", f"cannot be read: {told}")
    mend = "unset source.fetch.anonymous" if anonymous else "see to the credentials of the machines that build"
    return Problem("RefusedImage", f"may not be read by us; {mend}: {told}")


@cache
def _system(scheme: str, config: FetchConfig) -> Any:
    """One client per scheme and settings. What it talks to comes from the settings alone, never from an address."""
    from pyarrow import fs

    if scheme == "gs":
        endpoint = urlsplit(config.gs_endpoint or "")
        return fs.GcsFileSystem(
            anonymous=config.anonymous,
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
            retry_time_limit=timedelta(seconds=config.deadline_s),  # by itself it would try for a quarter of an hour
        )
    endpoint = urlsplit(config.s3_endpoint or "")
    return fs.S3FileSystem(
        anonymous=config.anonymous,
        region=config.s3_region,
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        connect_timeout=config.connect_timeout_s,
        request_timeout=config.read_timeout_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=config.attempts),
    )
