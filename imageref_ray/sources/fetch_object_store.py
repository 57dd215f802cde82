"""s3: or gs: address → bytes, through Arrow's clients: within size and time limits, only from allowed buckets."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from imageref_ray.core.config.base import ConfigError
from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem

SCHEMES = ("s3", "gs")
CHUNK = 1 << 20
DENIED = re.compile("ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|PERMISSION_DENIED|UNAUTHENTICATED")
"""Errors of both stores' clients about credentials; a retry would not help."""


def get(uri: str, config: FetchConfig, max_bytes: int, deadline: float) -> bytes | Problem:
    """The object behind `uri`, or the problem. `deadline` is in seconds of `time.monotonic`.

    Only allowed buckets are accessed: our credentials may open more than the authors of the addresses should see.
    """
    scheme, _, path = uri.partition("://")
    allowed = [root.rstrip("/") for root in config.allow_roots]
    if not any(uri.startswith(f"{root}/") for root in allowed) or ".." in path.split("/"):
        where = f"{scheme}://{path.partition('/')[0]}"
        return Problem("ForbiddenAddress", f"may not be read; add {where} to fetch.allow_roots to allow it")
    body = bytearray()
    try:
        file_system = _file_system(scheme.lower(), config)
        with file_system.open_input_stream(unquote(path)) as stream:
            while chunk := stream.read(CHUNK):
                body += chunk
                if len(body) > max_bytes:
                    return Problem("ImageTooLarge", f"has more than the {max_bytes} bytes allowed")
                if time.monotonic() > deadline:
                    return Problem("TimedOut", f"took longer than fetch.deadline_s = {config.deadline_s} s")
    except FileNotFoundError:
        return Problem("MissingImage", "does not exist")
    except (OSError, ValueError) as error:  # Arrow's client has retried already
        return _problem(" ".join(str(error).split()), config.anonymous)
    return bytes(body)


def names(root: str, config: FetchConfig) -> list[str]:
    """The names of all objects under a bucket or prefix, relative to it and sorted; empty where there are none.

    Raises ConfigError where the bucket cannot be listed.
    """
    from pyarrow import fs

    scheme, _, path = root.rstrip("/").partition("://")
    path = unquote(path)
    try:
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        found = _file_system(scheme.lower(), config).get_file_info(selector)
    except (OSError, ValueError) as error:
        problem = _problem(" ".join(str(error).split()), config.anonymous)
        raise ConfigError(f"{root} {problem.message}") from None
    return sorted(info.path.removeprefix(f"{path}/") for info in found if info.is_file)


def _problem(message: str, anonymous: bool) -> Problem:
    """A client's error message as a Problem."""
    if not DENIED.search(message):
        return Problem("ConnectionFailed", f"cannot be read: {message}")
    fix = "unset fetch.anonymous" if anonymous else "check the credentials of the machines that read it"
    return Problem("RefusedImage", f"cannot be read, access is denied; {fix}: {message}")


@cache
def _file_system(scheme: str, config: FetchConfig) -> Any:
    """One client per scheme and settings; its endpoint comes from the settings alone, never from an address."""
    from pyarrow import fs

    if scheme == "gs":
        endpoint = urlsplit(config.gs_endpoint or "")
        return fs.GcsFileSystem(
            anonymous=config.anonymous,
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
            retry_time_limit=timedelta(seconds=config.deadline_s),  # its default is 15 minutes
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
