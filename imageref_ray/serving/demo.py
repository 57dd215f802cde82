"""The page at /demo: its files, example events, samples of runs. The page asks the same routes as any other client.

The page and the examples hold nothing of the operator's and are open; runs need a key like any other route. The policy
lets the page load its own files only and run no other script, nothing inline, and no markup that was a string.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import RedirectResponse

from imageref_ray.core.config import ServeConfig
from imageref_ray.serving import demo_runs
from imageref_ray.serving.errors import WireError

FOLDER = Path(__file__).with_name("demo_page")
START = "index.html"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json"}

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "sanitised",
}
HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""`no-cache`: a browser keeps the file and asks whether it is still the same (`etag`)."""


class File(NamedTuple):
    """What is sent under one name."""

    content: bytes
    type: str
    etag: str


def add_demo(app: FastAPI, checked: APIRouter, settings: ServeConfig) -> None:
    """/demo and what is below it, unless `demo` is off."""
    if not settings.demo:
        return

    for path in FOLDER.iterdir():
        if path.suffix in TYPES:
            route = "/demo" if path.name == START else f"/demo/{path.name}"
            app.add_api_route(route, _sender(_file(path.read_bytes(), path.suffix)), include_in_schema=False)

    @app.get("/demo/", include_in_schema=False)
    async def page_with_slash() -> Response:
        return RedirectResponse("../demo")

    @app.get("/demo/examples", include_in_schema=False)
    async def examples(request: Request) -> Response:
        return _answer(request, await asyncio.to_thread(_examples))

    @app.get("/demo/examples/{id}", include_in_schema=False)
    async def example(request: Request, id: str) -> Response:
        return _answer(request, await asyncio.to_thread(_example, id))

    @checked.get("/demo/runs", include_in_schema=False)
    async def runs() -> dict[str, Any]:
        return {"runs": await asyncio.to_thread(demo_runs.runs, settings.runs)}

    @checked.get("/demo/runs/{name:path}", include_in_schema=False)
    async def samples(
        name: str, offset: Annotated[int, Query(ge=0)] = 0, count: Annotated[int, Query(ge=1, le=20)] = 5
    ) -> dict[str, Any]:
        return await asyncio.to_thread(demo_runs.samples, settings.runs, name, offset, count)


def _sender(file: File) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def send(request: Request) -> Response:
        return _answer(request, file)

    return send


def _file(content: bytes, suffix: str) -> File:
    return File(content, f"{TYPES[suffix]}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@functools.cache
def _examples() -> File:
    from imageref_ray.serving import demo_examples  # draws pictures: seconds, once

    return _json({"events": demo_examples.listed(), "pictures": demo_examples.pictures()})


@functools.lru_cache(maxsize=64)
def _example(id: str) -> File:
    from imageref_ray.serving import demo_examples

    try:
        return _json({"documents": demo_examples.documents(id)})
    except KeyError:
        raise WireError("no such example", status=404) from None


def _json(value: Any) -> File:
    return _file(json.dumps(value, ensure_ascii=False).encode(), ".json")


def _answer(request: Request, file: File) -> Response:
    """The file, or 304 where the browser has it already."""
    headers = {**HEADERS, "etag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers={**headers, "content-type": file.type})
