"""An image's address → a file on this machine, or the `Problem`; nothing here raises for one image.

path, file:      used in place, if it is inside the source's root or an allowed one
pdf:             pdf_pictures.py: a picture of a PDF file at such a path ┐
parquet:, part:  picture_parts.py: of a Parquet file, an archive         │
http:, https:    fetch_http.py                                           │
s3:, gs:         fetch_object_store.py                                   ┴─▶ download_cache.py: fetched once, stored by
                                                                             content
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from imageref_ray.core.config.source import FetchConfig
from imageref_ray.core.images import Problem
from imageref_ray.sources import download_cache, fetch_http, fetch_object_store, ssrf_guard
from imageref_ray.sources.entries import SCHEME
from imageref_ray.sources.other_formats import HEAD, is_other, to_png

LONGEST_WAIT_S = 30.0


def fetch(
    uri: str,
    root: Path,
    folder: Path,
    config: FetchConfig,
    max_bytes: int,
    resolve: ssrf_guard.Resolve = ssrf_guard.resolve,
) -> Path | Problem:
    """The local file with the image behind `uri`: a path itself, or a download or redrawn picture in `folder`.

    Local images must be under `root` or an allowed folder; relative paths are relative to the working directory.
    Every message begins with the address.
    """
    result = _fetch(uri, root, folder, config, max_bytes, resolve)
    if isinstance(result, Problem):
        return Problem(result.error, f"{fetch_http.redacted(uri)} {result.message}")
    return result


def is_local(uri: str) -> bool:
    """Whether nothing needs to be fetched: a path or a `file:` address."""
    scheme = SCHEME.match(uri)
    return scheme is None or scheme[1].lower() == "file"


def _fetch(
    uri: str, root: Path, folder: Path, config: FetchConfig, max_bytes: int, resolve: ssrf_guard.Resolve
) -> Path | Problem:
    roots = [root, *(Path(allowed) for allowed in config.allow_roots if not SCHEME.match(allowed))]
    if is_local(uri):
        path = _local(uri, roots)
        return path if isinstance(path, Problem) else _readable(path, folder)
    scheme = uri.partition(":")[0].lower()
    get: Callable[..., bytes | Problem]
    if scheme == "pdf":
        return _from_pdf(uri, roots, folder)
    if scheme in ("parquet", "part"):
        return _from_file(uri, roots, folder, max_bytes)
    if scheme in fetch_http.SCHEMES:
        get = partial(fetch_http.get, uri, config, max_bytes, resolve=resolve)
    elif scheme in fetch_object_store.SCHEMES:
        get = partial(fetch_object_store.get, uri, config, max_bytes)
    else:
        return Problem("ForbiddenAddress", "cannot be fetched: use a path, file:, http:, https:, s3: or gs:")
    try:
        return download_cache.fetch_once(folder, uri, partial(_with_retries, get, config))
    except (OSError, UnicodeError) as error:
        return Problem("NotKept", f"cannot be stored in {folder}: {error}")


def _from_pdf(uri: str, roots: Sequence[Path], folder: Path) -> Path | Problem:
    """A picture that is embedded in a PDF file, which must be where a picture may be."""
    from imageref_ray.sources.pages import pdf_pictures

    file = pdf_pictures.file_of(uri)
    if file is None:
        return Problem("BrokenAddress", "is not a picture of a PDF file: expected pdf:PATH#page=1&picture=1")
    path = _local(str(file), roots)
    if isinstance(path, Problem):
        return path
    try:
        changed = path.stat().st_mtime_ns
        return download_cache.fetch_once(folder, f"{uri}@{changed}", partial(pdf_pictures.extract, uri))
    except OSError as error:
        return Problem("NotKept", f"cannot be read or stored in {folder}: {error}")


def _from_file(uri: str, roots: Sequence[Path], folder: Path, max_bytes: int) -> Path | Problem:
    """A picture that is part of a file, which must be where a picture may be; those after it in a Parquet file, too."""
    from imageref_ray.sources.pages import picture_parts

    path = _local(str(picture_parts.file_of(uri)), roots)
    if isinstance(path, Problem):
        return path

    def get() -> bytes | Problem:
        if not uri.startswith(picture_parts.ROW):
            return _as_png(picture_parts.extract(uri, max_bytes))
        found = picture_parts.rows(uri, max_bytes)
        _, asked = next(found, (uri, Problem("MissingImage", "is a row that its file has not")))
        for address, data in found:
            download_cache.fetch_once(folder, f"{address}@{changed}", partial(_as_png, data))
        return _as_png(asked)

    try:
        changed = path.stat().st_mtime_ns
        return download_cache.fetch_once(folder, f"{uri}@{changed}", get)
    except FileNotFoundError:
        return Problem("MissingImage", f"cannot be read: {path} does not exist")
    except OSError as error:
        return Problem("NotKept", f"cannot be read or stored in {folder}: {error}")


def _as_png(data: bytes | Problem) -> bytes | Problem:
    return data if isinstance(data, Problem) else to_png(data)


def _readable(path: Path, folder: Path) -> Path | Problem:
    """A local file itself, or the PNG of one in another format."""
    try:
        with path.open("rb") as file:
            if not is_other(file.read(HEAD)):
                return path
        data = path.read_bytes()
        name = f"png:{hashlib.sha256(data).hexdigest()}"
        return download_cache.fetch_once(folder, name, lambda: to_png(data))
    except (OSError, ValueError):
        return path  # the check of images says what is wrong with it


def _with_retries(get: Callable[..., bytes | Problem], config: FetchConfig) -> bytes | Problem:
    """The result of the first try that is final; waits grow, with jitter, and never outlast the deadline."""
    deadline = time.monotonic() + config.deadline_s
    for number in range(1, config.attempts + 1):
        result = get(deadline=deadline)
        if isinstance(result, bytes):
            return to_png(result)
        if result.retry_s is None or number == config.attempts:
            break
        wait = min(result.retry_s * 2 ** (number - 1), LONGEST_WAIT_S) * random.uniform(1, 1.5)
        if time.monotonic() + wait > deadline:
            break
        time.sleep(wait)
    return result


def _local(uri: str, roots: Sequence[Path]) -> Path | Problem:
    """The path, if it is (links followed) inside one of `roots`."""
    try:
        path = _as_path(uri)
        real = path.resolve()
        if any(real.is_relative_to(root.resolve()) for root in roots):
            return path
    except (OSError, ValueError, RuntimeError) as error:  # a zero byte, a host, links in a circle
        return Problem("BrokenAddress", f"is not a valid path: {error}")
    why = "is outside the source's root" if real == path.absolute() else f"links to {real}, outside the source's root"
    return Problem("ForbiddenAddress", f"{why}; add its folder to fetch.allow_roots if it may be read")


def _as_path(uri: str) -> Path:
    if not SCHEME.match(uri):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("expected file:///path")
    return Path(unquote(parts.path))
